"""Copies the messages of one request as they pass, and prepares them for storing."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec

from app.gateway.inspection.bodies import MAX_KEPT, clean_body, clean_text
from app.gateway.inspection.raw_log import REDACTED
from app.known_secrets import known_secrets
from app.settings.masking import sounds_secret

if TYPE_CHECKING:
    from app.gateway.inspection.inspector import Inspector
    from app.gateway.record import Record

# Maximum bytes copied of one message, events stored of it, and characters of each event.
MAX_COPIED = 2 << 20
MAX_EVENTS = 1000
MAX_EVENT = 8000
_EVENT_END = re.compile(rb"\r?\n\r?\n")


class Event(msgspec.Struct, frozen=True):
    """One event of a stream. `at` is milliseconds since the request was received."""

    at: int
    name: str
    data: str


class Pane(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of an exchange. A stream has `events`, any other message `body`. `size` is the number of all its
    bytes; if `cut`, some are missing here."""

    name: str
    first: str
    headers: dict[str, str] = {}
    body: str = ""
    events: list[Event] = []
    size: int = 0
    cut: bool = False


class Recording(msgspec.Struct, frozen=True):
    """Everything stored of a request. `path` is the path that the client requested."""

    id: str
    received: float
    dialect: str
    path: str
    panes: list[Pane]


class _Side:
    """A message that is being copied: bytes with the time at which they arrived."""

    __slots__ = ("first", "headers", "parts", "size")

    def __init__(self, first: str, headers: Mapping[str, str]) -> None:
        self.first = first
        self.headers = dict(headers)
        self.parts: list[tuple[int, bytes]] = []
        self.size = 0


class WireCopy:
    """Keeps the messages of one request. Until `finish` it only holds references to bytes that exist anyway."""

    def __init__(self, owner: Inspector, record: Record) -> None:
        self._owner = owner
        self._record = record
        self._sides: dict[str, _Side] = {}
        self.size = 0

    def begin(self, name: str, first: str, headers: Mapping[str, str]) -> None:
        if name not in self._sides:
            self._sides[name] = _Side(first, headers)

    def add(self, name: str, part: bytes) -> None:
        side = self._sides.get(name)
        if side is None or not part:
            return
        side.size += len(part)
        if side.parts and side.size > MAX_COPIED:
            return
        side.parts.append((int((time.monotonic() - self._record.started) * 1000), part))
        self.size += len(part)
        self._owner.held += len(part)

    def close(self) -> None:
        self._owner.take(self, self._record)

    def finish(self) -> Recording:
        """The recording, with secrets masked, files replaced and bodies cut. Slow, so do not call it in a request."""
        record = self._record
        panes = [_make_pane(name, side) for name, side in self._sides.items()]
        order = {"client request": 0, "client reply": 3}
        panes.sort(key=lambda pane: order.get(pane.name, 1))
        return Recording(record.id, record.received, record.client, record.path, panes)


def _make_pane(name: str, side: _Side) -> Pane:
    headers = {header[:200]: _mask(header, text) for header, text in list(side.headers.items())[:100]}
    copied = sum(len(part) for _, part in side.parts)
    kind = next((text for header, text in side.headers.items() if header.lower() == "content-type"), "")
    first = known_secrets.mask(side.first)[:2000]
    if "event-stream" in kind:
        events, cut = _split(side.parts)
        return Pane(name, first, headers, events=events, size=side.size, cut=cut or copied < side.size)
    body, cut = clean_body(b"".join(part for _, part in side.parts))
    return Pane(name, first, headers, body, size=side.size, cut=cut or copied < side.size)


def _split(parts: Sequence[tuple[int, bytes]]) -> tuple[list[Event], bool]:
    """The events of a stream, each with the arrival time of its end, and whether some are left out."""
    events: list[Event] = []
    whole, left = b"".join(part for _, part in parts), MAX_KEPT
    arrivals = zip((at for at, _ in parts), accumulate(len(part) for _, part in parts), strict=True)
    start = arrived = at = 0
    for end in (*(found.end() for found in _EVENT_END.finditer(whole)), len(whole)):
        text = whole[start:end].strip(b"\r\n")
        if end == len(whole) and not text.strip():
            break
        if len(events) >= MAX_EVENTS or left <= 0:
            return events, True
        while arrived < end:
            at, arrived = next(arrivals)
        event = _read_event(at, text)
        left -= len(event.data)
        events.append(event)
        start = end
    return events, False


def _read_event(at: int, text: bytes) -> Event:
    name, data = "", []
    for line in text.decode("utf-8", "replace").splitlines():
        field, _, value = line.partition(":")
        if field == "event":
            name = value.strip()[:100]
        elif field == "data":
            data.append(value.removeprefix(" "))
        else:
            data.append(line)
    cleaned = clean_text("\n".join(data))
    return Event(at, name, cleaned[:MAX_EVENT])


def _mask(header: str, text: str) -> str:
    return REDACTED if sounds_secret(header) else known_secrets.mask(str(text))[:2000]
