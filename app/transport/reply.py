"""Parses an HTTP reply into status, headers and body.

Uses no sockets and no clock, so that tests can cut recorded replies anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from app.errors import UpstreamCut, UpstreamMalformed, in_units
from app.transport.content import PART, ContentDecoder, content_decoder, list_encodings

# The most bytes of a reply's head, and later of any run without bytes of the body: trailers, the size of a chunk.
MAX_HEAD = 128 * 1024
_MAX_FIELDS = 1000
CUT_SHORT = "the upstream closed the connection before its reply was complete"
# The most bytes that are quoted if an upstream sends something other than HTTP.
_QUOTED = 80
# A compressed reply may unpack to the larger of this many bytes and this many times its size. The events of a stream
# are similar, and compress well.
_MAX_UNPACKED = 4 * 1024 * 1024
_MAX_TIMES = 20
_MAX_TIMES_STREAMED = 100

_HEAD_END = re.compile(rb"\n\r?\n")
_BLANKS = re.compile(rb"^([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]+:")
_CHUNKED = re.compile(rb"transfer-encoding:[ \t]*chunked[ \t]*", re.IGNORECASE)
# A length, or the same length several times.
_LENGTH = re.compile(rb"content-length:[ \t]*([0-9]{1,19})[ \t]*(?:,[ \t]*\1[ \t]*)*", re.IGNORECASE)


class ReplyDecoder:
    """Decodes a reply that arrives in pieces cut anywhere. Returns the body's bytes without chunks and compression.

    `status` and `headers` (lower-case names, repeated values joined with ", ") are valid once `has_head` is true.
    `complete` means that the end of the reply was reached, `reusable` that the connection may then serve another call.
    Informational replies (1xx) are skipped.

    Compressed bytes are unpacked on demand: `feed` returns the first part, `more` the next ones.
    """

    __slots__ = (
        "_bare",
        "_content",
        "_early",
        "_ends_with_connection",
        "_field_count",
        "_is_head_request",
        "_is_odd",
        "_max_head",
        "_most_times",
        "_packed",
        "_parser",
        "_pieces",
        "_unpacked",
        "complete",
        "has_head",
        "headers",
        "on_body",
        "reusable",
        "status",
        "unpacking",
    )

    def __init__(self, method: str, max_head: int = MAX_HEAD) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.has_head = False
        self.complete = False
        self.reusable = False
        self._is_head_request = method == "HEAD"
        self._ends_with_connection = False
        self._max_head = max_head
        self._bare = 0  # bytes since the last byte of the body
        self._early: bytearray | None = None  # a head that does not arrive in one piece
        self._is_odd = False  # whether the parser has refused the beginning of the head
        self._field_count = 0
        self._content: ContentDecoder | None = None
        self._most_times = _MAX_TIMES
        self._packed = 0  # bytes of the body so far, before and after unpacking
        self._unpacked = 0
        self.unpacking: Iterator[bytes] | None = None  # the rest of what was fed, to be unpacked
        self._pieces: list[bytes] = []
        # The parser calls this for each HTTP chunk. A list's own method is the cheapest callback.
        self.on_body = self._pieces.append
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    @property
    def began(self) -> bool:
        """Whether any byte has arrived."""
        return self.has_head or self._bare > 0

    @property
    def creeps(self) -> bool:
        """Whether the last bytes belonged to no body, and more must come."""
        return self._bare > 0 and not self.complete

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body in `data`. Raises UpstreamMalformed, or UpstreamCut for a truncated compressed body."""
        if self._parser is None:
            self.reusable = False
            return b""
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as error:
            raise UpstreamMalformed("the upstream switched to another protocol") from error
        except HttpParserError as error:
            # Bytes after the end of the reply make the connection unusable, but not the reply.
            self.reusable = False
            if not self.has_head and (body := self._feed_odd_head(data)) is not None:
                return body
            if not self.complete:
                wrong = self._describe(error, data)
                raise UpstreamMalformed(f"the upstream's reply is not valid HTTP: {wrong}") from error
        pieces = self._pieces
        if pieces:
            if not self.has_head:  # whoever waits for the head would take these bytes again and again
                raise UpstreamMalformed("the upstream's reply has a body before its head")
            self._bare = 0
            if self._content is not None or self.complete:
                return self._take_body()
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            return body
        self._note_bare(len(data))
        if self.has_head:
            return self._take_body()
        self._keep_early(data)
        return b""

    def more(self) -> bytes:
        """The next part of what was already fed, which may be empty."""
        return self._unpack(self.unpacking) if self.unpacking is not None else b""

    def end(self) -> None:
        """Notes that the connection has ended. Raises UpstreamCut unless this reply ends with its connection."""
        if not (self.has_head and self._ends_with_connection):
            raise UpstreamCut(CUT_SHORT, began=self.began)
        self.complete = True
        self._release()

    def drop_parser(self) -> None:
        """Ends the parsing. The parser refers back to this object: otherwise each reply would wait for the garbage
        collector."""
        self._parser = None

    def on_message_begin(self) -> None:
        if self.complete:
            raise HttpParserError("bytes follow the reply")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.has_head:
            # A trailer, which must not be merged into the headers (RFC 9110 section 6.5.1).
            return
        self._field_count += 1
        if self._field_count > _MAX_FIELDS:
            raise HttpParserError(f"it has more than {_MAX_FIELDS} header fields")
        key = name.lower().decode("latin-1")
        text = value.strip().decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < 200:
            self.headers = {}
            return
        self.status = status
        self.has_head = True
        self._early = None
        self.reusable = self._parser.should_keep_alive() and not self._is_head_request
        headers = self.headers
        if self._is_head_request or status in (204, 304) or headers.get("content-length") == "0":
            # The parser ends all of these by itself, except the reply to HEAD, whose length is that of another reply.
            self.complete = self._is_head_request
            return
        self._ends_with_connection = not (
            "content-length" in headers or "chunked" in headers.get("transfer-encoding", "").lower()
        )
        if "content-encoding" in headers and (content := content_decoder(list_encodings(headers["content-encoding"]))):
            self._content = content
            if "event-stream" in headers.get("content-type", ""):
                self._most_times = _MAX_TIMES_STREAMED
            del headers["content-encoding"]
            headers.pop("content-length", None)

    def on_message_complete(self) -> None:
        if self.has_head:
            self.complete = True

    def _note_bare(self, count: int) -> None:
        self._bare += count
        if self._bare > self._max_head and not self.complete:
            what = "a trailer or chunk size" if self.has_head else "the head"
            raise UpstreamMalformed(f"{what} of the upstream's reply is larger than {in_units(self._max_head)}")

    def _keep_early(self, data: bytes) -> bytearray:
        if self._early is None:
            self._early = bytearray()
        self._early += data
        return self._early

    def _feed_odd_head(self, data: bytes) -> bytes | None:
        """The result of `feed` if the parser refused a head that can be read in only one way, else None.

        The connection is not used again, since something in between has changed what the server wrote.
        """
        head = self._keep_early(data)
        end = _HEAD_END.search(head, max(0, len(head) - len(data) - 2) if self._is_odd else 0)
        if end is None and head.startswith(b"HTTP/1."):
            self._is_odd = True
            self._note_bare(len(data))
            return b""
        mended = _mend_head(bytes(head[: end.end()])) if end else None
        if end is None or mended is None:
            return None
        self._early, self._bare, self._field_count, self.headers = None, 0, 0, {}
        self._parser = HttpResponseParser(self)
        body = self.feed(mended + head[end.end() :])
        self.reusable = False
        return body

    def _describe(self, error: HttpParserError, data: bytes) -> str:
        """What is wrong. Quotes the beginning of what arrived instead of a head, but no bytes of a body, which may be
        part of a reply for somebody."""
        cause = error.__context__ if isinstance(error.__context__, HttpParserError) else error
        message = data[:_QUOTED].decode("ascii", "replace")
        return f"{cause}" if self.has_head else f"{cause}; it began with {message!r}"

    def _take_body(self) -> bytes:
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._content is not None:
            self._packed += len(body)
            self.unpacking = self._content.decode(body)
            return self._unpack(self.unpacking)
        if self.complete:
            self._release()
        return body

    def _unpack(self, unpacking: Iterator[bytes]) -> bytes:
        """The next part of the plain bytes: less than PART and one decoded piece, or the rest of what was fed."""
        taken: list[bytes] = []
        size = 0
        try:
            for part in unpacking:
                taken.append(part)
                size += len(part)
                self._check_size(len(part))
                if size >= PART:
                    return b"".join(taken)
        except ValueError as error:
            raise UpstreamMalformed(f"the upstream's reply {error}") from error
        self.unpacking = None
        if self.complete:
            self._release()
        return b"".join(taken)

    def _check_size(self, more: int) -> None:
        self._unpacked += more
        if self._unpacked > _MAX_UNPACKED and self._unpacked > self._packed * self._most_times:
            raise UpstreamMalformed(
                f"the upstream's reply unpacks to more than {in_units(_MAX_UNPACKED)}, and to more than "
                f"{self._most_times} times its size"
            )

    def _release(self) -> None:
        """Frees what parsed a complete reply. Raises UpstreamCut if a compressed body is incomplete."""
        self.drop_parser()
        if self._content is not None:
            try:
                self._content.finish()
            except EOFError as error:
                raise UpstreamCut(f"the upstream's reply {error}", began=True) from error


def _mend_head(head: bytes) -> bytes | None:
    """A whole head that can be read in only one way, as the parser wants it; None if there is nothing to mend.

    It gets CRLF instead of LF (RFC 9112 section 2.2), names without blanks behind them (section 5.1), no length beside
    chunks (section 6.3), and one length instead of several equal ones (RFC 9110 section 8.6).
    """
    lines = [_BLANKS.sub(rb"\1:", line.removesuffix(b"\r")) for line in head.split(b"\n")]
    lengths = [(number, found[1]) for number, line in enumerate(lines) if (found := _LENGTH.fullmatch(line))]
    if any(map(_CHUNKED.fullmatch, lines)):
        for number, _ in reversed(lengths):
            del lines[number]
    elif len({length for _, length in lengths}) == 1:
        lines[lengths[0][0]] = lines[lengths[0][0]].partition(b",")[0]
        for number, _ in reversed(lengths[1:]):
            del lines[number]
    mended = b"\r\n".join(lines)
    return mended if mended != head else None
