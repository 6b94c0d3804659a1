"""What a client is told when a limit of its key is reached: in words, and in the headers that its vendor has for it."""

from __future__ import annotations

import datetime
import math
import time

from app.conversation.traits import DialectTraits
from app.errors import LimitReached
from app.rate_limits.counts import Full, Limit

# Seconds after which coming back by itself is of no use to an agent.
USELESS = 600
_NANO = 1_000_000_000
_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def refuse(name: str, full: Full, traits: DialectTraits) -> LimitReached:
    """The refusal of a request of the key `name`."""
    seconds = max(1, math.ceil(full.seconds))
    resets = datetime.datetime.fromtimestamp(int(time.time()) + seconds, datetime.UTC)
    limit = full.limit
    headers: dict[str, str] = {}
    if limit.kind in ("requests", "tokens"):
        reset = resets.strftime("%Y-%m-%dT%H:%M:%SZ") if traits.dates_resets else spell_span(seconds)
        for field, value in (("limit", str(limit.most)), ("remaining", "0"), ("reset", reset)):
            headers[traits.limit_header.format(field=field, what=limit.kind)] = value
    if limit.kind == "budget" or seconds > USELESS:
        headers["x-should-retry"] = "false"
    return LimitReached(
        _describe(name, full.limit, full.used, seconds, resets),
        headers=headers,
        retry_after=str(seconds),
        is_budget=limit.kind == "budget",
    )


def spell_span(seconds: int) -> str:
    """A span as the vendor writes it: `6m0s`."""
    parts: list[str] = []
    for size, unit in _UNITS:
        if seconds >= size or parts or unit == "s":
            parts.append(f"{seconds // size}{unit}")
            seconds %= size
    return "".join(parts)


def _describe(name: str, limit: Limit, used: int, seconds: int, resets: datetime.datetime) -> str:
    at = resets.strftime("%Y-%m-%d %H:%M UTC")
    if limit.kind == "budget":
        spent = f"${limit.most / _NANO:,.2f} for this {limit.period}"
        return (
            f"the client key {name!r} has spent its budget of {spent}. It is full again at {at}; asking before that "
            "is of no use, but whoever runs this gateway can raise it"
        )
    if limit.kind == "parallel":
        return (
            f"the client key {name!r} has {used} requests under way, and its limit is {limit.most} at a time; "
            "ask again when one of them is over"
        )
    return (
        f"the client key {name!r} has reached its limit of {limit.most:,} {limit.kind} a {limit.period}. "
        f"Please try again in {seconds}s" + (f", at {at}" if seconds > USELESS else "")
    )
