"""Waits, under gevent, until a socket is readable or the time is up.

gevent's own sockets try to read first, and start a timer for each wait. Usually there is nothing to read yet, so each
event costs a failed system call, an exception and a timer: more than everything else in reading it.
"""

from __future__ import annotations

import socket
from time import monotonic
from typing import Any

import gevent.socket
from gevent import get_hub

# libev's EV_READ.
_READABLE = 1
_TICK = 0.1
# Below this many seconds a tick matters, and an exact timer is worth its cost.
_EXACT_BELOW = 1.0


class Alarm:
    """Ends the waits of all greenlets of one hub with a single timer that checks them ten times a second.

    A greenlet adds its deadline to `deadlines` while it waits. At the deadline, or up to a tenth of a second later,
    TimeoutError is thrown into it. Waits below `exact_below` seconds should use another timer.
    """

    __slots__ = ("_timer", "deadlines", "exact_below")

    def __init__(self) -> None:
        self.deadlines: dict[Any, float] = {}
        self.exact_below = _EXACT_BELOW
        self._timer: Any = None

    def watch(self, sock: socket.socket) -> Any:
        """A watcher to wait for, which must be closed with the socket. None if the socket is not gevent's."""
        if isinstance(sock, gevent.socket.socket):
            return get_hub().loop.io(sock.fileno(), _READABLE)
        return None

    def start(self) -> None:
        """Starts the timer. Must be called before the first wait."""
        if self._timer is not None:
            return
        # `ref=False`: the timer alone must not keep the hub, and so the process, running.
        self._timer = get_hub().loop.timer(_TICK, _TICK, ref=False)
        self._timer.start(self._expire)

    def _expire(self) -> None:
        """Ends the waits whose time is up. Runs in the hub, so every greenlet with a deadline is waiting now."""
        now = monotonic()
        for waiter in [waiter for waiter, deadline in self.deadlines.items() if deadline <= now]:
            waiter.throw(TimeoutError("timed out"))
