"""Limits a worker's connections, and closes idle ones to make room for new ones."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import socket
import time
from typing import Any

import gevent
from gevent.server import StreamServer

from app.server.connections.refusals import render_refusal

log = logging.getLogger("dragoman")

# Descriptors reserved for other uses: the program's own, logs, the ledger, short-lived files.
RESERVE = 128
# Each request may have one connection to a client and one to an upstream.
PER_REQUEST = 2
# A lower limit is reported at the start.
ENOUGH = 4096
# Seconds after which a refused client may retry; seconds between two log lines about it.
RETRY_AFTER = 5
_QUIET = 60.0
# Connections accepted beyond the limit: to refuse them, or while the one that makes room is still closing.
_MARGIN = 64


def raise_descriptor_limit() -> int:
    """Raises the limit of descriptors to the most that the system allows. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Some systems grant less than their hard limit.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft


def max_connections(descriptors: int, asked: int) -> int:
    """The number of connections that fit into the descriptors, at most `asked`."""
    return max(16, min(asked - _MARGIN, (descriptors - RESERVE) // PER_REQUEST))


class Slots:
    """The slots for the connections of one worker.

    If all are taken, a new connection gets the slot of the one that has been idle for longest: that may belong to
    anybody without a key, and nothing is lost with it. Connections that run requests keep their slots. If there are no
    others, a new one is asked to retry later.
    """

    def __init__(self, idle: dict[socket.socket, int], asked: int) -> None:
        self.maximum = max_connections(resource.getrlimit(resource.RLIMIT_NOFILE)[0], asked)
        self._idle = idle
        self._taken = 0
        self._last_complaint = -_QUIET

    def take(self) -> bool:
        """Takes a slot. Returns False if there is none."""
        if self._taken >= self.maximum and not self.shed():
            return False
        self._taken += 1
        return True

    def give(self) -> None:
        self._taken -= 1

    def shed(self) -> bool:
        """Ends the connection that has been idle for longest. Returns False if there is none."""
        client = next(iter(self._idle), None)
        if client is None:
            return False
        del self._idle[client]
        # Wakes its greenlet with an end of file.
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RD)
        return True

    def refuse(self, client: socket.socket) -> None:
        """Answers a new connection with 503, without waiting for its request."""
        self.complain(f"{self.maximum} connections are being served")
        with contextlib.suppress(OSError), gevent.Timeout(1, False):
            client.settimeout(1)
            client.sendall(render_refusal(503, "too many connections; try again soon", b"", RETRY_AFTER))
            client.shutdown(socket.SHUT_WR)
            client.recv(65536)

    def complain(self, reason: str) -> None:
        """Logs the reason, but not for each refused connection."""
        now = time.monotonic()
        if now - self._last_complaint >= _QUIET:
            self._last_complaint = now
            log.warning("no more connections can be accepted; new clients get 503: %s", reason)


class Listener(StreamServer):  # type: ignore[misc]  # gevent is untyped
    """A listening socket that survives running out of descriptors. It keeps one in reserve, to accept and refuse a new
    connection."""

    def __init__(self, slots: Slots, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._slots = slots
        self._spare = _open_spare()

    def do_handle(self, *connection: Any) -> None:
        """The handler also closes. gevent would put a function around it, whose C stack each open stream would keep."""
        self._spawn(self._handle, *connection)

    def do_read(self) -> Any:
        try:
            return super().do_read()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        self._slots.complain("no file descriptor is left")
        self._slots.shed()
        if self._spare < 0:
            # Nothing is left but to let new connections wait for a moment.
            self.stop_accepting()
            self._timer = self.loop.timer(0.1)
            self._timer.start(self._start_accepting_if_started)
        else:
            os.close(self._spare)
            with contextlib.suppress(OSError):
                _refuse_connection(self.socket._accept()[0])
        self._spare = _open_spare()
        return None


def _refuse_connection(descriptor: int) -> None:
    """Refuses a new connection without blocking, since this runs in the event loop itself."""
    try:
        os.set_blocking(descriptor, False)
        os.write(descriptor, render_refusal(503, "too many connections; try again soon", b"", RETRY_AFTER))
        # Unread data would cause a reset, which could overtake the response.
        os.read(descriptor, 65536)
    finally:
        os.close(descriptor)


def _open_spare() -> int:
    try:
        return os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return -1
