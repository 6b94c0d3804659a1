"""Waits, under gevent, until a socket is readable or the time is up.

gevent's own sockets try to read first, and start a timer for each wait. Usually there is nothing to read yet, so each
event costs a failed system call, an exception and a timer: more than everything else in reading it.
"""

from __future__ import annotations

import socket
from functools import lru_cache
from time import monotonic
from typing import Any

import gevent.socket
from gevent import get_hub, getcurrent
from greenlet import greenlet

# libev's EV_READ.
_READABLE = 1
_TICK = 0.1
# Below this many seconds a tick matters, and an exact timer is worth its cost.
_EXACT_BELOW = 1.0


@lru_cache(maxsize=1)
def _switch_to(hub: Any) -> Any:
    """Lets the hub run. Its own `switch` is one C function more, on the stack of each greenlet that waits."""
    return greenlet.switch.__get__(hub)


class Readable:
    """Waits until a file descriptor can be read. One greenlet at a time may wait.

    The watcher stays started from one wait to the next, since each start costs a system call. It is stopped by an event
    that nobody waits for. Must be closed before the descriptor.
    """

    __slots__ = ("_is_started", "_wait", "_waiter", "_watcher")

    def __init__(self, descriptor: int) -> None:
        hub = get_hub()
        self._watcher = hub.loop.io(descriptor, _READABLE)
        self._wait = _switch_to(hub)
        self._is_started = False
        self._waiter: Any = None

    def wait(self) -> None:
        if not self._is_started:
            self._is_started = True
            self._watcher.start(self._wake)
        self._waiter = getcurrent()
        try:
            self._wait()
        finally:
            self._waiter = None

    def close(self) -> None:
        self._watcher.close()

    def _wake(self) -> None:
        """Runs in the hub."""
        waiter = self._waiter
        if waiter is None:
            self._is_started = False
            self._watcher.stop()
        else:
            waiter.switch()


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

    def watch(self, sock: socket.socket) -> Readable | None:
        """What waits for the socket, to be closed with it. None if the socket is not gevent's."""
        return Readable(sock.fileno()) if isinstance(sock, gevent.socket.socket) else None

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
