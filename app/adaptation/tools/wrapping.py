"""Unwraps JSON answers: removes a code fence, or the object that had to contain the value."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from app.conversation.blocks import Text
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Event
from app.conversation.literals import literal, text_of


class Wrapping(msgspec.Struct, frozen=True):
    """What may surround an answer. `begun` matches text that may still become the `start`. The end is `marks` times the
    character `mark`, with blanks around."""

    start: re.Pattern[str]
    begun: re.Pattern[str]
    mark: str
    marks: int


# Blanks allowed around the parts of a wrapping; with more of them it is something else.
_BLANKS = r"\s{0,200}"
# Maximum trailing blanks held back because they may belong to the end.
_MAX_HELD = 4096

# Words before a fence, such as "Here is the JSON:".
_PREFACE = r"[^`{\[]{0,200}"

FENCE = Wrapping(
    start=re.compile(rf"{_PREFACE}```[a-zA-Z0-9]{{0,20}}(?:[ \t]{{0,200}}\r?\n|{_BLANKS}(?=[{{\[]))"),
    begun=re.compile(rf"{_PREFACE}(`{{0,2}}|```[a-zA-Z0-9]{{0,20}}{_BLANKS})"),
    mark="`",
    marks=3,
)
# The form made by schemas.wrap_root.
OBJECT = Wrapping(
    start=re.compile(rf'{_BLANKS}\{{{_BLANKS}"value"{_BLANKS}:{_BLANKS}(?=\S)'),
    begun=re.compile(rf'{_BLANKS}(\{{{_BLANKS}("(v(a(l(u(e("{_BLANKS}(:{_BLANKS})?)?)?)?)?)?)?)?)?'),
    mark="}",
    marks=1,
)


class Unwrap:
    """Checks each text block for the wrapping at its start; the content passes as it arrives."""

    def __init__(self, wrapping: Wrapping) -> None:
        self._wrapping = wrapping
        self._starting: dict[int, str] = {}  # text blocks whose beginning is still undecided
        self._wrapped: dict[int, str] = {}  # blocks inside the wrapping, each with a tail that may be its end

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        out: list[Event] = []
        for event in events:
            match event:
                case BlockDelta() if event.index in self._starting:
                    _add_text(out, event.index, self._start(event.index, text_of(event.text)))
                case BlockDelta() if event.index in self._wrapped:
                    _add_text(out, event.index, self._pass(event.index, text_of(event.text)))
                case BlockOpened(block=Text()):
                    self._starting[event.index] = ""
                    out.append(event)
                case BlockClosed():
                    _add_text(out, event.index, self._finish(event.index))
                    out.append(event)
                case _:
                    out.append(event)
        return out

    def _start(self, index: int, text: str) -> str:
        text = self._starting.pop(index) + text
        if start := self._wrapping.start.match(text):
            self._wrapped[index] = ""
            return self._pass(index, text[start.end() :])
        if self._wrapping.begun.fullmatch(text):
            self._starting[index] = text
            return ""
        return text

    def _pass(self, index: int, text: str) -> str:
        text = self._wrapped[index] + text
        mark, maximum = self._wrapping.mark, self._wrapping.marks
        bare = text.rstrip()
        bare = (bare[:-maximum] + bare[-maximum:].rstrip(mark)).rstrip()
        if len(text) - len(bare) > _MAX_HELD:
            bare = text
        self._wrapped[index] = text[len(bare) :]
        return bare

    def _finish(self, index: int) -> str:
        if index in self._starting:
            return self._starting.pop(index)
        end = self._wrapped.pop(index, "")
        return "" if end.strip() == self._wrapping.mark * self._wrapping.marks else end


def _add_text(out: list[Event], index: int, text: str) -> None:
    if text:
        out.append(BlockDelta(index, literal(text)))
