"""Runs of deltas: events that equal the preceding one in every byte except their text.

Most of a stream is one run. Once the frame around a text is known, one step takes a whole read apart into lines, and
one JSON string proves that the frames contain only texts; no event is decoded. A renderer writes runs the same way,
with its own frame. Texts remain the insides of JSON string literals (conversation/literals.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from operator import itemgetter

import msgspec

from app.conversation.events import BlockDelta
from app.sse import EventBuffer

# What some vendors vary from event to event without a meaning, and what remains of it: padding that hides the length of
# the text, and numbers. Each pattern fits only between two members of an event's object, or before its end, so that no
# text contains it. Those that begin with plain bytes are sought fastest; the first member of each is what it certainly
# contains.
_NOISE = (
    (
        b',"obfuscation":"',
        re.compile(
            rb',"obfuscation":"[0-9A-Za-z_-]*+"(?=(?:,"output_index":[0-9]++)?(?:,"sequence_number":[0-9]++)?\}\n)'
        ),
        b"",
    ),
    (b',"sequence_number":', re.compile(rb',"sequence_number":[0-9]++}\n'), b"}\n"),
    (b'.delta","sequence_number":', re.compile(rb'\.delta","sequence_number":[0-9]++,'), b'.delta",'),
    (b" }\n", re.compile(rb"(?<! ) ++}\n"), b"}\n"),
)
_BACKSLASH = ord("\\")
# Learning stops after this many more events that broke the pattern than followed it.
_MAX_MISSES = 16
# Maximum bytes of an unfinished event that are examined again with each read.
_MAX_KEPT = 64 * 1024

_decode_string = msgspec.json.Decoder(str).decode


class Run(msgspec.Struct, frozen=True, gc=False):
    """Several deltas of one block. None of `texts` is empty; `whole` is one literal of all of them."""

    index: int
    texts: list[bytes]
    whole: bytes

    def deltas(self) -> list[BlockDelta]:
        """The deltas as events."""
        return [BlockDelta(self.index, b'"%b"' % text) for text in self.texts]


class Frame:
    """The bytes before and after the text in each event of a run, quotes included."""

    __slots__ = ("after", "before")

    def __init__(self, before: bytes, after: bytes) -> None:
        self.before = before
        self.after = after

    def write(self, texts: Sequence[bytes]) -> bytes:
        """The events of these texts."""
        joined = texts[0] if len(texts) == 1 else (self.after + self.before).join(texts)
        return b"".join((self.before, joined, self.after))

    def renamed(self, old: bytes, new: bytes) -> Frame:
        """The frame with `old` replaced by `new`."""
        return Frame(self.before.replace(old, new), self.after.replace(old, new))


class RunReader:
    """Looks in each read of a stream for a run like the last event before it. With `skips_noise`, events may also
    differ in what means nothing."""

    __slots__ = ("_literal", "_misses_left", "_noise", "_size", "_skips_noise", "frame")

    def __init__(self, *, skips_noise: bool = False) -> None:
        self.frame: Frame | None = None
        self._size = 0  # of the frame
        self._literal = slice(0)  # where it is in an event that comes alone
        self._skips_noise = skips_noise
        self._noise: list[tuple[re.Pattern[bytes], bytes]] | None = None  # of this stream; None before its first delta
        self._misses_left = _MAX_MISSES

    def take(self, part: bytes, unfinished: EventBuffer) -> tuple[list[bytes], bytes]:
        """The texts of the run that continues with `part`, and the rest; no texts and `part` if there is no run.

        The run's first event may begin in `unfinished`.
        """
        frame, kept = self.frame, unfinished.kept
        if frame is None or len(kept) > _MAX_KEPT:
            return [], part
        data = b"".join((kept, part)) if kept else part
        came = data
        if self._noise:
            data = _drop(self._noise, data)
        texts: list[bytes] = []
        rest = b""
        # Nearly all events of a slow stream come alone. What is too short for two of them needs no closer look.
        if len(data) < 2 * self._size and data.startswith(frame.before) and data.endswith(frame.after):
            literal = data[self._literal]
            if len(literal) > 2 and _is_string(literal):
                texts = [literal[1:-1]]
        else:
            texts, rest = _read_many(frame, data)
        if not texts:
            self._misses_left -= 1
            return [], part
        if rest and data is not came:  # the rest as it came
            rest = came[len(came.rsplit(b"\n", rest.count(b"\n") + 1)[0]) + 1 :]
        if kept:
            kept.clear()
        if self._misses_left < _MAX_MISSES:
            self._misses_left = min(self._misses_left + len(texts), _MAX_MISSES)
        return texts, rest

    @property
    def tired(self) -> bool:
        """Whether learning is pointless because the events of this stream keep changing their form."""
        return self._misses_left <= 0

    def learn(self, event: bytes, text: bytes | None) -> None:
        """Takes a whole event that carried only the literal `text` as the model for the next; `text` is None if the
        event said anything else."""
        self.frame = None
        if text is None or len(text) <= 2 or self.tired:
            return
        if self._skips_noise:
            if self._noise is None:
                self._noise = [
                    (pattern, rest) for mark, pattern, rest in _NOISE if event.find(mark) >= 0 and pattern.search(event)
                ]
            event = _drop(self._noise, event)
        plain = event.startswith(b"data: ") or (event.startswith(b"event: ") and b"\ndata: " in event)
        at = event.find(text)
        # After a backslash the text is only the end of a longer one, which repeats what was said.
        plain = plain and at > 0 and event[at - 1] != _BACKSLASH
        if plain and event.count(b"\n") <= 3 and event.find(text, at + 1) < 0 and _is_utf8(event):
            end = at + len(text) - 1
            self.frame = Frame(event[: at + 1], event[end:])
            self._size, self._literal = len(event) - len(text) + 2, slice(at, end + 1 - len(event))


def _drop(noise: Sequence[tuple[re.Pattern[bytes], bytes]], data: bytes) -> bytes:
    for pattern, remains in noise:
        data = pattern.sub(remains, data)
    return data


def last_event(events: bytes) -> bytes:
    """The last event of several whole ones."""
    start = events.rfind(b"\n\n", 0, -2)
    return events[start + 2 :] if start >= 0 else events


def join_events(blocks: list[bytes]) -> bytes:
    """Whole events, each without its blank line; empty ones are left out."""
    return b"".join([block + b"\n\n" for block in blocks if block])


def _read_many(frame: Frame, data: bytes) -> tuple[list[bytes], bytes]:
    """The texts of a run's events, and what follows the run; no texts if anything odd is among them."""
    named = frame.before.count(b"\n")
    lines = BytesIO(data).readlines()  # takes a sixth of the time of `split`, which looks at each byte
    spoken = lines[named :: named + 2][: len(lines) // (named + 2)]
    before, after = frame.before.rpartition(b"\n")[2], frame.after[:-1]
    # A run mostly ends at the end of a read.
    count = len(spoken)
    while count and not (spoken[count - 1].startswith(before) and spoken[count - 1].endswith(after)):
        count -= 1
    texts = list(map(itemgetter(slice(len(before), -len(after))), spoken[:count]))
    # Joining the texts once more proves that nothing but the frame is between them.
    if _are_texts(texts) and data.startswith(frame.before):
        joined = (frame.after + frame.before).join(texts)
        end = len(frame.before) + len(joined)
        if data.startswith(joined, len(frame.before)) and data.startswith(frame.after, end):
            return texts, data[end + len(frame.after) :]
    return [], data


def _are_texts(texts: Sequence[bytes]) -> bool:
    """Whether there are texts and each is the inside of a non-empty JSON string."""
    if not texts or not all(texts):
        return False
    return _is_string(b'"%b"' % b" ".join(texts))  # a blank neither continues nor ends an escape or a character


def _is_string(literal: bytes) -> bool:
    """Whether this is a JSON string in UTF-8, without halves of surrogate pairs."""
    try:
        _decode_string(literal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
