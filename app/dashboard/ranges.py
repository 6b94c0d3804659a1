"""The time range of a page, kept in its address."""

from __future__ import annotations

import datetime
import time

from flask import request
from msgspec import Struct

from app.accounts.reports import read_span
from app.blueprints.operations.reports import LONGEST_VALUE, read_time
from app.errors import InvalidRequest

# The choices in the bar at the top.
SPANS = ("15m", "1h", "24h", "7d", "30d")


class Range(Struct, frozen=True):
    """Unix times; `since` and `until` also as written in the address. An empty `since` means the page's default."""

    begin: float
    end: float
    since: str = ""
    until: str = ""

    @property
    def seconds(self) -> float:
        return max(1.0, self.end - self.begin)

    def chosen(self) -> dict[str, float | None]:
        """`since` and `until` as far as the address names them."""
        return {"since": self.begin if self.since else None, "until": self.end if self.until else None}


def read_range(usual: str) -> Range:
    """The range of this page; `usual` is the span if the address has none. Raises InvalidRequest."""
    now = time.time()
    since, until = (request.args.get(name, "").strip()[:LONGEST_VALUE] for name in ("since", "until"))
    begin = _read(since, "since") if since else now - (read_span(usual) or 0)
    end = _read(until, "until") if until else now
    if begin >= end:
        raise InvalidRequest("since must be earlier than until", param="since")
    return Range(begin, end, since, until)


def _read(text: str, name: str) -> float:
    """A span before now, unix seconds, or a date in UTC as a browser's field gives it."""
    if len(text) >= len("2026-01-31") and text[4:5] == "-":
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError as error:
            raise InvalidRequest(f"{name} must be a time span such as 12h, or a date", param=name) from error
        return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp()
    return read_time(name) or 0.0
