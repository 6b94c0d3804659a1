"""Limits an upstream's silence across several waits."""

from __future__ import annotations

import time
from collections.abc import Callable

from app.errors import UpstreamTimeout
from app.transport.call import Limits

# Tolerance in seconds, since sums of waits are not exact.
_CLOCK_GRAIN = 0.001


class Silence:
    """Measures the silence of one call's upstream against the call's limits. All times are in seconds.

    `bear` does everything in one call. Callers that read often use its parts instead: `left`, `note` and `end`.
    """

    __slots__ = ("_crept", "_deadline", "_limits", "_seconds", "_told")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._seconds = 0.0
        self._crept: float | None = None  # when bytes last came that say nothing
        self._told = 0.0  # how much of the silence the reader knows of
        self._deadline = None if limits.total is None else time.monotonic() + limits.total

    def bear(self, read: Callable[[float], bytes], began: bool, wait: float | None) -> bytes | None:
        """The result of `read`, which gets the seconds it may take. None after that time, at most `wait`, of silence.

        `began` says whether the reply's head has arrived, after which the idle limit applies. Raises UpstreamTimeout at
        a limit, and whatever `read` raises.
        """
        longest = self.left(began)
        if wait is not None and wait < longest:
            longest = wait
        try:
            data = read(longest)
        except (TimeoutError, BlockingIOError) as error:
            self.note(longest, began, error)
            return None
        self.end()
        return data

    def left(self, began: bool) -> float:
        """How long the next read may take. Raises UpstreamTimeout if the call's total limit is over."""
        longest = (self._limits.idle if began else self._limits.first_byte) - self._seconds
        if self._deadline is None:
            return longest
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise UpstreamTimeout("total", self._limits.total or 0.0)
        return min(longest, left)

    def note(self, seconds: float, began: bool, error: Exception) -> None:
        """Notes `seconds` of silence, after which a read raised `error`. Raises UpstreamTimeout at a limit."""
        self._seconds += seconds
        self._told = self._seconds
        if self._crept is not None:
            self._crept = time.monotonic()
        phase, limit = ("idle", self._limits.idle) if began else ("first_byte", self._limits.first_byte)
        if self._seconds > limit - _CLOCK_GRAIN:
            raise UpstreamTimeout(phase, limit) from error

    def creep(self, began: bool) -> None:
        """Notes bytes that say nothing, such as a part of a head or of a trailer: they do not end the silence, or an
        upstream could go on with one now and then for days. Raises UpstreamTimeout at a limit."""
        now = time.monotonic()
        passed = 0.0 if self._crept is None else now - self._crept
        self._crept = now
        told = self._told
        self.note(passed, began, TimeoutError("nothing of an answer came"))
        self._told = told

    def has_crept(self, wait: float) -> bool:
        """Whether bytes that say nothing have come for `wait` seconds since the reader last heard of the silence."""
        if self._crept is None or self._seconds - self._told < wait:
            return False
        self._told = self._seconds
        return True

    def end(self) -> None:
        """Ends the silence, because something has arrived."""
        self._seconds, self._told, self._crept = 0.0, 0.0, None
