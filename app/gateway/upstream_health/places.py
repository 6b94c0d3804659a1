"""Counts a queue's places across workers or hosts, in the same counts as limits."""

from __future__ import annotations

from collections.abc import Callable

from app.rate_limits.counts import Demand, Full, Limit, Taken
from app.rate_limits.shared_counts import LimitsUnavailable, SharedCounts


class CountedPlaces:
    """`find_counts` returns the current counts; `owner` is the name that the places are counted under."""

    def __init__(self, find_counts: Callable[[], SharedCounts], owner: str) -> None:
        self._find_counts = find_counts
        self._owner = owner
        self._can_count = True

    @property
    def is_shared(self) -> bool:
        return self._can_count and self._find_counts().is_shared

    def take(self, maximum: int) -> tuple[SharedCounts, Taken | None] | None:
        counts = self._find_counts()
        try:
            taken = counts.take([Demand(self._owner, Limit("parallel", maximum), 1)])
        except LimitsUnavailable:
            # Limits refuse if they cannot count; a queue falls back to the worker's own share.
            self._can_count = False
            return counts, None
        self._can_count = True
        return None if isinstance(taken, Full) else (counts, taken)

    def give_back(self, place: tuple[SharedCounts, Taken | None]) -> None:
        counts, taken = place
        if taken is not None:
            counts.settle(taken, [0])
