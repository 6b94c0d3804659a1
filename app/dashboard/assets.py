"""URLs of static files, with a content hash that lets browsers cache them forever."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
_SHOWN = 12


def find_version(name: str) -> str | None:
    """The hash of a file's content; None for a file that does not exist. Anybody may ask, for any name."""
    return _read_versions().get(name)


@functools.cache
def _read_versions() -> dict[str, str]:
    return {
        path.relative_to(FOLDER).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:_SHOWN]
        for path in FOLDER.rglob("*")
        if path.is_file()
    }


def asset_url(name: str) -> str:
    version = find_version(name)
    assert version is not None, name
    return f"/_/static/{name}?v={version}"
