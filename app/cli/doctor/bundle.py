"""Writes a bug report: findings, settings and versions, without secrets or names."""

from __future__ import annotations

import getpass
import json
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import msgspec

from app.cli.doctor.finding import Finding, Subject
from app.cli.terminal import clean_text
from app.logs import hide_secrets
from app.settings import masked

LIBRARIES = ("dragoman", "flask", "gevent", "gunicorn", "msgspec", "requests", "urllib3", "httptools")


def make_bundle(subject: Subject, findings: Sequence[Finding]) -> str:
    """The text of the file. Secrets are masked by value; the home folder and the user's name are removed."""
    fields: dict[str, Any] = {
        "versions": {name: _find_version(name) for name in LIBRARIES} | {"python": sys.version.split()[0]},
        "platform": platform.platform(),
        "findings": msgspec.to_builtins(list(findings)),
        "settings": masked(subject.settings) if subject.settings else None,
        # Names only: the values may be secrets that are not known as such.
        "variables": sorted(name for name in subject.environ if _is_ours(name)),
    }
    text = clean_text(hide_secrets(json.dumps(fields, indent=2, default=str, ensure_ascii=False)))
    text = text.replace(str(subject.home), "~") if len(str(subject.home)) > 1 else text
    name = _find_user()
    return text.replace(name, "USER") if len(name) > 3 else text


def _is_ours(name: str) -> bool:
    return name.startswith(("ANTHROPIC_", "CLAUDE_", "OPENAI_", "CODEX_", "OCA_", "DRAGOMAN", "HTTP", "NO_PROXY"))


def _find_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _find_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
