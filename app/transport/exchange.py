"""One call under way: the request is out, the reply is read as the consumer asks for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from codecs import BOM_UTF8
from collections.abc import Generator, Mapping
from typing import TypeVar

from app.errors import UpstreamCut, UpstreamMalformed, UpstreamTimeout
from app.transport.call import Call, Target, encode_head
from app.transport.connection import Connection
from app.transport.pool import ConnectionPool
from app.transport.reply import ReplyDecoder
from app.transport.silence import Silence

_MAX_BODY = 64 * 1024 * 1024
# Up to here one copy is cheaper than a second system call.
_JOINED_SIZE = 128 * 1024

T = TypeVar("T")
# Obtains a thing by one or more exchanges; yields at every silence of the upstream.
Obtaining = Generator[None, None, T]


class Exchange(ABC):
    """A call under way.

    First `wait_head`, then `status` and `headers` (lower-case names, repeated values joined with ", ", without those
    of a compression that was undone), then the body. To be closed in a `finally`.

    Waits are in seconds; they may last a tenth of a second longer, and never extend a limit of the call. Whatever
    reads may raise UpstreamTimeout, UpstreamCut or UpstreamMalformed; the connection is closed then. `wait_head` may
    also raise UpstreamUnreachable: the kept connection was stale, and no new one came about.
    """

    status: int
    headers: Mapping[str, str]

    @abstractmethod
    def wait_head(self, wait: float | None = None) -> bool:
        """True when status and headers are there, False when `wait` passed in silence (None: wait to the limit)."""

    @abstractmethod
    def read_part(self, wait: float | None = None) -> bytes | None:
        """The body's bytes that one read delivered, plain; None when `wait` passed in silence; empty at the end."""

    @abstractmethod
    def close(self) -> None:
        """Ends the exchange. A reply read to its end gives its connection back, anything else closes it at once."""

    def read_body(self, limit: int = _MAX_BODY) -> bytes:
        """The rest of the body, without a byte order mark. Raises UpstreamMalformed beyond `limit` bytes."""
        parts = []
        size = 0
        while part := self.read_part():
            size += len(part)
            if size > limit:
                self.close()
                raise UpstreamMalformed(f"the upstream's reply is larger than {limit} bytes")
            parts.append(part)
        return b"".join(parts).removeprefix(BOM_UTF8)


class SocketExchange(Exchange):
    """An exchange on a connection of the pool."""

    def __init__(self, pool: ConnectionPool, call: Call, target: Target) -> None:
        self._pool = pool
        self._limits = call.limits
        self._body = call.body  # until the reply begins: a long history is not kept for as long as a stream
        self._target = target
        self._head = encode_head(call, target)
        self._decoder = ReplyDecoder(call.method)
        self.status = 0
        self.headers = {}
        self._unread = b""
        self._silence = Silence(call.limits)
        self._connection: Connection | None = None
        self._is_kept = False
        self._start(pool.take(target.origin))

    def wait_head(self, wait: float | None = None) -> bool:
        while not self._decoder.has_head:
            body = self._receive(wait)
            if body is None:
                return False
            self._unread = body
        return True

    def read_part(self, wait: float | None = None) -> bytes | None:
        if self._unread:
            body = self._unread
            self._unread = b""
            return body
        while not self._decoder.complete:
            part = self._receive(wait)
            if part is None or part:
                return part
        return b""

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _start(self, connection: Connection | None) -> None:
        """Sends the request, on a kept connection or on a new one."""
        self._is_kept = connection is not None
        self._connection = connection or self._pool.open(self._target.origin, self._limits.connect)
        try:
            self._send(self._connection, self._limits.first_byte)
        except TimeoutError as error:
            self.close()
            raise UpstreamTimeout("first_byte", self._limits.first_byte) from error
        except OSError:
            # An upstream may refuse a long request before it has read all of it: what it said is read next.
            if self._is_kept:
                self._restart()
        except BaseException:
            self.close()
            raise

    def _send(self, connection: Connection, limit: float) -> None:
        body = self._body
        if len(body) <= _JOINED_SIZE:
            connection.write(self._head + body, limit)
        else:
            connection.write(self._head, limit)
            connection.write(body, limit)

    def _restart(self) -> None:
        """The upstream had closed the kept connection, so it never saw the request: once more, on a new one."""
        self.close()
        self._start(None)

    def _receive(self, wait: float | None) -> bytes | None:
        """The body's bytes that one read delivered, perhaps none; None when `wait` passed in silence."""
        assert self._connection is not None, "read after close"
        try:
            data = self._silence.bear(self._connection.read, self._decoder.has_head, wait)
        except UpstreamTimeout:
            self.close()
            raise
        except OSError as error:
            return self._meet_end(error)
        if data is None:
            return self._receive(wait) if wait is None else None
        return self._decode(data) if data else self._meet_end(None)

    def _decode(self, data: bytes) -> bytes:
        decoder = self._decoder
        try:
            body = decoder.feed(data)
        except BaseException:
            self.close()
            raise
        if decoder.has_head and not self.status:
            self.status = decoder.status
            self.headers = decoder.headers
            self._body = b""
        if decoder.complete:
            if decoder.reusable and self._connection is not None:
                self._pool.keep(self._connection)
                self._connection = None
            else:
                self.close()
        return body

    def _meet_end(self, failure: OSError | None) -> bytes:
        """The connection has ended, by a failure or in order: a stale one, a cut reply, or a reply's regular end."""
        began = self._decoder.began
        if self._is_kept and not began:
            self._restart()
            return b""
        self.close()
        if failure is not None:
            reason = failure.strerror or type(failure).__name__
            raise UpstreamCut(f"the connection to the upstream broke: {reason}", began=began) from failure
        self._decoder.end()
        return b""
