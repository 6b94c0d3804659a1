"""Decodes and encodes server-sent events.

Only the `data` of an event is of use here: the dialects that name their events repeat the name as `type` inside the
JSON, so names, ids and retry hints are read over. Pure: no clock, no sockets.
"""

from __future__ import annotations

from codecs import BOM_UTF8

from app.errors import UpstreamMalformed, in_units
from app.json_values import MOST_VALUES, has_too_many_values

COMMENT_KEEPALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
# Bytes of one event, and so of one line: what has not ended by then is not waited for.
MAX_EVENT = 16 * 1024 * 1024


def encode_event(data: bytes, name: str | None = None) -> bytes:
    """One sse event. `data` is a single line (JSON is), `name` the event's name where the dialect has one."""
    if name is None:
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


class EventBuffer:
    """Gives on the events of a stream that are whole, and keeps the beginning of one that is not.

    Line ends are LF. What is kept is searched once, however small the pieces are that it comes in.
    """

    __slots__ = ("_max_event", "kept")

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self.kept = bytearray()
        self._max_event = max_event

    def __bool__(self) -> bool:
        """Whether the beginning of an event is kept."""
        return bool(self.kept)

    def take(self, part: bytes) -> bytes:
        """The events that are whole with `part`, as they came. Raises UpstreamMalformed for one that does not end."""
        kept = self.kept
        if not kept and part.endswith(b"\n\n"):
            return part
        end = part.rfind(b"\n\n") + 2
        if end == 1:
            # The blank line that ends an event may be cut in two.
            end = int(part.startswith(b"\n") and kept.endswith(b"\n"))
        if not end:
            self._keep(part)
            return b""
        whole = part if end == len(part) else part[:end]
        if kept:
            whole = b"".join((kept, whole))
            kept.clear()
            if has_too_many_values(whole):
                raise UpstreamMalformed(f"an event of the upstream's stream contains more than {MOST_VALUES:,} values")
        if end < len(part):
            self._keep(part[end:])
        return whole

    def drain(self) -> bytes:
        """What is kept, which is kept no longer."""
        rest = bytes(self.kept)
        self.kept.clear()
        return rest

    def _keep(self, part: bytes) -> None:
        if len(self.kept) + len(part) > self._max_event:
            raise UpstreamMalformed(f"an event of the upstream's stream is larger than {in_units(self._max_event)}")
        self.kept += part


class SseDecoder:
    """Takes a stream in pieces cut anywhere; gives the payload of each event as soon as its blank line is there.

    Payloads come in the order of the events, without the line end; several data lines are joined with a newline.
    Events without data, or with empty data, are no payloads: comments and keep-alives vanish here.
    Source: WHATWG HTML, "Server-sent events", "Parsing an event stream", except that `close` also gives a last
    event that lacks its blank line, because upstreams forget it.
    """

    __slots__ = ("after_cr", "unfinished")

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self.unfinished = EventBuffer(max_event)
        self.after_cr = False

    def feed(self, part: bytes) -> list[bytes]:
        """Payloads of the events that `part` completes. Raises UpstreamMalformed for an event that does not end."""
        whole = self.take(part)
        return read_events(whole) if whole else []

    def take(self, part: bytes) -> bytes:
        """The events that `part` completes, with LF as the end of a line."""
        if self.after_cr or b"\r" in part:
            part = self._unify_line_ends(part)
        return self.unfinished.take(part)

    def close(self) -> list[bytes]:
        """The payload of a last event that was not ended by a blank line, if there is one."""
        return _read_each_block(self.unfinished.drain())

    def _unify_line_ends(self, part: bytes) -> bytes:
        """`part` with CR and CRLF as LF; a CRLF cut by the end of a part counts once."""
        if self.after_cr and part.startswith(b"\n"):
            part = part[1:]
            self.after_cr = False
        if part:
            self.after_cr = part.endswith(b"\r")
        return part.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def read_events(text: bytes) -> list[bytes]:
    """Payloads of whole events, each ended by an empty line.

    Upstreams send bursts in which every event has the same shape, one data line or one name and one data line.
    One split does the work in C then, and one search that finds no further newline proves the shape of the whole burst.
    """
    if text.startswith(b"data: "):
        payloads = text[6:-2].split(b"\n\ndata: ")
        if b"\n" not in b"".join(payloads) and b"" not in payloads:
            return payloads
    elif text.startswith(b"event: "):
        blocks = text[7:-2].split(b"\n\nevent: ")
        if text.count(b"\n") == 3 * len(blocks):
            payloads = [block.partition(b"\ndata: ")[2] for block in blocks]
            if b"" not in payloads:
                return payloads
    return _read_each_block(text)


def _read_each_block(text: bytes) -> list[bytes]:
    """What `read_events` gives, for any mixture of shapes."""
    payloads = []
    for block in text.split(b"\n\n"):
        if data := _read_block(block):
            payloads.append(data)
    return payloads


def _read_block(block: bytes) -> bytes:
    """The joined data lines of one event; empty if it has none."""
    data = []
    for line in block.removeprefix(BOM_UTF8).split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
    return b"\n".join(data)
