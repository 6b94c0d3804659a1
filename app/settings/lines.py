"""Finds a setting's line in a TOML file, for error messages."""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*+\[{1,2}+([^\]]++)\]{1,2}+\s*+(?:#.*+)?$")
_NAME = r"""(?:[A-Za-z0-9_-]++|"[^"]*+"|'[^']*+')"""
_KEY = re.compile(rf"\s*+({_NAME}(?:\s*+\.\s*+{_NAME})*+)\s*+=")
_PART = re.compile(_NAME)
_LONGEST_LINE = 500


def find_line(text: str, key: str) -> int | None:
    """The line of a dotted `key`, else of the closest table that encloses it, or None if the file has none of them.

    Lines count from 1. A key inside an inline table gets the table's line. In `key`, a name that contains dots is
    quoted, except a provider's.
    """
    wanted = _split(key)
    best, depth = None, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        line = line[:_LONGEST_LINE]
        if header := _HEADER.match(line):
            table = path = _split(header[1])
        elif assignment := _KEY.match(line):
            path = table + _split(assignment[1])
        else:
            continue
        if len(path) > depth and path == wanted[: len(path)]:
            best, depth = number, len(path)
    return best


def _split(key: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(key))
