"""Limits retries to a share of the last minute's requests. Pure: the caller passes the time."""

from __future__ import annotations

# Retries may be at most this share of the last minute's requests,
SHARE = 0.2
# but one a second on average is always allowed: an agent's few requests would not earn what a short outage takes, with
# several subagents at work and up to three tries each.
FLOOR = 60

_SLICES = 6
_SECONDS = 10


class RetryBudget:
    """Counts requests and retries in slices of ten seconds, one minute in total. `others` are the requests and retries
    that the other workers have reported."""

    __slots__ = ("_requests", "_retries", "_slice", "others")

    def __init__(self) -> None:
        self.others = (0, 0)
        self._slice = 0
        self._requests = [0] * _SLICES
        self._retries = [0] * _SLICES

    def earn(self, now: float) -> None:
        """Counts a request to the provider."""
        current = int(now) // _SECONDS
        if current > self._slice:
            self._turn(current)
        self._requests[current % _SLICES] += 1

    def spend(self, now: float) -> bool:
        """Whether a retry is allowed; if so, it is counted."""
        current = int(now) // _SECONDS
        if current > self._slice:
            self._turn(current)
        requests, retries = self.others
        if retries + sum(self._retries) >= max(FLOOR, int(SHARE * (requests + sum(self._requests)))):
            return False
        self._retries[current % _SLICES] += 1
        return True

    def count(self, now: float) -> tuple[int, int]:
        """Requests and retries of this worker within the last minute."""
        current = int(now) // _SECONDS
        if current > self._slice:
            self._turn(current)
        return sum(self._requests), sum(self._retries)

    def _turn(self, current: int) -> None:
        for passed in range(self._slice + 1, min(current, self._slice + _SLICES) + 1):
            self._requests[passed % _SLICES] = self._retries[passed % _SLICES] = 0
        if current - self._slice > _SLICES:
            self._requests[:] = self._retries[:] = [0] * _SLICES
        self._slice = current
