"""Waits, under gevent, until a socket is readable or time is up.

gevent's own sockets read first, and start a timer for each wait. An upstream has nearly always nothing to read yet, so
that costs a failed system call, an exception and a timer for each event: more than all the rest of reading it.
"""

from __future__ import annotations

import socket
from time import monotonic
from typing import Any

import gevent.socket
from gevent import get_hub, getcurrent

# libev's EV_READ.
_READABLE = 1
_TICK = 0.1
# Where a tick matters, the exact timer is worth its price.
_EXACT_BELOW = 1.0


class Alarm:
    """Ends the waits of all greenlets with one timer that looks around ten times a second.

    A wait of a second or more ends up to a tenth of a second late. For the greenlets of one hub.
    """

    def __init__(self) -> None:
        self._deadlines: dict[Any, float] = {}
        self._timer: Any = None

    def watch(self, sock: socket.socket) -> Any:
        """What `wait` waits with, to be closed with the socket; None for a socket that is not gevent's."""
        if isinstance(sock, gevent.socket.socket):
            return get_hub().loop.io(sock.fileno(), _READABLE)
        return None

    def wait(self, watcher: Any, seconds: float) -> None:
        """Returns when the socket can be read; raises TimeoutError after `seconds`."""
        if seconds < _EXACT_BELOW:
            gevent.socket.wait(watcher, seconds)
            return
        if self._timer is None:
            self._start()
        waiter = getcurrent()
        self._deadlines[waiter] = monotonic() + seconds
        try:
            get_hub().wait(watcher)
        finally:
            del self._deadlines[waiter]

    def _start(self) -> None:
        # Not counted among what keeps the hub running: it shall not keep a process alive that has nothing else to do.
        self._timer = get_hub().loop.timer(_TICK, _TICK, ref=False)
        self._timer.start(self._ring)

    def _ring(self) -> None:
        """Runs in the hub, so every greenlet with a deadline is waiting now."""
        now = monotonic()
        for waiter in [waiter for waiter, deadline in self._deadlines.items() if deadline <= now]:
            waiter.throw(TimeoutError("timed out"))
