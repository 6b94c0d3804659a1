"""Unwraps JSON answers: removes a code fence, or the object that had to hold the value."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from app.conversation.blocks import Text
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Event
from app.conversation.literals import literal, text_of


class Wrapping(msgspec.Struct, frozen=True):
    """What may stand around an answer. `begun` matches what may still become the `start`; the end is `marks`
    characters `mark` among blanks."""

    start: re.Pattern[str]
    begun: re.Pattern[str]
    mark: str
    marks: int


# Blanks that may stand around the parts of a wrapping; who writes more of them writes something else.
_BLANKS = r"\s{0,200}"
# Blanks at the end of what has come that wait to be shown as the end's own.
_MOST_HELD = 4096

FENCE = Wrapping(
    start=re.compile(rf"{_BLANKS}```[a-zA-Z0-9]{{0,20}}[ \t]{{0,200}}\r?\n"),
    begun=re.compile(rf"{_BLANKS}(`{{0,2}}|```[a-zA-Z0-9]{{0,20}}[ \t]{{0,200}}\r?)"),
    mark="`",
    marks=3,
)
# As schemas.wrap_root puts it.
OBJECT = Wrapping(
    start=re.compile(rf'{_BLANKS}\{{{_BLANKS}"value"{_BLANKS}:{_BLANKS}(?=\S)'),
    begun=re.compile(rf'{_BLANKS}(\{{{_BLANKS}("(v(a(l(u(e("{_BLANKS}(:{_BLANKS})?)?)?)?)?)?)?)?)?'),
    mark="}",
    marks=1,
)


class Unwrap:
    """Looks at each text block that begins with the wrapping; what is within passes as it comes."""

    def __init__(self, wrapping: Wrapping) -> None:
        self._wrapping = wrapping
        self._starting: dict[int, str] = {}  # text blocks whose beginning is not clear yet
        self._wrapped: dict[int, str] = {}  # those within the wrapping, each with an end that may be that of it

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        out: list[Event] = []
        for event in events:
            match event:
                case BlockDelta() if event.index in self._starting:
                    _say(out, event.index, self._start(event.index, text_of(event.text)))
                case BlockDelta() if event.index in self._wrapped:
                    _say(out, event.index, self._pass(event.index, text_of(event.text)))
                case BlockOpened(block=Text()):
                    self._starting[event.index] = ""
                    out.append(event)
                case BlockClosed():
                    _say(out, event.index, self._finish(event.index))
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
        mark, most = self._wrapping.mark, self._wrapping.marks
        bare = text.rstrip()
        bare = (bare[:-most] + bare[-most:].rstrip(mark)).rstrip()
        if len(text) - len(bare) > _MOST_HELD:
            bare = text
        self._wrapped[index] = text[len(bare) :]
        return bare

    def _finish(self, index: int) -> str:
        if index in self._starting:
            return self._starting.pop(index)
        end = self._wrapped.pop(index, "")
        return "" if end.strip() == self._wrapping.mark * self._wrapping.marks else end


def _say(out: list[Event], index: int, text: str) -> None:
    if text:
        out.append(BlockDelta(index, literal(text)))
