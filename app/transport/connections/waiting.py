"""Waits, under gevent, until a socket is readable or time is up.

gevent's own sockets read first, and start a timer for each wait. An upstream has nearly always nothing to read yet, so
that costs a failed system call, an exception and a timer for each event: more than all the rest of reading it.
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
# Where a tick matters, the exact timer is worth its price.
_EXACT_BELOW = 1.0


class Alarm:
    """Ends the waits of all greenlets with one timer that looks around ten times a second.

    Who waits puts himself among the `deadlines`, for as long; TimeoutError is thrown into him then, up to a tenth of a
    second late. Waits below `exact_below` seconds are not for it. For the greenlets of one hub.
    """

    __slots__ = ("_timer", "deadlines", "exact_below")

    def __init__(self) -> None:
        self.deadlines: dict[Any, float] = {}
        self.exact_below = _EXACT_BELOW
        self._timer: Any = None

    def watch(self, sock: socket.socket) -> Any:
        """What a wait is for, to be closed with the socket; None for a socket that is not gevent's."""
        if isinstance(sock, gevent.socket.socket):
            return get_hub().loop.io(sock.fileno(), _READABLE)
        return None

    def start(self) -> None:
        """To be called before the first wait."""
        if self._timer is not None:
            return
        # Not counted among what keeps the hub running: it shall not keep a process alive that has nothing else to do.
        self._timer = get_hub().loop.timer(_TICK, _TICK, ref=False)
        self._timer.start(self._ring)

    def _ring(self) -> None:
        """Runs in the hub, so every greenlet with a deadline is waiting now."""
        now = monotonic()
        for waiter in [waiter for waiter, deadline in self.deadlines.items() if deadline <= now]:
            waiter.throw(TimeoutError("timed out"))
