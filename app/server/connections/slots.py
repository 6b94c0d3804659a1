"""Limits a worker's connections, and closes idle ones for new ones."""

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

# Descriptors that are not for connections: the program's own, logs, the ledger, what is opened for a moment.
RESERVE = 128
# Each request may have one connection to a client and one to an upstream.
PER_REQUEST = 2
# A limit that is lower is told to who starts the gateway.
ENOUGH = 4096
# Seconds after which somebody who was refused may try again, and between two lines about it in the log.
RETRY_AFTER = 5
_QUIET = 60.0
# Connections beyond the limit that are taken to be refused, or because who made room for them has not left yet.
_MARGIN = 64


def raise_descriptor_limit() -> int:
    """Takes all descriptors that the system allows this process; answers how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Some systems promise more than they give.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft


def most_connections(descriptors: int, asked: int) -> int:
    """The connections that fit into so many descriptors, `asked` at most."""
    return max(16, min(asked - _MARGIN, (descriptors - RESERVE) // PER_REQUEST))


class Slots:
    """The connections of one worker.

    When all are taken, a newcomer gets the place of the connection that has been idle for longest: it shows no key,
    and nothing is lost with it. Requests that are being answered keep theirs; a newcomer who finds only such is asked
    to come again.
    """

    def __init__(self, idle: dict[socket.socket, int], asked: int) -> None:
        self.most = most_connections(resource.getrlimit(resource.RLIMIT_NOFILE)[0], asked)
        self._idle = idle
        self._taken = 0
        self._told = -_QUIET

    def take(self) -> bool:
        """Whether there is a place."""
        if self._taken >= self.most and not self.shed():
            return False
        self._taken += 1
        return True

    def give(self) -> None:
        self._taken -= 1

    def shed(self) -> bool:
        """Ends the connection that has been idle for longest; whether there was one."""
        client = next(iter(self._idle), None)
        if client is None:
            return False
        del self._idle[client]
        # Wakes its greenlet with an end of the connection.
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RD)
        return True

    def refuse(self, client: socket.socket) -> None:
        """Asks a newcomer to come again, without waiting for what it wants."""
        self.complain(f"{self.most} connections are being served")
        with contextlib.suppress(OSError), gevent.Timeout(1, False):
            client.settimeout(1)
            client.sendall(render_refusal(503, "too many connections; try again soon", b"", RETRY_AFTER))
            client.shutdown(socket.SHUT_WR)
            client.recv(65536)

    def complain(self, reason: str) -> None:
        """One line, not one for each newcomer."""
        now = time.monotonic()
        if now - self._told >= _QUIET:
            self._told = now
            log.warning("no room for more connections; new clients get 503: %s", reason)


class Listener(StreamServer):  # type: ignore[misc]  # gevent is untyped
    """A listening socket that goes on when there is no descriptor left: one is kept in reserve, to take a newcomer and
    refuse it."""

    def __init__(self, slots: Slots, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._slots = slots
        self._spare = _open_spare()

    def do_read(self) -> Any:
        try:
            return super().do_read()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        self._slots.complain("no file descriptor is left")
        self._slots.shed()
        if self._spare < 0:
            # Nothing can be done but to let the newcomers wait for a moment.
            self.stop_accepting()
            self._timer = self.loop.timer(0.1)
            self._timer.start(self._start_accepting_if_started)
        else:
            os.close(self._spare)
            with contextlib.suppress(OSError):
                _turn_away(self.socket._accept()[0])
        self._spare = _open_spare()
        return None


def _turn_away(descriptor: int) -> None:
    """Without waiting: this runs in the event loop itself."""
    try:
        os.set_blocking(descriptor, False)
        os.write(descriptor, render_refusal(503, "too many connections; try again soon", b"", RETRY_AFTER))
        # What has been read makes no reset, which could overtake the answer.
        os.read(descriptor, 65536)
    finally:
        os.close(descriptor)


def _open_spare() -> int:
    try:
        return os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return -1
