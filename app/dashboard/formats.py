"""Formats values for people: times, spans, counts, costs and sizes."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence

_DOLLAR = 1e9
_KILO = 1000


def format_time(unix: float) -> str:
    return datetime.datetime.fromtimestamp(unix, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def format_clock(when: float | str) -> str:
    """The time for today, else date and time. `when` is a unix time, or a time as /health gives it."""
    unix = datetime.datetime.fromisoformat(when).timestamp() if isinstance(when, str) else when
    moment, today = (datetime.datetime.fromtimestamp(each, datetime.UTC) for each in (unix, time.time()))
    return moment.strftime("%H:%M:%S" if moment.date() == today.date() else "%b %d, %H:%M")


def format_ago(unix: float) -> str:
    seconds = int(time.time() - unix)
    if seconds < 0:
        return f"in {format_span(-seconds)}"
    return "just now" if seconds < 5 else f"{format_span(seconds)} ago"


def format_hour(unix: float) -> str:
    """How long ago an hour was, of which only the beginning is known."""
    hours = int(time.time() - unix) // 3600
    return "in this hour" if hours < 1 else f"{format_span(hours * 3600)} ago"


def format_span(seconds: float) -> str:
    """A duration in its largest unit and the next smaller one."""
    whole = int(seconds)
    for size, unit, below, part in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {part}" if rest and whole < 10 * size else "")
    return f"{whole} s"


def format_cost(cost: int | None) -> str:
    return "no price" if cost is None else f"${cost / _DOLLAR:,.4f}"


def format_dollars(cost: int) -> str:
    return f"${cost / _DOLLAR:,.2f}" if cost >= _DOLLAR or not cost else f"${cost / _DOLLAR:.4f}"


def format_count(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def format_short(count: float | None) -> str:
    """A count in few digits."""
    if count is None:
        return "-"
    for unit in ("", "k", "M", "G"):
        if count < _KILO:
            return f"{count:.0f}{unit}" if not unit or count >= 100 else f"{count:.1f}{unit}"
        count /= _KILO
    return f"{count:.1f}T"


def format_bytes(size: int | None) -> str:
    return "-" if size is None else f"{size:,} B" if size < 10_000 else f"{size / 1024:,.0f} KB"


def format_ms(ms: int | None) -> str:
    return "-" if ms is None else f"{ms:,} ms" if ms < 10_000 else f"{ms / 1000:,.1f} s"


def draw_line(values: Sequence[float]) -> str:
    """Points of a line in a box of 100 x 30, for SVG."""
    maximum, last = max(values, default=0) or 1, max(1, len(values) - 1)
    return " ".join(f"{at * 100 / last:.1f},{29 - value * 27 / maximum:.1f}" for at, value in enumerate(values))
