"""Reads keys as people and files hand them on: in quotes, behind `Bearer`, or as the variable of another program."""

from __future__ import annotations

import re
from typing import Any

from app.errors import ConfigError
from app.settings.network import strip_margin
from app.settings.texts import change_texts

# Settings that are keys, or lists of them.
_KEYS = frozenset({"api_key", "access_token", "api_keys", "key", "credentials"})
# `docker run --env-file` and Kubernetes keep the quotes of a value.
_QUOTED = re.compile(r"([\"'`\u2018\u2019\u201c\u201d])(.*)[\"'`\u2018\u2019\u201c\u201d]")
_SCHEME = re.compile(r"bearer\s+", re.IGNORECASE)
_INVISIBLE = re.compile(r"^[\u200b-\u200f\u2060\ufeff\xa0]+|[\u200b-\u200f\u2060\ufeff\xa0]+$")
# References to variables in the words of shells, LiteLLM, opencode, Visual Studio Code and others.
_REFERENCE = re.compile(
    r"\$([A-Za-z_]\w*)|%([A-Za-z_]\w*)%|\$?\{\{? *(?:env[:.])?([A-Z_][A-Z0-9_]*) *\}?\}|\$?\{env:([A-Za-z_]\w*)\}"
    r"|(?:os\.environ/|process\.env\.|env:|\$env:)([A-Za-z_]\w*)"
)
_UNSENDABLE = re.compile(r"[^\x20-\x7e]")


def clean_key(key: str) -> str:
    """A key without what surrounds it."""
    text: str = strip_margin(_INVISIBLE.sub("", strip_margin(key)))
    if quoted := _QUOTED.fullmatch(text):
        text = quoted[2].strip()
    return _SCHEME.sub("", text, count=1) if _SCHEME.match(text) else text


def clean_keys(tables: dict[str, Any]) -> dict[str, Any]:
    """The same tables with clean keys. Raises ConfigError for a key that is none."""
    cleaned: dict[str, Any] = change_texts(tables, _clean)
    return cleaned


def _clean(value: str, name: str, path: str) -> str:
    if name not in _KEYS:
        return value
    text = clean_key(value)
    if reference := _REFERENCE.fullmatch(text):
        raise ConfigError(f"this names a variable in another program's words; write ${{{_name(reference)}}}", key=path)
    if name not in ("api_keys", "key") and (odd := _UNSENDABLE.search(text)):
        raise ConfigError(f"a key cannot contain U+{ord(odd[0]):04X}, its character {odd.start() + 1}", key=path)
    return text


def _name(reference: re.Match[str]) -> str:
    return next(name for name in reference.groups() if name)
