"""Keeps idle connections for reuse."""

from __future__ import annotations

import time
from contextlib import suppress

from app.transport.call import Origin
from app.transport.connections.connection import Connection
from app.transport.connections.dialer import Dialer
from app.transport.reply import MAX_HEAD
from app.transport.whole_reply import WholeReplyReader

# Maximum upstreams whose last heads are remembered. More than a few have only those that download for clients.
_MAX_READERS = 64


class ConnectionPool:
    """Idle connections. The latest is used first, so that surplus ones grow old and are closed.

    An idle connection is kept for `lifetime` seconds: less than upstreams keep theirs, since otherwise calls would race
    with their closing. `size` is the most idle connections per origin. Safe for threads and greenlets, since it uses
    only atomic operations on lists.
    """

    def __init__(self, dialer: Dialer, size: int, lifetime: float, max_head: int = MAX_HEAD) -> None:
        self.max_head = max_head  # of a reply, in bytes
        self._dialer = dialer
        self._size = size
        self._lifetime = lifetime
        self._kept: dict[Origin, list[Connection]] = {}
        self._readers: dict[Origin, WholeReplyReader] = {}
        self._sweep_at = 0.0

    def take(self, origin: Origin) -> Connection | None:
        """An idle connection that seems alive, or None."""
        kept = self._kept.get(origin)
        oldest = time.monotonic() - self._lifetime
        while kept:
            try:
                connection = kept.pop()
            except IndexError:
                return None
            if connection.idle_since > oldest and connection.is_quiet():
                return connection
            connection.close()
        return None

    def open(self, origin: Origin, limit: float) -> Connection:
        """A new connection. `limit` is in seconds. Raises UpstreamUnreachable, UpstreamTimeout."""
        return self._dialer.dial(origin, limit)

    def reader(self, origin: Origin) -> WholeReplyReader:
        """What reads replies of this upstream that came whole."""
        found = self._readers.get(origin)
        if found is None:
            if len(self._readers) >= _MAX_READERS:
                self._readers.clear()
            found = self._readers[origin] = WholeReplyReader(self.max_head)
        return found

    def keep(self, connection: Connection) -> None:
        """Takes back a connection that no call uses any more."""
        connection.idle_since = time.monotonic()
        kept = self._kept.get(connection.origin)
        if kept is None and self._size:
            kept = self._kept[connection.origin] = []
        if kept is None or len(kept) >= self._size:
            connection.close()
            return
        kept.append(connection)
        if connection.idle_since > self._sweep_at:
            self._sweep_at = connection.idle_since + self._lifetime / 4
            for every in list(self._kept.values()):
                self._drop_oldest(every)

    def close(self) -> None:
        """Closes all idle connections. Those in use are closed when they come back."""
        self._size = 0
        for kept in list(self._kept.values()):
            while kept:
                kept.pop().close()

    def _drop_oldest(self, kept: list[Connection]) -> None:
        expired = time.monotonic() - self._lifetime
        # Another thread may have taken the last one meanwhile.
        with suppress(IndexError):
            while kept[0].idle_since < expired:
                kept.pop(0).close()
