"""Reads lines of the log again, in any of its formats."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from msgspec import Struct

from app.json_values import decode_object
from app.logs.console import sum_up
from app.logs.log import LEVELS, hide_secrets

_LONGEST_LINE = 8000
_COLOURS = re.compile(r"\x1b\[[0-9;]{0,10}m")
# Time and level; the lines of a terminal have the time of day, and those of requests no level.
_HEAD = re.compile(r"(\d{2}:\d{2}:\d{2}|\d{4}-\d{2}-\d{2}T[\d:.]{8,15}(?:Z|[+-][\d:]{5,9}))\s(?:([A-Z]{4,8})\s)?\s?")
_NAMES = {"warning": "warn", "critical": "error"}


class LogLine(Struct, frozen=True):
    """One line without colours and secrets. `when` is the time as it was written, or empty; `text` what happened, for
    people; `raw` the whole line. `fields` are those of a JSON line."""

    when: str
    level: str
    text: str
    raw: str
    fields: Mapping[str, Any] = {}

    def clock(self, zone: tzinfo | None = UTC) -> str:
        """The time of day, in this machine's time if `zone` is None."""
        try:
            moment = datetime.fromisoformat(self.when)
        except ValueError:
            return self.when
        return f"{moment.astimezone(zone):%H:%M:%S}"


def read_line(line: bytes) -> LogLine:
    raw = _COLOURS.sub("", hide_secrets(line[:_LONGEST_LINE].decode("utf-8", "replace").rstrip("\r\n")))
    head = _HEAD.match(raw)
    when, level, rest = (head[1], head[2] or "", raw[head.end() :]) if head else ("", "", raw)
    fields = decode_object(rest) if rest.startswith("{") else {}
    when, level = str(fields.get("time", when)), str(fields.get("level", level)).lower()
    level = _NAMES.get(level, level)
    return LogLine(when, level if level in LEVELS else "info", _describe(fields) or rest, raw, fields)


def _describe(fields: Mapping[str, Any]) -> str:
    """What a line's fields say; empty if they are not those of our lines."""
    try:
        return sum_up(fields) if "status" in fields else str(fields.get("message", ""))
    except (LookupError, TypeError, ValueError):
        return ""
