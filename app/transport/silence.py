"""Limits a reply's total silence across several waits."""

from __future__ import annotations

import time
from collections.abc import Callable

from app.errors import UpstreamTimeout
from app.transport.call import Limits

# Sums of waits are not exact.
_CLOCK_GRAIN = 0.001


class Silence:
    """The silence of one call's upstream, held against the call's limits. All times are in seconds.

    `bear` is all of it; who reads often does the same by parts.
    """

    __slots__ = ("_deadline", "_limits", "_seconds")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._seconds = 0.0
        self._deadline = None if limits.total is None else time.monotonic() + limits.total

    def bear(self, read: Callable[[float], bytes], began: bool, wait: float | None) -> bytes | None:
        """What `read` gives, given the time it may take; None when that, at most `wait`, passed in silence.

        `began` says whether the reply's head is there, from which on the silence between two reads counts. Raises
        UpstreamTimeout at a limit, and what `read` raises.
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
        """How long the next read may take. Raises UpstreamTimeout where the call may take no longer."""
        longest = (self._limits.idle if began else self._limits.first_byte) - self._seconds
        if self._deadline is None:
            return longest
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise UpstreamTimeout("total", self._limits.total or 0.0)
        return min(longest, left)

    def note(self, seconds: float, began: bool, error: Exception) -> None:
        """So much passed in silence, as the `error` of a read says. Raises UpstreamTimeout at a limit."""
        self._seconds += seconds
        phase, limit = ("idle", self._limits.idle) if began else ("first_byte", self._limits.first_byte)
        if self._seconds > limit - _CLOCK_GRAIN:
            raise UpstreamTimeout(phase, limit) from error

    def end(self) -> None:
        """Something has come."""
        self._seconds = 0.0
