"""Parses an HTTP reply into status, headers and body.

No sockets and no clock: the tests cut recorded replies anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from app.errors import UpstreamCut, UpstreamMalformed, in_units
from app.transport.content import PART, ContentDecoder, content_decoder, list_encodings

# Bytes of a reply's head, and of what may come without any of the body after it: trailers, the size of a chunk.
MAX_HEAD = 128 * 1024
_MOST_FIELDS = 1000
CUT_SHORT = "the upstream closed the connection before its reply was complete"
# Of what an upstream sent instead of HTTP, so much is quoted.
_QUOTED = 80
# What a packed reply may unpack to, whatever its size; and how many times its size, where that is more. The events of a
# stream are all alike, and pack well.
_MOST_UNPACKED = 4 * 1024 * 1024
_MOST_TIMES = 20
_MOST_TIMES_STREAMED = 100

_HEAD_END = re.compile(rb"\n\r?\n")
# A length, or the same one several times.
_LENGTH = re.compile(rb"content-length:[ \t]*([0-9]{1,19})[ \t]*(?:,[ \t]*\1[ \t]*)*", re.IGNORECASE)


class ReplyDecoder:
    """Takes a reply in pieces cut anywhere and gives the bytes of its body, freed of chunks and compression.

    `status` and `headers` (lower-case names, repeated values joined with ", ") are valid once `has_head` is true.
    `complete` means that the framing's end was reached; `reusable` that the connection may then serve another call.
    Informational replies (1xx) are passed over.

    What is compressed is unpacked as it is asked for: `feed` gives the first part of it, `more` the next ones.
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
        self._bare = 0  # bytes since the last of the body
        self._early: bytearray | None = None  # a head that did not come in one piece
        self._is_odd = False  # whether the parser has refused its beginning
        self._field_count = 0
        self._content: ContentDecoder | None = None
        self._most_times = _MOST_TIMES
        self._packed = 0  # bytes of the body so far, as they came and as they are
        self._unpacked = 0
        self.unpacking: Iterator[bytes] | None = None  # what there is more of in what was fed already
        self._pieces: list[bytes] = []
        # The parser calls this once for each HTTP chunk: a list's own method is the cheapest there is.
        self.on_body = self._pieces.append
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    @property
    def began(self) -> bool:
        """Whether any byte has come."""
        return self.has_head or self._bare > 0

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body in `data`. Raises UpstreamMalformed, or UpstreamCut for a compressed body cut short."""
        if self._parser is None:
            self.reusable = False
            return b""
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as error:
            raise UpstreamMalformed("the upstream switched to another protocol") from error
        except HttpParserError as error:
            # Bytes after the end of the reply spoil the connection, not the reply.
            self.reusable = False
            if not self.has_head and (body := self._feed_odd_head(data)) is not None:
                return body
            if not self.complete:
                wrong = self._describe(error, data)
                raise UpstreamMalformed(f"the upstream's reply is not valid HTTP: {wrong}") from error
        pieces = self._pieces
        if pieces:
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
        """The next part of what was fed already, perhaps an empty one."""
        return self._unpack(self.unpacking) if self.unpacking is not None else b""

    def end(self) -> None:
        """The connection has ended. Raises UpstreamCut unless that is how this reply ends."""
        if not (self.has_head and self._ends_with_connection):
            raise UpstreamCut(CUT_SHORT, began=self.began)
        self.complete = True
        self._release()

    def on_message_begin(self) -> None:
        if self.complete:
            raise HttpParserError("bytes follow the reply")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.has_head:
            # A trailer; what it says must not be mixed with what the head said (RFC 9110 section 6.5.1).
            return
        self._field_count += 1
        if self._field_count > _MOST_FIELDS:
            raise HttpParserError(f"it has more than {_MOST_FIELDS} header fields")
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
            # The parser ends all of these by itself, except the reply to HEAD, whose length speaks of another reply.
            self.complete = self._is_head_request
            return
        self._ends_with_connection = not (
            "content-length" in headers or "chunked" in headers.get("transfer-encoding", "").lower()
        )
        if "content-encoding" in headers and (content := content_decoder(list_encodings(headers["content-encoding"]))):
            self._content = content
            if "event-stream" in headers.get("content-type", ""):
                self._most_times = _MOST_TIMES_STREAMED
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
        """What `feed` gives, where a head that the parser refused can be read in one way only. None for any other.

        The connection serves no other call: something between changed what the server wrote.
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
        """What is wrong, with what came in the place of a head; what came later may be somebody's answer."""
        cause = error.__context__ if isinstance(error.__context__, HttpParserError) else error
        said = data[:_QUOTED].decode("ascii", "replace")
        return f"{cause}" if self.has_head else f"{cause}; it began with {said!r}"

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
        """A part of the plain bytes: never more than one step of its encoding makes of what was fed."""
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
        if self._unpacked > _MOST_UNPACKED and self._unpacked > self._packed * self._most_times:
            raise UpstreamMalformed(
                f"the upstream's reply unpacks to more than {in_units(_MOST_UNPACKED)}, and to more than "
                f"{self._most_times} times its size"
            )

    def _release(self) -> None:
        """The parser holds this object's methods: without the cut each reply would wait for the garbage collector."""
        self._parser = None
        if self._content is not None:
            try:
                self._content.finish()
            except EOFError as error:
                raise UpstreamCut(f"the upstream's reply {error}", began=True) from error


def _mend_head(head: bytes) -> bytes | None:
    """A whole head with CRLF for LF (RFC 9112 section 2.2) and one length for several equal ones (RFC 9110
    section 8.6). None where nothing is to be mended."""
    lines = [line.removesuffix(b"\r") for line in head.split(b"\n")]
    lengths = [(number, found[1]) for number, line in enumerate(lines) if (found := _LENGTH.fullmatch(line))]
    if len({length for _, length in lengths}) == 1:
        lines[lengths[0][0]] = lines[lengths[0][0]].partition(b",")[0]
        for number, _ in reversed(lengths[1:]):
            del lines[number]
    mended = b"\r\n".join(lines)
    return mended if mended != head else None
