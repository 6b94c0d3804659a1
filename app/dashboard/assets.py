"""The addresses of static files: each carries the beginning of its hash, so that a browser may keep it for ever."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
_SHOWN = 12


@functools.cache
def find_version(name: str) -> str | None:
    """The mark of a file's content; None for a file that there is not."""
    path = FOLDER / name
    if not path.is_file():
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()[:_SHOWN]


def spell_asset(name: str) -> str:
    version = find_version(name)
    assert version is not None, name
    return f"/_/static/{name}?v={version}"
