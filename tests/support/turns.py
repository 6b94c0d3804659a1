"""Counts how often others get their turn during some work."""

from __future__ import annotations

from collections.abc import Callable

import gevent


def turns_during(work: Callable[[], object]) -> int:
    """How often another greenlet, which always wants to, runs during `work`."""
    turns = 0

    def take_turns() -> None:
        nonlocal turns
        while True:
            gevent.sleep(0.0001)
            turns += 1

    other = gevent.spawn(take_turns)
    gevent.sleep(0)
    before = turns
    work()
    other.kill()
    return turns - before
