"""This file runs the greenlet that notices clients who left."""

from __future__ import annotations

import gevent

from app.transport.active import ActiveRequests

# Half of the time within which an upstream's connection shall be closed after its client left.
_PERIOD = 0.25


def start_sweeper(active: ActiveRequests) -> None:
    """Looks for abandoned requests every quarter of a second, as long as the process lives.

    To be called once in each gevent worker, from gunicorn's `post_worker_init`. Without it, a client that left is
    noticed at the next write to it.
    """
    gevent.spawn(_sweep, active)


def _sweep(active: ActiveRequests) -> None:
    while True:
        gevent.sleep(_PERIOD)
        active.end_abandoned()
