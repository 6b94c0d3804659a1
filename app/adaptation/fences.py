"""This file is the stage that takes the code fence off an answer that should be bare JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.conversation.blocks import Text
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Event
from app.conversation.literals import literal, text_of

_START = re.compile(r"\s*```[a-zA-Z0-9]*[ \t]*\r?\n")
_START_BEGUN = re.compile(r"\s*(`{0,2}|```[a-zA-Z0-9]{0,20}[ \t]*\r?)")
_END = re.compile(r"\s*```\s*")


class Unfence:
    """Looks at each text block that begins with a fence; what is between the fences passes as it comes."""

    def __init__(self) -> None:
        self._starting: dict[int, str] = {}  # text blocks whose beginning is not clear yet
        self._fenced: dict[int, str] = {}  # text blocks within a fence, each with an end that may be that of the fence

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        out: list[Event] = []
        for event in events:
            match event:
                case BlockDelta() if event.index in self._starting:
                    _say(out, event.index, self._start(event.index, text_of(event.text)))
                case BlockDelta() if event.index in self._fenced:
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
        if start := _START.match(text):
            self._fenced[index] = ""
            return self._pass(index, text[start.end() :])
        if _START_BEGUN.fullmatch(text):
            self._starting[index] = text
            return ""
        return text

    def _pass(self, index: int, text: str) -> str:
        text = self._fenced[index] + text
        bare = text.rstrip()
        bare = (bare[:-3] + bare[-3:].rstrip("`")).rstrip()
        self._fenced[index] = text[len(bare) :]
        return bare

    def _finish(self, index: int) -> str:
        if index in self._starting:
            return self._starting.pop(index)
        end = self._fenced.pop(index, "")
        return "" if _END.fullmatch(end) else end


def _say(out: list[Event], index: int, text: str) -> None:
    if text:
        out.append(BlockDelta(index, literal(text)))
