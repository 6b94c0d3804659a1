"""Notices clients that left."""

from __future__ import annotations

from app.loops import Loop
from app.transport.active import ActiveRequests

# Seconds. Half of the time within which an upstream's connection must be closed after the client left.
PERIOD = 0.25


def start_sweeper(*watched: ActiveRequests) -> Loop:
    """Starts a loop that ends abandoned requests every quarter of a second, as long as the process lives.

    Must be called once in each gevent worker, from gunicorn's `post_worker_init`. Without it, a client that left is
    only noticed at the next write to it.
    """

    def sweep() -> None:
        for active in watched:
            active.end_abandoned()

    loop = Loop("sweeper", sweep, PERIOD)
    loop.start()
    return loop
