"""A call in progress: sends the request, and reads the reply as it is needed."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from codecs import BOM_UTF8
from collections.abc import Generator, Mapping
from typing import TypeVar

from msgspec import Struct

from app.errors import UpstreamCut, UpstreamMalformed, UpstreamTimeout, in_units
from app.fairness import give_way
from app.transport.call import Call, Target, encode_head
from app.transport.connections.connection import Connection
from app.transport.connections.dialer import describe_failure
from app.transport.connections.pool import ConnectionPool
from app.transport.reply import CUT_SHORT, ReplyDecoder
from app.transport.silence import Silence
from app.transport.whole_reply import WholeReply

MAX_BODY = 64 * 1024 * 1024
# Seconds. If the upstream closed a kept connection before our request arrived, that shows within a round trip. If the
# connection ends later, the upstream may have processed the request.
_AT_ONCE = 1.0
# Up to this size, copying head and body together is cheaper than a second system call.
_JOINED_SIZE = 128 * 1024

T = TypeVar("T")
# Obtains a result by one or more exchanges, and yields at every silence of the upstream.
Obtaining = Generator[None, None, T]


def wait_for(obtaining: Obtaining[T]) -> T:
    """The result of `obtaining`, for callers that do not care about silences."""
    try:
        while True:
            next(obtaining)
    except StopIteration as done:
        obtained: T = done.value
        return obtained


class Exchange(ABC):
    """A call in progress.

    First call `wait_head`, then use `status` and `headers` (lower-case names, repeated values joined with ", ", without
    those of a compression that was undone), then read the body. Must be closed in a `finally`.

    Waits are in seconds. They may take a tenth of a second longer, and never extend a limit of the call. All methods
    that read may raise UpstreamTimeout, UpstreamCut or UpstreamMalformed, after which the connection is closed.
    `wait_head` may also raise UpstreamUnreachable, if a kept connection was stale and a new one failed.
    """

    __slots__ = ()

    status: int
    headers: Mapping[str, str]

    @property
    def has_ended(self) -> bool:
        """Whether all of the reply was read, so that nobody has to wait for more of it. False if that is not known."""
        return False

    @abstractmethod
    def wait_head(self, wait: float | None = None) -> bool:
        """Waits for status and headers. Returns False after `wait` seconds of silence. None waits to the limit."""

    @abstractmethod
    def read_part(self, wait: float | None = None) -> bytes | None:
        """The plain bytes of the body from one read. None after `wait` seconds of silence, empty at the end."""

    @abstractmethod
    def close(self) -> None:
        """Ends the exchange. The connection is kept if the reply was read to its end, else it is closed at once."""

    def read_body(self, limit: int = MAX_BODY, *, cut: bool = False) -> bytes:
        """The rest of the body, without a byte order mark. If it exceeds `limit` bytes, it is truncated if `cut`, else
        UpstreamMalformed is raised."""
        return wait_for(self.gather_body(limit, None, cut=cut))

    def take_body(self, limit: int) -> bytes | None:
        """The result of `read_body` if the whole body arrived with the head, as in most unary replies; else None."""
        return None

    def gather_body(self, limit: int, wait: float | None, *, cut: bool = False) -> Obtaining[bytes]:
        """`read_body` as a generator that yields after every `wait` seconds of silence."""
        first = b""
        more: bytearray | None = None  # most bodies arrive in one read, and need no copy
        size = 0
        while not (self.status or self.wait_head(wait)):
            yield
        if not cut and (announced := self.headers.get("content-length", "")).isdecimal() and int(announced) > limit:
            self.close()
            raise UpstreamMalformed(f"the upstream's reply is larger than {in_units(limit)}")
        while (part := self.read_part(wait)) != b"":
            if part is None:
                yield
                continue
            size += len(part)
            if size > limit:
                self.close()
                if not cut:
                    raise UpstreamMalformed(f"the upstream's reply is larger than {in_units(limit)}")
                part = part[: len(part) + limit - size]
            if more is not None:
                more += part
            elif first:
                more = bytearray(first) + part
            else:
                first = part
            if size > limit:
                break
        return (first if more is None else bytes(more)).removeprefix(BOM_UTF8)


class ReadExchange(Exchange):
    """An exchange whose reply was read completely."""

    __slots__ = ("_body", "headers", "status")

    def __init__(self, reply: WholeReply) -> None:
        self.status, self.headers, self._body = reply.status, reply.headers, reply.body

    def wait_head(self, wait: float | None = None) -> bool:
        return True

    def read_part(self, wait: float | None = None) -> bytes:
        part, self._body = self._body, b""
        return part

    def close(self) -> None:
        self._body = b""


class Sent(Struct):
    """A call that was sent on a kept `connection` at `at` (monotonic clock), and what its first read brought: the
    beginning of a reply, nothing at the connection's end, or a failure."""

    connection: Connection
    at: float
    first_read: bytes | OSError


class SocketExchange(Exchange):
    """An exchange on a connection of the pool. It sends the call, unless that was already `sent`."""

    __slots__ = (
        "_call", "_connection", "_decoder", "_is_kept", "_limits", "_pool", "_sent_at", "_silence", "_target",
        "_unread", "headers", "status",
    )  # fmt: skip

    def __init__(self, pool: ConnectionPool, call: Call, target: Target, sent: Sent | None = None) -> None:
        self.status = 0
        self.headers = {}
        self._pool = pool
        # Kept until the reply begins, so that a stream does not hold a long history in memory.
        self._call: Call | None = call
        self._target = target
        self._limits = limits = call.limits
        # None before the first byte of a reply, and for one that came whole with its first read.
        self._decoder: ReplyDecoder | None = None
        self._unread = b""
        self._connection: Connection | None = None
        # None as long as no wait has ended in silence and the call has no total limit.
        self._silence: Silence | None = None if limits.total is None else Silence(limits)
        if sent is None:
            self._start(call)
        else:
            self._resume(sent)

    @property
    def has_ended(self) -> bool:
        decoder = self._decoder
        return decoder is not None and decoder.complete and decoder.unpacking is None

    def wait_head(self, wait: float | None = None) -> bool:
        while not self.status:
            body = self.read_part(wait)
            if body is None:
                return False
            self._unread = body
        return True

    def read_part(self, wait: float | None = None) -> bytes | None:
        """See Exchange. Before the head has arrived, returns what the next read delivers of the body, perhaps nothing.

        Runs for each event, and so avoids all calls that it can."""
        if self._unread:
            part, self._unread = self._unread, b""
            return part
        began, silence, limits = self.status > 0, self._silence, self._limits
        while True:
            decoder = self._decoder
            if decoder is None:
                if began:
                    return b""
            elif decoder.unpacking is not None:
                give_way()  # unpacking may take long, so other requests get their turn
                part = self._unpack(decoder)
                if part:
                    return part
                continue
            elif decoder.complete:
                return b""
            connection = self._connection
            assert connection is not None, "read after close"
            try:
                longest = (limits.idle if began else limits.first_byte) if silence is None else silence.left(began)
                if wait is not None and wait < longest:
                    longest = wait
                try:
                    data = connection.read(longest)
                except (TimeoutError, BlockingIOError) as error:
                    silence = self._silence = silence or Silence(limits)
                    silence.note(longest, began, error)
                    if wait is None:
                        continue
                    return None
                if decoder is not None and data:
                    part = decoder.feed(data)
                    if decoder.complete or not began:
                        self._note_progress(decoder)
                else:
                    part = self._begin(data) if data else self._handle_end(None)
                if not part or silence is not None:
                    silence = self._note_read(part, began)
                    if silence is not None and wait is not None and silence.has_crept(wait):
                        return None
            except OSError as error:
                part = self._handle_end(error)
            except BaseException:
                self.close()
                raise
            if part or not began:
                return part

    def take_body(self, limit: int) -> bytes | None:
        body, decoder = self._unread, self._decoder
        if not body or len(body) > limit:
            return None
        if decoder is not None and (not decoder.complete or decoder.unpacking is not None):
            return None
        self._unread = b""
        return body.removeprefix(BOM_UTF8)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._decoder is not None:
            self._decoder.drop_parser()

    def _start(self, call: Call, *, anew: bool = False) -> None:
        """Sends the request, on a kept connection if there is one and not `anew`."""
        head, body, limit = encode_head(call, self._target), call.body, call.limits.first_byte
        connection = None if anew else self._pool.take(self._target.origin)
        self._is_kept = connection is not None
        if connection is None:
            connection = self._pool.open(self._target.origin, call.limits.connect)
        self._connection = connection
        try:
            self._sent_at = time.monotonic()
            if len(body) <= _JOINED_SIZE:
                connection.write(head + body, limit)
            else:
                connection.write(head, limit)
                connection.write(body, limit)
        except TimeoutError as error:
            self.close()
            raise UpstreamTimeout("first_byte", limit) from error
        except OSError:
            # An upstream may refuse a long request before it has read all of it. Its reply is read next.
            if self._may_restart():
                self._restart()
        except BaseException:
            self.close()
            raise

    def _resume(self, sent: Sent) -> None:
        """Goes on from the first read of a call that was sent on a kept connection."""
        self._is_kept, self._connection, self._sent_at, data = True, sent.connection, sent.at, sent.first_read
        if isinstance(data, TimeoutError | BlockingIOError):
            self.close()
            raise UpstreamTimeout("first_byte", self._limits.first_byte) from data
        if isinstance(data, OSError) or not data:
            self._unread = self._handle_end(data or None)
        else:
            self._unread = self._decode(data)

    def _may_restart(self) -> bool:
        """Whether the request may be sent again: the upstream probably closed the kept connection before it arrived."""
        at_once = time.monotonic() - self._sent_at < _AT_ONCE
        may_resend = None if self._call is None else self._call.may_resend
        return self._is_kept and at_once and (may_resend is None or may_resend())

    def _restart(self) -> None:
        """Sends the request again, on a new connection."""
        call = self._call
        assert call is not None, "a request is sent before its reply"
        self.close()
        self._start(call, anew=True)

    def _unpack(self, decoder: ReplyDecoder) -> bytes:
        try:
            return decoder.more()
        except BaseException:
            self.close()
            raise

    def _begin(self, data: bytes) -> bytes:
        """Parses the first read, which may be a whole reply. Returns its part of the body."""
        assert self._call is not None, "a reply that came whole is read once"
        reader = self._pool.reader(self._target.origin)
        if self._call.method != "HEAD" and (whole := reader.read(data)) is not None:
            self.status, self.headers = whole.status, whole.headers
            self._call = None
            self._give_back()
            return whole.body
        return self._decode(data)

    def _decode(self, data: bytes) -> bytes:
        """Parses the beginning of a reply. Returns its part of the body."""
        assert self._call is not None, "a reply begins once"
        decoder = self._decoder = ReplyDecoder(self._call.method, self._pool.max_head)
        try:
            body = decoder.feed(data)
            self._note_progress(decoder)
        except BaseException:
            self.close()
            raise
        return body

    def _note_progress(self, decoder: ReplyDecoder) -> None:
        """Sets status and headers once the head has arrived, and releases the connection once the reply is complete."""
        if decoder.has_head and not self.status:
            self.status = decoder.status
            self.headers, decoder.headers = decoder.headers, {}
            self._call = None
        if decoder.complete:
            if decoder.reusable:
                self._give_back()
            else:
                self.close()

    def _note_read(self, part: bytes, began: bool) -> Silence | None:
        """Ends the silence, unless the last read brought neither the end of the head nor anything of the body."""
        decoder = self._decoder
        if not part and decoder is not None and decoder.creeps and began == (self.status > 0):
            self._silence = self._silence or Silence(self._limits)
            self._silence.creep(began)
        elif self._silence is not None:
            self._silence.end()
        return self._silence

    def _give_back(self) -> None:
        """Returns the connection to the pool for another call."""
        if self._connection is not None:
            self._pool.keep(self._connection)
            self._connection = None

    def _handle_end(self, failure: OSError | None) -> bytes:
        """Handles the end of the connection, with or without a failure: a stale one, a cut reply, or a reply's regular
        end."""
        decoder = self._decoder
        began = decoder is not None and decoder.began
        if not began and self._may_restart():
            self._restart()
            return b""
        self.close()
        if failure is not None:
            reason = describe_failure(failure)
            raise UpstreamCut(f"the connection to the upstream broke: {reason}", began=began) from failure
        if decoder is None:
            raise UpstreamCut(CUT_SHORT, began=False)
        decoder.end()
        return b""
