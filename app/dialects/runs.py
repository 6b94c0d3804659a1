"""Runs of deltas: events that repeat the one before in every byte but those of their text.

Nearly all of a stream is one. Once the frame around a text is known, one split takes a whole read apart, and one
pattern proves that there was nothing between the frames but texts; no event is decoded. A renderer writes them in the
same way, with a frame of its own. Texts stay the insides of JSON string literals (conversation/literals.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from app.conversation.events import BlockDelta
from app.sse import EventBuffer

# A line for each text. Half of a surrogate pair is none, nor is what is no JSON.
_TEXTS = re.compile(
    rb'(?:(?:[^"\\\x00-\x1f]++'
    rb'|\\(?:["\\/bfnrt]|u(?:[0-9a-ce-fA-CE-F][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}'
    rb"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})))++\n)++"
)
# What a text has none of that needs no closer look.
_SPECIAL = bytes((*range(0x20), *b'"\\'))
# How many events more may look unlike the one before than alike, until nobody looks any more.
_PATIENCE = 16
# Bytes of an unfinished event that are looked at again with each read.
_MOST_KEPT = 64 * 1024


class Run(msgspec.Struct, frozen=True, gc=False):
    """Several deltas of one block; none of `texts` is empty, and `whole` is one literal of them all."""

    index: int
    texts: list[bytes]
    whole: bytes

    def deltas(self) -> list[BlockDelta]:
        """The events that these are."""
        return [BlockDelta(self.index, b'"%b"' % text) for text in self.texts]


class Frame:
    """What stands before and behind the text in each event of a run, quotes included."""

    __slots__ = ("after", "before", "between")

    def __init__(self, before: bytes, after: bytes) -> None:
        self.before = before
        self.after = after
        self.between = after + before

    def write(self, texts: Sequence[bytes]) -> bytes:
        """The events of these texts."""
        if len(texts) == 1:
            return b"%b%b%b" % (self.before, texts[0], self.after)
        ends = list(texts)
        ends[0] = self.before + ends[0]
        ends[-1] += self.after
        return self.between.join(ends)

    def renamed(self, old: bytes, new: bytes) -> Frame:
        """The frame with something else in it."""
        return Frame(self.before.replace(old, new), self.after.replace(old, new))


class RunReader:
    """Looks in each read of a stream for a run like the last event before it."""

    __slots__ = ("_patience", "frame")

    def __init__(self) -> None:
        self.frame: Frame | None = None
        self._patience = _PATIENCE

    def take(self, part: bytes, unfinished: EventBuffer) -> tuple[list[bytes], bytes]:
        """The texts of the run that goes on with `part`, and what is left of it; no texts and `part` where none does.

        The beginning of the run's first event may be among what is `unfinished`.
        """
        frame, kept = self.frame, unfinished.kept
        if frame is None or len(kept) > _MOST_KEPT:
            return [], part
        data = b"".join((kept, part)) if kept else part
        # Nearly all events of a slow stream come alone, and hold nothing to be looked at any closer.
        lone = data.find(b"\n\n") == len(data) - 2 and data.startswith(frame.before) and data.endswith(frame.after)
        text = data[len(frame.before) : -len(frame.after)] if lone else b""
        if text and text.isascii() and len(text.translate(None, _SPECIAL)) == len(text):
            texts, rest = [text], b""
        else:
            texts, rest = _read_many(frame, data)
        if not texts:
            self._patience -= 1
            return [], part
        kept.clear()
        if self._patience < _PATIENCE:
            self._patience = min(self._patience + len(texts), _PATIENCE)
        return texts, rest

    @property
    def tired(self) -> bool:
        """Whether it is no use to learn any more: each event of this stream looks another way."""
        return self._patience <= 0

    def learn(self, event: bytes, text: bytes | None) -> None:
        """A whole event that said nothing but the literal `text` is what the next may look like; None if it said
        anything else."""
        self.frame = None
        if text is None or len(text) <= 2 or self.tired:
            return
        plain = event.startswith(b"data: ") or (event.startswith(b"event: ") and b"\ndata: " in event)
        at = event.find(text)
        if plain and at > 0 and event.count(b"\n") <= 3 and event.find(text, at + 1) < 0 and _is_utf8(event):
            self.frame = Frame(event[: at + 1], event[at + len(text) - 1 :])


def last_event(events: bytes) -> bytes:
    """The last of whole events."""
    start = events.rfind(b"\n\n", 0, -2)
    return events[start + 2 :] if start >= 0 else events


def _read_many(frame: Frame, data: bytes) -> tuple[list[bytes], bytes]:
    """The texts of the events of a run, and what follows it; no texts where anything odd is among them."""
    named = frame.before.count(b"\n")
    lines = data.split(b"\n")  # in half the time that splitting by blank lines takes
    spoken = lines[named :: named + 2][: len(lines) // (named + 2)]
    before, after = frame.before.rpartition(b"\n")[2], frame.after[:-2]
    # What ends a run is mostly the end of a read as well.
    count = len(spoken)
    while count and not (spoken[count - 1].startswith(before) and spoken[count - 1].endswith(after)):
        count -= 1
    start, end = len(before), -len(after)
    texts = [line[start:end] for line in spoken[:count]]
    # Whether these are events of the run is seen by writing them once more.
    if _are_texts(texts):
        written = frame.write(texts)
        if data.startswith(written):
            return texts, data[len(written) :]
    return [], data


def _are_texts(texts: Sequence[bytes]) -> bool:
    """Whether there are texts, and each is the inside of a JSON string that is not empty."""
    whole = b"".join(texts)
    if whole.isascii() and len(whole.translate(None, _SPECIAL)) == len(whole):
        return b"" not in texts and bool(whole)
    lines = b"\n".join(texts) + b"\n"
    return _TEXTS.fullmatch(lines) is not None and lines.count(b"\n") == len(texts) and _is_utf8(lines)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
