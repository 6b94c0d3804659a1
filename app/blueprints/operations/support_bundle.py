"""Writes a bug report: what is in force, versions and findings, without secrets or names."""

from __future__ import annotations

import getpass
import json
import platform
import re
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from app.logs import escape_odd, hide_secrets
from app.settings import Settings, masked

LIBRARIES = ("dragoman", "flask", "gevent", "gunicorn", "msgspec", "requests", "urllib3", "httptools")
_SHORT = 4  # characters of a name
_WORD = re.compile(r"[\w-]+")
_OUR_VARIABLES = ("ANTHROPIC_", "CLAUDE_", "OPENAI_", "CODEX_", "OCA_", "DRAGOMAN", "HTTP", "NO_PROXY")


def make_bundle(settings: Settings | None, environ: Mapping[str, str], home: Path, **findings: Any) -> str:
    """The text of the file, as JSON with `findings` among its fields. Secrets are masked by value; the home folder and
    the user's name are removed."""
    fields: dict[str, Any] = {
        "versions": {name: _find_version(name) for name in LIBRARIES} | {"python": sys.version.split()[0]},
        "platform": platform.platform(),
        **findings,
        "settings": masked(settings) if settings else None,
        # Names only: the values may be secrets that are not known as such.
        "variables": sorted(name for name in environ if name.startswith(_OUR_VARIABLES)),
    }
    lines = hide_secrets(json.dumps(fields, indent=2, default=str, ensure_ascii=False)).split("\n")
    text = "\n".join(map(escape_odd, lines))
    text = text.replace(str(home), "~") if len(str(home)) > 1 else text
    return _hide_user(text, _find_user())


def _find_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _hide_user(text: str, name: str) -> str:
    """Without the user's name, unless that is so short that it may be anything."""
    if len(name) < _SHORT:
        return text
    if _WORD.fullmatch(name) is None:
        return text.replace(name, "USER")
    return _WORD.sub(lambda word: "USER" if word[0] == name else word[0], text)


def _find_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
