"""Lets other requests run during long work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

# Seconds of work in the background after which requests get their turn.
STEP = 0.0001
# Seconds. After sleep(0), gevent runs fifty such greenlets before it polls the sockets again. After a timer, however
# short, it polls.
_A_MOMENT = 1e-6


def give_way() -> None:
    """Lets all greenlets run that are ready, including those whose sockets are."""
    time.sleep(_A_MOMENT)


class Budget:
    """Keeps work in the background to a share of its thread's time, and gives way to requests between its steps."""

    def __init__(self, share: float, clock: Callable[[], float] = time.thread_time) -> None:
        """`clock` returns the seconds for which this thread has been running."""
        self._share = share
        self._clock = clock
        self._spent = 0.0

    def run(self, steps: Iterable[T]) -> list[T]:
        """The results of the steps. None of them may wait: what others do meanwhile would count as theirs."""
        results = []
        begun = self._clock()
        for result in steps:
            results.append(result)
            took = self._clock() - begun
            if took >= STEP:
                self._spent += took
                give_way()
                begun = self._clock()
        self._spent += self._clock() - begun
        return results

    def spend(self, seconds: float) -> None:
        """Counts work that is not run here."""
        self._spent += seconds

    def pause(self) -> float:
        """How many seconds to pause for all that was spent since the last pause."""
        spent, self._spent = self._spent, 0.0
        return spent / self._share
