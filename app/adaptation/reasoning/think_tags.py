"""Turns text between <think> and </think> into reasoning blocks."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from app.adaptation.replies.block_numbering import Numbering
from app.adaptation.replies.partial_match import beginnings, held_length
from app.conversation.blocks import Reasoning, Text
from app.conversation.events import BlockClosed, BlockDelta, BlockNoted, BlockOpened, Event
from app.conversation.literals import literal, text_of

_OPEN, _CLOSE = "<think>", "</think>"
_CLOSE_BEGUN = beginnings((_CLOSE,))


class _State(Enum):
    BEFORE = "at the start of the text"
    THINKING = "within the tags"
    BEHIND = "behind them, where the answer's first character is awaited"
    ANSWERING = "the rest is the answer"


class ThinkTags:
    """Looks only at the start of the first text: later tags are part of the content.

    `opened`: the template has written the opening tag, so the text starts inside it. Blank thoughts and blanks around
    the tags are dropped, so a block is opened with its first non-blank character.
    """

    def __init__(self, *, opened: bool = False) -> None:
        self._opened = opened
        self._state = _State.BEFORE
        self._source: BlockOpened | None = None  # the upstream's text block
        self._waiting = ""
        self._reasoning: int | None = None  # the open block of thoughts
        self._numbering = Numbering()

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        if self._state is _State.ANSWERING and not self._numbering.moved:
            return events
        out: list[Event] = []
        for event in events:
            match event:
                case BlockDelta() if self._reads(event):
                    self._waiting += text_of(event.text)
                    self._read(out)
                case BlockNoted() if self._reads(event):
                    pass  # log probabilities of tags and thoughts are dropped
                case BlockOpened(block=Text()) if self._source is None:
                    self._source = event
                case BlockClosed() if self._source is not None and event.index == self._source.index:
                    self._close(event, out)
                case _:
                    out.append(self._numbering.move(event))
        return out

    def _reads(self, event: BlockDelta | BlockNoted) -> bool:
        source = self._source
        return self._state is not _State.ANSWERING and source is not None and event.index == source.index

    def _read(self, out: list[Event]) -> None:
        if self._state is _State.BEFORE:
            self._look_for_start(out)
        if self._state is _State.THINKING:
            self._look_for_end(out)
        if self._state is _State.BEHIND:
            self._waiting = self._waiting.lstrip()
            if self._waiting:
                self._answer(out)

    def _look_for_start(self, out: list[Event]) -> None:
        text = self._waiting.lstrip()
        if text.startswith(_OPEN):
            self._waiting = text[len(_OPEN) :]
            self._state = _State.THINKING
        elif _OPEN.startswith(text):
            return
        elif self._opened:
            self._state = _State.THINKING
        else:
            self._answer(out)

    def _look_for_end(self, out: list[Event]) -> None:
        thought, tag, rest = self._waiting.partition(_CLOSE)
        if tag:
            self._waiting = rest
            self._state = _State.BEHIND
        else:
            held = held_length(thought, _CLOSE_BEGUN, len(_CLOSE))
            self._waiting = thought[len(thought) - held :]
            thought = thought[: len(thought) - held]
        self._think(thought, out)
        if tag:
            self._end_thinking(out)

    def _think(self, thought: str, out: list[Event]) -> None:
        if self._reasoning is None:
            thought = thought.lstrip()
            if not thought:
                return
            self._reasoning = self._numbering.fresh()
            out.append(BlockOpened(self._reasoning, Reasoning("")))
        if thought:
            out.append(BlockDelta(self._reasoning, literal(thought)))

    def _end_thinking(self, out: list[Event]) -> None:
        if self._reasoning is not None:
            out.append(BlockClosed(self._reasoning))
            self._reasoning = None

    def _answer(self, out: list[Event]) -> None:
        if self._source is not None:
            out.append(self._numbering.move(self._source))
            if self._waiting:
                out.append(self._numbering.move(BlockDelta(self._source.index, literal(self._waiting))))
        self._waiting = ""
        self._state = _State.ANSWERING

    def _close(self, event: BlockClosed, out: list[Event]) -> None:
        """Handles the end of the text: an incomplete opening tag was text, and an unclosed thought is still a
        thought."""
        if self._state is _State.BEFORE:
            self._answer(out)
        elif self._state is _State.THINKING:
            self._think(self._waiting, out)
            self._end_thinking(out)
        if self._state is _State.ANSWERING:
            out.append(self._numbering.move(event))
        self._state = _State.ANSWERING
