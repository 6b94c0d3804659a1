"""Limits a reply's total silence across several waits."""

from __future__ import annotations

import time
from collections.abc import Callable

from app.errors import UpstreamTimeout
from app.transport.call import Limits

# Sums of waits are not exact.
_CLOCK_GRAIN = 0.001


class Silence:
    """The silence of one call's upstream, held against the call's limits. All times are in seconds."""

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
        limits = self._limits
        phase, limit = ("idle", limits.idle) if began else ("first_byte", limits.first_byte)
        longest = limit - self._seconds
        if wait is not None and wait < longest:
            longest = wait
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise UpstreamTimeout("total", limits.total or 0.0)
            longest = min(longest, left)
        try:
            data = read(longest)
        except (TimeoutError, BlockingIOError) as error:
            self._seconds += longest
            if self._seconds > limit - _CLOCK_GRAIN:
                raise UpstreamTimeout(phase, limit) from error
            return None
        self._seconds = 0.0
        return data
