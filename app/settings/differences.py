"""Compares two versions of the configuration file, setting by setting and without secrets."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

from msgspec import Struct, json

from app.settings import tables
from app.settings.masking import MASK, masked

# Names of settings. Under any other name lies what its writer chose, or a misspelt setting, which may be a secret.
_KNOWN = frozenset(
    name
    for table in vars(tables).values()
    if isinstance(table, type) and issubclass(table, Struct) and table is not tables.Settings
    for name in table.__struct_fields__
)
# Sections with a table for each name.
_NAMED = ("providers", "keys", "prices")
# Maximum characters of a file that is compared.
MAX_COMPARED = 256 * 1024
_Path = tuple[str, ...]


def compare_files(before: str, after: str) -> list[str]:
    """Lines such as `- server.port = 8080` and `+ server.port = 9000`; none if one of the files is no TOML, or if it is
    long, because requests wait while it is read."""
    if max(len(before), len(after)) > MAX_COMPARED:
        return []
    try:
        old, new = (dict(_flatten(tomllib.loads(text))) for text in (before, after))
    except (ValueError, RecursionError):
        return []
    lines = []
    for path in dict.fromkeys((*old, *new)):
        was, now = old.get(path), new.get(path)
        if (was and was[0]) != (now and now[0]):
            lines += [_show(sign, path, each[1]) for sign, each in (("-", was), ("+", now)) if each is not None]
    return lines


def _flatten(values: dict[str, Any]) -> Iterator[tuple[_Path, tuple[str, str]]]:
    """Each setting's path, with its value and the value as it may be shown, both as JSON."""

    def walk(value: Any, shown: Any, path: _Path) -> Iterator[tuple[_Path, tuple[str, str]]]:
        if isinstance(value, dict) and isinstance(shown, dict):
            for name, each in value.items():
                yield from walk(each, shown[name], (*path, name))
        else:
            yield path, (_encode(value), _encode(shown if _is_known(path) else MASK))

    return walk(values, masked(values), ())


def _is_known(path: _Path) -> bool:
    """Whether a setting or the table around it is known; the name of a provider or of a key tells nothing."""
    below = path[2:] if path[0] in _NAMED else path[1:] or path
    return not _KNOWN.isdisjoint(below[-2:])


def _show(sign: str, path: _Path, value: str) -> str:
    names = (name if name.replace("-", "").replace("_", "").isalnum() else f'"{name}"' for name in path)
    return f"{sign} {'.'.join(names)} = {value}"


def _encode(value: Any) -> str:
    return json.encode(value, enc_hook=str).decode()
