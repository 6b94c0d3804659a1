"""Informs clients about limits: in errors, and in the headers that their vendor uses."""

from __future__ import annotations

import datetime
import math
import time
from functools import lru_cache
from typing import Literal, NamedTuple

from app.conversation.traits import DialectTraits
from app.errors import LimitReached
from app.rate_limits.counts import DOLLAR, RING, Full, Limit, Taken

# Seconds of waiting beyond which an automatic retry is of no use.
USELESS = 600
_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))

OwnerKind = Literal["key", "provider"]


class Owner(NamedTuple):
    """The key or provider whose limits they are."""

    kind: OwnerKind
    name: str

    @property
    def mark(self) -> str:
        """The name it is counted under. No key's name contains a space, so a provider's cannot collide with one."""
        return self.name if self.kind == "key" else f"provider {self.name}"

    def __str__(self) -> str:
        return f"the client key {self.name!r}" if self.kind == "key" else f"the provider {self.name!r}"


def refuse(owner: Owner, full: Full, traits: DialectTraits) -> LimitReached:
    """The refusal of a request. A provider's limits get no headers, because clients must not learn what is left."""
    seconds = max(1, math.ceil(full.seconds))
    resets = datetime.datetime.fromtimestamp(int(time.time()) + seconds, datetime.UTC)
    limit = full.limit
    headers: dict[str, str] = {}
    if limit.kind in ("requests", "tokens") and owner.kind == "key":
        headers = _limit_headers(traits, limit, 0, seconds)
    return LimitReached(
        _describe(owner, full, seconds, resets),
        headers=headers,
        retry_after=str(seconds),
        is_budget=limit.kind == "budget" and full.is_spent,
    )


def limit_headers(taken: Taken, traits: DialectTraits) -> dict[str, str]:
    """The limit headers of an answer: for requests and for tokens, the limit with the least left."""
    nearest: dict[str, tuple[int, Limit]] = {}
    for place, (demand, _) in enumerate(taken.demands):
        limit = demand.limit
        left, known = limit.maximum - taken.used[place], nearest.get(limit.kind)
        if limit.bucket and (known is None or left < known[0]):
            nearest[limit.kind] = left, limit
    headers: dict[str, str] = {}
    for left, limit in nearest.values():
        headers |= _limit_headers(traits, limit, left if left > 0 else 0, limit.bucket * RING)
    return headers


# Cached because a whole window always has the same span.
@lru_cache(maxsize=256)
def format_span(seconds: int) -> str:
    """A span as the vendor writes it: `6m0s`."""
    parts: list[str] = []
    for size, unit in _UNITS:
        if seconds >= size or parts or unit == "s":
            parts.append(f"{seconds // size}{unit}")
            seconds %= size
    return "".join(parts)


def format_dollars(billionths: int) -> str:
    """Dollars with cents, or with all digits below a dollar: `$2.50`, `$0.00018`."""
    dollars = billionths / DOLLAR
    return f"${dollars:,.2f}" if dollars >= 1 or not billionths else f"${dollars:.9f}".rstrip("0")


def _limit_headers(traits: DialectTraits, limit: Limit, left: int, seconds: int) -> dict[str, str]:
    """The headers of one limit. `seconds` is the time until it is fully restored, or has room again."""
    reset = _format_date(int(time.time()) + seconds) if traits.dates_resets else format_span(seconds)
    maximum, remaining, resets = _name_headers(traits.limit_header, limit.kind)
    return {maximum: str(limit.maximum), remaining: str(left), resets: reset}


# Cached because all requests of a second name the same dates.
@lru_cache(maxsize=64)
def _format_date(moment: int) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=16)
def _name_headers(template: str, what: str) -> list[str]:
    return [template.format(field=field, what=what) for field in ("limit", "remaining", "reset")]


def _describe(owner: Owner, full: Full, seconds: int, resets: datetime.datetime) -> str:
    limit = full.limit
    at = resets.strftime("%Y-%m-%d %H:%M UTC")
    if limit.kind == "budget" and not full.is_spent:
        return (
            f"{owner} has running requests that may spend the rest of its budget of {format_dollars(limit.maximum)} "
            f"for this {limit.period}; retry when one of them has finished"
        )
    if limit.kind == "budget":
        spent = f"{format_dollars(limit.maximum)} for this {limit.period}"
        return (
            f"{owner} has spent its budget of {spent}. It is available again at {at}; retrying before "
            "that does not help, but the operator of this gateway can raise it"
        )
    if limit.kind == "parallel":
        return (
            f"{owner} has {full.used} running requests, and its limit is {limit.maximum} at a time; "
            "retry when one of them has finished"
        )
    return (
        f"{owner} has reached its limit of {limit.maximum:,} {limit.kind} a {limit.period}. "
        f"Please try again in {seconds}s" + (f", at {at}" if seconds > USELESS else "")
    )
