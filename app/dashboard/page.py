"""Renders a page with the parts that all pages share: status, recording, time range."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from typing import Any

import msgspec
from flask import Response, request

from app.accounts.reports import read_span
from app.blueprints.operations.reports import LONGEST_VALUE, read_time
from app.blueprints.views import runtime, services
from app.dashboard.rendering import render
from app.dashboard.visitors import Visitor, form_mark
from app.errors import InvalidRequest

# Maximum parameters that the address keeps when another range is chosen.
MAX_KEPT = 20
# The choices in the bar at the top.
SPANS = ("15m", "1h", "24h", "7d", "30d")


def show(
    template: str, visitor: Visitor, status: int = 200, *, troubles: list[Trouble] | None = None, **values: Any
) -> Response:
    """A rendered page. `troubles` are passed by pages that list them themselves."""
    found = list(find_troubles(visitor)) if troubles is None else troubles
    return render(
        template,
        status,
        visitor=visitor,
        trouble_count=len(found),
        troubles=found,
        csrf=form_mark(),
        spans=SPANS,
        since=request.args.get("since", "")[:LONGEST_VALUE],
        until=request.args.get("until", "")[:LONGEST_VALUE],
        path=request.path,
        kept={
            name: value[:LONGEST_VALUE]
            for name, value in list(request.args.items())[:MAX_KEPT]
            if name not in ("since", "until", "before")
        },
        recording=runtime().observers.inspector.describe(),
        now=time.time(),
        **values,
    )


class Trouble(msgspec.Struct, frozen=True):
    """One problem. A provider's says since when (unix seconds)."""

    message: str
    provider: str = ""
    since: float | None = None


def find_troubles(visitor: Visitor) -> Iterator[Trouble]:
    """The current problems, in the words of /health. A failure followed by a success is over."""
    owner = runtime()
    if owner.problem is not None:
        message = f": {owner.problem}" if visitor.is_admin else ""
        yield Trouble(f"the changed configuration was rejected{message}")
    yield from map(Trouble, owner.complaints())
    for name, provider in services().providers.items():
        trouble = provider.health.problem
        if trouble is not None:
            yield Trouble(trouble.message, name, provider.health.failing_since)


class Range(msgspec.Struct, frozen=True):
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
    begin = _read_moment(since, "since") if since else now - (read_span(usual) or 0)
    end = _read_moment(until, "until") if until else now
    if begin >= end:
        raise InvalidRequest("since must be earlier than until", param="since")
    return Range(begin, end, since, until)


def _read_moment(text: str, name: str) -> float:
    """A span before now, unix seconds, or a date in UTC as a browser's field gives it."""
    if len(text) >= len("2026-01-31") and text[4:5] == "-":
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError as error:
            raise InvalidRequest(f"{name} must be a time span such as 12h, or a date", param=name) from error
        return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp()
    return read_time(name) or 0.0
