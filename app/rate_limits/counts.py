"""Limits, and the contract of whatever counts their use.

A moving window is cut into PARTS buckets, and the one that has just begun counts beside a whole window of them: what is
counted is never less than what any window of that length holds, so no window ever holds more than the limit.
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
# Billionths of a dollar in a dollar, in which money is counted.
DOLLAR = 1_000_000_000

# What each setting limits. Of several limits that are reached the one that lasts longest is told.
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


class Limit(msgspec.Struct, frozen=True):
    """`most` is requests, tokens, requests at a time or billionths of a dollar. Requests and tokens are counted over a
    moving window, budgets over a day or month of the calendar in UTC, `parallel` has no period."""

    kind: Kind
    most: int
    period: Period = ""

    @property
    def setting(self) -> str:
        """The name of the setting that it comes from."""
        return "max_parallel" if self.kind == "parallel" else f"{self.kind}_per_{self.period}"

    @property
    def bucket(self) -> int:
        """Seconds of a bucket; 0 without a moving window."""
        return BUCKETS[self.period] if self.kind in ("requests", "tokens") else 0

    def number(self, now: float) -> int:
        """The number of the bucket, or of the day or month, that a time lies in."""
        if self.bucket:
            return int(now) // self.bucket
        if self.period == "month":
            today = time.gmtime(now)
            return today.tm_year * 12 + today.tm_mon - 1
        return int(now) // DAY if self.period == "day" else 0

    def ends(self, number: int) -> int:
        """The unix time at which a day or a month is over."""
        if self.period == "month":
            year, month = divmod(number + 1, 12)
            return calendar.timegm((year, month + 1, 1, 0, 0, 0))
        return (number + 1) * DAY

    def full(self, used: int, spent: int, now: float) -> Full:
        """A limit without a moving window that is reached; `spent` is what of `used` is not only held."""
        if self.kind == "budget" and spent >= self.most:
            return Full(self, used, self.ends(self.number(now)) - now)
        return Full(self, used, 1.0, is_spent=self.kind != "budget")

    def free_again(self, used: int, buckets: Sequence[tuple[int, int]], now: float) -> float:
        """Seconds until so much has left the window that there is room for more. `buckets` are numbers and counts, the
        oldest first."""
        for number, count in buckets:
            used -= count
            if used < self.most:
                return max(1.0, (number + RING) * self.bucket - now)
        return float(self.bucket * RING)


class Demand(msgspec.Struct, frozen=True):
    """What a request wants of a limit: to be counted with `amount`, if less than `most` is counted so far."""

    owner: str
    limit: Limit
    amount: int

    @property
    def place(self) -> bytes:
        """16 bytes that stand for the limit and its owner; they say neither to who reads them."""
        return place_of(self.owner, self.limit.kind, self.limit.period)


class Taken(msgspec.Struct, frozen=True):
    """What was counted: each demand, with the bucket or the day that it went into, and who keeps the count. `used` is
    what is counted of each limit now, this request included."""

    counts: Counts
    demands: tuple[tuple[Demand, int], ...]
    used: tuple[int, ...]


class Full(msgspec.Struct, frozen=True):
    """A limit that is reached; `used` is what is counted, `seconds` how long until there is room. A budget of which the
    rest is only held for what is under way is not spent (`is_spent`)."""

    limit: Limit
    used: int
    seconds: float
    is_spent: bool = True


class Counts(Protocol):
    """Something that keeps count. Raises OSError where it cannot."""

    def take(self, demands: Sequence[Demand], now: float) -> Taken | Full:
        """Counts all demands, or none of them and says which limit is reached."""
        ...

    def settle(self, taken: Taken, actual: Sequence[int], now: float) -> None:
        """Puts what was really used in the place of each demand's amount."""
        ...

    def look(self, demands: Sequence[Demand], now: float) -> list[int]:
        """What is counted of each limit, with what is under way. Counts nothing."""
        ...


def read_limits(settings: UseLimits) -> tuple[Limit, ...]:
    """The limits that are set. Budgets are dollars in the settings and billionths of one where they are counted."""
    return tuple(
        Limit(kind, round(most * (DOLLAR if kind == "budget" else 1)), period)
        for field, (kind, period) in SETTINGS.items()
        if (most := getattr(settings, field)) is not None
    )


@lru_cache(maxsize=4096)
def place_of(owner: str, kind: str, period: str) -> bytes:
    return hashlib.blake2b(f"{owner}\0{kind}\0{period}".encode(), digest_size=16).digest()
