"""Takes out of passing chunks what each repeats of the text before it."""

from __future__ import annotations

import re
from operator import attrgetter

import msgspec
from msgspec import Raw

from app.conversation.literals import EMPTY, Snapshots
from app.json_values import UNREADABLE

_CONTENT = "content"
_SAYS_CONTENT = re.compile(rb'"content":\s?"[^"]')
_SAYS_ANYTHING = re.compile(rb'"(?:reasoning_)?(?:content|reasoning)":\s?"[^"]')


class _Delta(msgspec.Struct):
    reasoning_content: Raw = Raw()
    reasoning: Raw = Raw()
    content: Raw = Raw()


class _Choice(msgspec.Struct):
    delta: _Delta | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []


_texts_of = attrgetter(*_Delta.__struct_fields__)
_decode = msgspec.json.Decoder(_Chunk).decode


class SnapshotFilter:
    """Compares the first texts of a stream, of its answer and of its reasoning, each with the one before.

    An event whose text might repeat the one before it is held until the next shows it.
    """

    def __init__(self) -> None:
        self._content, self._reasoning = Snapshots(), Snapshots()
        self._last: Snapshots | None = None  # what the last event was compared by
        self._held = b""
        self._begun = False  # the answer has

    @property
    def is_settled(self) -> bool:
        """Whether nothing has to be compared any more."""
        return self._content.settled

    @property
    def is_calm(self) -> bool:
        """Whether more events like the last need no comparison."""
        return self._reasoning.settled and not self._begun

    @property
    def expects_run(self) -> bool:
        """Whether the first of more events like the last shows if these need a comparison."""
        return self.is_calm or (self._last is not None and self._last.is_open)

    def begins_anew(self, text: bytes) -> bool:
        """Whether a run with this first text needs no comparison."""
        return self.is_calm or (self._last is not None and self._last.begins_anew(text))

    def feed(self, events: bytes) -> bytes:
        """Whole events for the client."""
        self._last = None
        says = _SAYS_CONTENT if self.is_calm else _SAYS_ANYTHING
        if says.search(events) is None:
            return self.flush() + events
        return b"".join([self._take(event + b"\n\n") for event in events.split(b"\n\n")[:-1]])

    def flush(self) -> bytes:
        """What was held, once nothing else can follow it."""
        held, self._held = self._held, b""
        if held:
            self._content.flush()
            self._reasoning.flush()
        return held

    def _take(self, event: bytes) -> bytes:
        self._last = None
        found = _find_text(event)
        if found is None:
            return self.flush() + event
        name, text = found
        if name != _CONTENT and self._begun:
            return self.flush() + event
        released = self.flush() if name == _CONTENT and not self._begun else b""
        self._begun = self._begun or name == _CONTENT
        snapshots = self._last = self._content if name == _CONTENT else self._reasoning
        added = snapshots.take(text)
        held, self._held = self._held, b""
        if snapshots.is_waiting:
            self._held = event
            return released
        if not snapshots.proven:
            return released + held + event
        return released + _replace(event, name, text, added)  # which contains the text of the held one


def _find_text(event: bytes) -> tuple[str, bytes] | None:
    """The name and the literal of the text that an event adds to the first choice."""
    if not event.startswith(b"data:"):
        return None
    try:
        choices = _decode(event[len(b"data:") : -2]).choices
    except UNREADABLE:
        return None
    delta = choices[0].delta if choices else None
    if delta is None:
        return None
    for name, raw in zip(_Delta.__struct_fields__, _texts_of(delta), strict=True):
        if len(raw) > len(EMPTY) and (text := bytes(raw)).startswith(b'"'):
            return name, text
    return None


def _replace(event: bytes, name: str, old: bytes, new: bytes) -> bytes:
    for gap in (b"", b" "):
        field = b'"%b":%b' % (name.encode(), gap)
        if event.count(field + old) == 1:
            return event.replace(field + old, field + new)
    return event
