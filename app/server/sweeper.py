"""Runs the greenlet that notices clients who left, and other things that are due a few times a second."""

from __future__ import annotations

from collections.abc import Callable

import gevent

from app.transport.active import ActiveRequests

# Half of the time within which an upstream's connection shall be closed after its client left.
_PERIOD = 0.25


def start_sweeper(active: ActiveRequests, *errands: Callable[[], None]) -> None:
    """Looks for abandoned requests every quarter of a second, as long as the process lives, and runs the `errands`,
    which must be quick and raise nothing.

    To be called once in each gevent worker, from gunicorn's `post_worker_init`. Without it, a client that left is
    noticed at the next write to it.
    """
    gevent.spawn(_sweep, active, errands)


def _sweep(active: ActiveRequests, errands: tuple[Callable[[], None], ...]) -> None:
    while True:
        gevent.sleep(_PERIOD)
        active.end_abandoned()
        for errand in errands:
            errand()
