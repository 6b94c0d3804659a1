"""Limits, and the contract of what counts their use.

A moving window is divided into PARTS buckets. The current bucket is counted in addition to a full window of older ones,
so the count is never less than the use in any window of that length, and no window ever exceeds the limit.
"""

from __future__ import annotations

import calendar
import hashlib
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, Protocol

import msgspec

from app.settings.tables import UseLimits

Kind = Literal["requests", "tokens", "parallel", "budget"]
Period = Literal["minute", "hour", "day", "month", ""]

PARTS = 60
RING = PARTS + 1
# Seconds of a bucket of each moving window.
BUCKETS: dict[Period, int] = {"minute": 1, "hour": 60, "day": 1440}
DAY = 86_400
# Money is counted in billionths of a dollar.
DOLLAR = 1_000_000_000

# What each setting limits, longest periods first. If several limits are reached, the first of them is reported.
SETTINGS: dict[str, tuple[Kind, Period]] = {
    "budget_per_month": ("budget", "month"),
    "budget_per_day": ("budget", "day"),
    "tokens_per_day": ("tokens", "day"),
    "requests_per_day": ("requests", "day"),
    "tokens_per_hour": ("tokens", "hour"),
    "requests_per_hour": ("requests", "hour"),
    "tokens_per_minute": ("tokens", "minute"),
    "requests_per_minute": ("requests", "minute"),
    "max_parallel": ("parallel", ""),
}


class Limit(msgspec.Struct, frozen=True, cache_hash=True):
    """A limit. `maximum` is in requests, tokens, concurrent requests or billionths of a dollar. Requests and tokens are
    counted over a moving window, budgets over a calendar day or month in UTC. `parallel` has no period. `bucket`, which
    follows from the others, is in seconds, and 0 without a moving window."""

    kind: Kind
    maximum: int
    period: Period = ""
    bucket: int = 0

    def __post_init__(self) -> None:
        if self.kind in ("requests", "tokens"):
            msgspec.structs.force_setattr(self, "bucket", BUCKETS[self.period])

    @property
    def setting(self) -> str:
        """The name of the setting that defines it."""
        return "max_parallel" if self.kind == "parallel" else f"{self.kind}_per_{self.period}"

    def number(self, now: float) -> int:
        """The number of the bucket, day or month that contains a time."""
        if self.bucket:
            return int(now) // self.bucket
        if self.period == "month":
            today = time.gmtime(now)
            return today.tm_year * 12 + today.tm_mon - 1
        return int(now) // DAY if self.period == "day" else 0

    def ends(self, number: int) -> int:
        """The unix time at which a day or month ends."""
        if self.period == "month":
            year, month = divmod(number + 1, 12)
            return calendar.timegm((year, month + 1, 1, 0, 0, 0))
        return (number + 1) * DAY

    def full(self, used: int, spent: int, now: float) -> Full:
        """The Full for a reached limit without a moving window. `spent` is the part of `used` that is not just
        reserved."""
        if self.kind == "budget" and spent >= self.maximum:
            return Full(self, used, self.ends(self.number(now)) - now)
        return Full(self, used, 1.0, is_spent=self.kind != "budget")

    def free_again(self, used: int, buckets: Sequence[tuple[int, int]], now: float) -> float:
        """Seconds until enough has left the window to make room. `buckets` are numbers and counts, oldest first."""
        for number, count in buckets:
            used -= count
            if used < self.maximum:
                return max(1.0, (number + RING) * self.bucket - now)
        return float(self.bucket * RING)


class Demand(msgspec.Struct, frozen=True):
    """A request's demand on a limit: to be counted with `amount`, if less than `maximum` is counted so far. `place`, 16
    bytes that follow from the others, identifies the limit and its owner without revealing them."""

    owner: str
    limit: Limit
    amount: int
    place: bytes = b""

    def __post_init__(self) -> None:
        if not self.place:
            msgspec.structs.force_setattr(self, "place", place_of(self.owner, self.limit.kind, self.limit.period))


class Taken(msgspec.Struct, frozen=True):
    """What was counted: each demand with the number of its bucket, day or month, and the `counts` that hold it. `used`
    is the count of each limit now, including this request."""

    counts: Counts
    demands: tuple[tuple[Demand, int], ...]
    used: tuple[int, ...]


class Full(msgspec.Struct, frozen=True):
    """A limit that is reached. `used` is its count, `seconds` the time until there is room. `is_spent` is False for a
    budget whose rest is only reserved by running requests."""

    limit: Limit
    used: int
    seconds: float
    is_spent: bool = True


class Counts(Protocol):
    """Counts the use of limits. Methods raise OSError if that is impossible."""

    def take(self, demands: Sequence[Demand], now: float) -> Taken | Full:
        """Counts all demands. If a limit is reached, counts none and returns that limit."""
        ...

    def settle(self, taken: Taken, actual: Sequence[int], now: float) -> None:
        """Replaces each demand's amount by what was really used."""
        ...

    def look(self, demands: Sequence[Demand], now: float) -> list[int]:
        """The count of each limit, including running requests. Counts nothing itself."""
        ...


def read_limits(settings: UseLimits) -> tuple[Limit, ...]:
    """The limits that are set. Budgets are in dollars in the settings, and counted in billionths of one."""
    return tuple(
        Limit(kind, round(maximum * (DOLLAR if kind == "budget" else 1)), period)
        for field, (kind, period) in SETTINGS.items()
        if (maximum := getattr(settings, field)) is not None
    )


@lru_cache(maxsize=4096)
def place_of(owner: str, kind: str, period: str) -> bytes:
    return hashlib.blake2b(f"{owner}\0{kind}\0{period}".encode(), digest_size=16).digest()
