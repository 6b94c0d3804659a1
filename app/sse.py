"""Decodes and encodes server-sent events.

Only the `data` of events is used: dialects that name their events repeat the name as `type` in the JSON. Names, ids and
retry hints are ignored. Pure: no clock, no sockets.
"""

from __future__ import annotations

from codecs import BOM_UTF8

from app.errors import UpstreamMalformed, in_units
from app.json_values import MAX_VALUES, has_too_many_values

COMMENT_KEEPALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
# The most bytes of an event, and so of a line.
MAX_EVENT = 16 * 1024 * 1024


def encode_event(data: bytes, name: str | None = None) -> bytes:
    """Encodes an SSE event. `data` is a single line, as JSON is. `name` is the event's name, if the dialect has one."""
    if name is None:
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def frame_json_lines(body: bytes) -> bytes:
    """A stream whose events are lines of JSON, without `data:`, as server-sent events; empty for any other body."""
    first, _, rest = body.strip().partition(b"\n")
    if not (first.startswith(b"{") and first.rstrip().endswith(b"}") and rest.lstrip().startswith(b"{")):
        return b""
    return b"".join([encode_event(line.strip()) for line in body.split(b"\n") if line.strip()])


class EventBuffer:
    """Returns the complete events of a stream, and keeps the beginning of an incomplete one.

    Line ends are LF. Kept bytes are searched only once, however small the pieces in which they arrive.
    """

    __slots__ = ("_max_event", "kept")

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self.kept = bytearray()
        self._max_event = max_event

    def __bool__(self) -> bool:
        """Whether the beginning of an event is kept."""
        return bool(self.kept)

    def take(self, part: bytes) -> bytes:
        """The bytes of all events that `part` completes. Raises UpstreamMalformed for an event that is too large."""
        kept = self.kept
        if not kept and part.endswith(b"\n\n"):
            return part
        end = part.rfind(b"\n\n") + 2
        if end == 1:
            # The blank line that ends an event may be split between two parts.
            end = int(part.startswith(b"\n") and kept.endswith(b"\n"))
        if not end:
            self._keep(part)
            return b""
        whole = part if end == len(part) else part[:end]
        if kept:
            whole = b"".join((kept, whole))
            kept.clear()
            if has_too_many_values(whole):
                raise UpstreamMalformed(f"an event of the upstream's stream contains more than {MAX_VALUES:,} values")
        if end < len(part):
            self._keep(part[end:])
        return whole

    def drain(self) -> bytes:
        """Returns and forgets the kept bytes."""
        rest = bytes(self.kept)
        self.kept.clear()
        return rest

    def _keep(self, part: bytes) -> None:
        if len(self.kept) + len(part) > self._max_event:
            raise UpstreamMalformed(f"an event of the upstream's stream is larger than {in_units(self._max_event)}")
        self.kept += part


class SseDecoder:
    """Decodes a stream that is cut into pieces anywhere. Returns an event's payload as soon as its blank line arrives.

    Payloads are in the order of the events, without line ends; several data lines are joined with a newline.
    Events without data, or with empty data, are skipped, and so are comments and keep-alives.
    Source: WHATWG HTML, "Server-sent events", "Parsing an event stream", except that `close` also returns a last
    event without its blank line, which some upstreams forget.
    """

    __slots__ = ("after_cr", "unfinished")

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self.unfinished = EventBuffer(max_event)
        self.after_cr = False

    def feed(self, part: bytes) -> list[bytes]:
        """The payloads of the events that `part` completes. Raises UpstreamMalformed for an event that is too large."""
        whole = self.take(part)
        return read_events(whole) if whole else []

    def take(self, part: bytes) -> bytes:
        """The bytes of the events that `part` completes, with LF as line ends. Raises UpstreamMalformed."""
        if self.after_cr or part.find(b"\r") >= 0:  # faster than `in`, which first tries the operand as a number
            part = self._unify_line_ends(part)
        return self.unfinished.take(part)

    def close(self) -> list[bytes]:
        """The payload of a last event without a blank line, if there is one."""
        return _read_each_block(self.unfinished.drain())

    def _unify_line_ends(self, part: bytes) -> bytes:
        """`part` with CR and CRLF replaced by LF. A CRLF that is split between two parts counts once."""
        if self.after_cr and part.startswith(b"\n"):
            part = part[1:]
            self.after_cr = False
        if part:
            self.after_cr = part.endswith(b"\r")
        return part.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def read_events(text: bytes) -> list[bytes]:
    """The payloads of complete events, each ended by an empty line.

    Upstreams send bursts of events of one shape: a data line, or a name and a data line. Then one split does the work
    in C, and one check of the newlines proves that the whole burst has this shape.
    """
    if text.startswith(b"data: "):
        payloads = text[6:-2].split(b"\n\ndata: ")
        if b"".join(payloads).find(b"\n") < 0 and all(payloads):
            return payloads
    elif text.startswith(b"event: "):
        blocks = text[7:-2].split(b"\n\nevent: ")
        if text.count(b"\n") == 3 * len(blocks):
            payloads = [block.partition(b"\ndata: ")[2] for block in blocks]
            if all(payloads):
                return payloads
    return _read_each_block(text)


def _read_each_block(text: bytes) -> list[bytes]:
    """`read_events` for any mixture of shapes."""
    payloads = []
    for block in text.split(b"\n\n"):
        if data := _read_block(block):
            payloads.append(data)
    return payloads


def _read_block(block: bytes) -> bytes:
    """The joined data lines of one event, or empty if it has none. A document in place of an event is data too: servers
    and proxies write errors and pages into a stream as they are."""
    data = []
    if block.lstrip()[:1] in (b"{", b"<"):
        return block.strip()
    for line in block.removeprefix(BOM_UTF8).split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"error" and value.lstrip().startswith(b"{"):  # llama.cpp of 2025
            data.append(b'{"error":' + value + b"}")
    return b"\n".join(data)
