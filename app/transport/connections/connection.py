"""One connection to an upstream, plain or TLS.

TLS only transforms the bytes of a plain socket (`ssl.SSLObject`); it is not a socket of its own. So one read returns
all records that one read of the socket delivered, and waiting works the same way in both.
"""

from __future__ import annotations

import select
import socket
import ssl
from time import monotonic
from typing import Any

import gevent
from gevent import getcurrent
from gevent.monkey import get_original

from app.transport.call import Origin
from app.transport.connections.outbox import Outbox, get_outbox
from app.transport.connections.waiting import Alarm

READ_SIZE = 64 * 1024
_RECORD_SIZE = 16 * 1024

# gevent's patched `poll` would wait in its hub. This one is called without waiting. Peeking would cost 2 to 4 µs, since
# it raises an exception in the normal case.
_poll = get_original("select", "poll")
_ANYTHING = select.POLLIN | select.POLLHUP | select.POLLERR


class Connection:
    """A connected socket. `wait` is in seconds. Methods raise TimeoutError after that, and OSError if the connection
    breaks."""

    def __init__(self, origin: Origin, sock: socket.socket, alarm: Alarm) -> None:
        self.origin = origin
        self.idle_since = 0.0  # when the last call ended, by the monotonic clock
        self._socket = sock
        self._alarm = alarm
        self._watcher = alarm.watch(sock)
        # Under gevent, the socket inside gevent's: it never waits, and calls cost half as much.
        self._bare: Any = sock if self._watcher is None else sock._sock  # type: ignore[attr-defined]
        self._outbox: Outbox | None = None
        if self._watcher is not None:
            alarm.start()
            self._outbox = get_outbox()

    def write(self, data: bytes, wait: float) -> None:
        """Sends all of `data`. Under gevent that may be when this greenlet waits; if it fails then, `read` says so."""
        self._socket.settimeout(wait)
        if self._outbox is None:
            self._socket.sendall(data)
        else:
            self._outbox.send(self._socket, data)

    def read(self, wait: float) -> bytes:
        """The bytes that one read of the socket delivers, empty at the end of the connection."""
        if self._watcher is None:
            self._socket.settimeout(wait)
            return self._socket.recv(READ_SIZE)
        alarm = self._alarm
        while True:
            if wait and wait >= alarm.exact_below:
                waiter = getcurrent()
                alarm.deadlines[waiter] = monotonic() + wait
                try:
                    self._watcher.wait()
                finally:
                    del alarm.deadlines[waiter]
            elif wait:
                with gevent.Timeout(wait, TimeoutError("timed out")):
                    self._watcher.wait()
            try:
                return self._bare.recv(READ_SIZE)  # type: ignore[no-any-return]
            except BlockingIOError:
                if not wait:
                    raise

    def is_quiet(self) -> bool:
        """Whether an idle connection is open and has nothing to read. Unrequested bytes would pass for the reply to the
        next call, which may be another client's."""
        look = _poll()
        look.register(self._socket.fileno(), _ANYTHING)
        return not look.poll(0)

    def close(self) -> None:
        """Closes the socket at once. A second call does nothing."""
        if self._watcher is not None:
            self._watcher.close()
        self._socket.close()


class TlsConnection(Connection):
    """A connection with TLS. `shake_hands` must be called before the first read or write."""

    def __init__(self, origin: Origin, sock: socket.socket, alarm: Alarm, context: ssl.SSLContext) -> None:
        super().__init__(origin, sock, alarm)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._has_ended = False
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=origin.host)

    def shake_hands(self, wait: float) -> None:
        """Does the TLS handshake. Raises ssl.SSLError, an OSError, if the upstream's certificate is not valid."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush(wait)
                received = super().read(wait)
                if not received:
                    raise ConnectionResetError("closed during the TLS handshake") from None
                self._incoming.write(received)
            else:
                self._flush(wait)
                return

    def is_quiet(self) -> bool:
        return not (self._incoming.pending or self._tls.pending()) and super().is_quiet()

    def write(self, data: bytes, wait: float) -> None:
        sent = self._tls.write(data)
        while sent < len(data):
            sent += self._tls.write(memoryview(data)[sent:])
        self._flush(wait)

    def read(self, wait: float) -> bytes:
        while not self._has_ended and (received := super().read(wait)):
            self._incoming.write(received)
            data = self._decrypt()
            if self._outgoing.pending:
                self._flush(wait)
            if data:
                return data
        return b""

    def _decrypt(self) -> bytes:
        """The content of all complete records."""
        pieces = []
        try:
            while not self._has_ended and (self._incoming.pending or self._tls.pending()):
                piece = self._tls.read(_RECORD_SIZE)
                pieces.append(piece)
                self._has_ended = not piece
        except ssl.SSLWantReadError:
            # An incomplete record. With complete ones, the loop's condition avoids this expensive exception.
            pass
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _flush(self, wait: float) -> None:
        if self._outgoing.pending:
            super().write(self._outgoing.read(), wait)
