"""Turns thoughts that models write into their text into reasoning blocks."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from app.adaptation.replies.block_numbering import Numbering
from app.adaptation.replies.partial_match import beginnings, held_length
from app.conversation.blocks import Reasoning, Text
from app.conversation.events import BlockClosed, BlockDelta, BlockNoted, BlockOpened, Event
from app.conversation.literals import literal, text_of


class Tags(NamedTuple):
    """The tags around a thought, and what the template writes between it and the answer."""

    opening: str
    closing: str
    between: tuple[str, ...] = ()


TAGS = (
    Tags("<think>", "</think>"),  # DeepSeek, Qwen, GLM, MiniMax
    Tags("<thinking>", "</thinking>"),
    Tags("<reasoning>", "</reasoning>"),  # gpt-oss on Bedrock
    Tags("<thought>", "</thought>"),  # Gemini
    Tags("<|channel>thought", "<channel|>"),  # Gemma 4
    Tags("[THINK]", "[/THINK]"),  # Magistral
    Tags("<seed:think>", "</seed:think>"),
    Tags("\u25c1think\u25b7", "\u25c1/think\u25b7"),  # Kimi
    # gpt-oss
    Tags("<|channel|>analysis<|message|>", "<|end|>", ("<|start|>assistant", "<|channel|>final<|message|>")),
)
_BEGUN = {tags: beginnings((tags.closing,)) for tags in TAGS}
# Characters of the upstream's own reasoning that are compared with a written thought.
_COMPARED = 64


class _State(Enum):
    BEFORE = "at the start of the text"
    THINKING = "within the tags"
    BEHIND = "behind them, where the answer's first character is awaited"
    ANSWERING = "the rest is the answer"


class ThinkTags:
    """Looks only at the start of the first text: later tags are part of the content. A thought that repeats the
    upstream's own reasoning is dropped.

    `opened`: the template has written the opening tag, so the text starts inside it. Blank thoughts and blanks around
    the tags are dropped, so a block is opened with its first non-blank character.
    """

    def __init__(self, *, opened: bool = False) -> None:
        self._opened = opened
        self._state = _State.BEFORE
        self._source: BlockOpened | None = None  # the upstream's text block
        self._waiting = ""
        self._blanks: list[str] = []  # before it
        self._reasoning: int | None = None  # the open block of thoughts
        self._tags = TAGS[0]
        self._between: tuple[str, ...] = ()  # of these, what may still come
        self._own: int | None = None  # the upstream's reasoning block
        self._told = ""  # how that begins
        self._repeats: bool | None = None  # whether the thought repeats it
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
                    self._note_own(event)
                    out.append(self._numbering.move(event))
        return out

    def _note_own(self, event: Event) -> None:
        if isinstance(event, BlockOpened) and isinstance(event.block, Reasoning):
            self._own = event.index
        elif isinstance(event, BlockDelta) and event.index == self._own and len(self._told) < _COMPARED:
            self._told = (self._told + text_of(event.text)).lstrip()[:_COMPARED]

    def _reads(self, event: BlockDelta | BlockNoted) -> bool:
        source = self._source
        return self._state is not _State.ANSWERING and source is not None and event.index == source.index

    def _read(self, out: list[Event]) -> None:
        if self._state is _State.BEFORE:
            self._look_for_start(out)
        if self._state is _State.THINKING:
            self._look_for_end(out)
        if self._state is _State.BEHIND:
            self._look_for_answer(out)

    def _look_for_start(self, out: list[Event]) -> None:
        text = self._waiting.lstrip()
        if not text:
            self._blanks.append(self._waiting)
            self._waiting = ""
            return
        for tags in TAGS:
            if text.startswith(tags.opening):
                self._waiting = text[len(tags.opening) :]
                self._state, self._tags, self._between = _State.THINKING, tags, tags.between
                return
        if any(tags.opening.startswith(text) for tags in TAGS):
            return
        if self._opened:
            self._state = _State.THINKING
        else:
            self._answer(out)

    def _look_for_end(self, out: list[Event]) -> None:
        closing = self._tags.closing
        thought, tag, rest = self._waiting.partition(closing)
        if tag:
            self._waiting = rest
            self._state = _State.BEHIND
        else:
            held = held_length(thought, _BEGUN[self._tags], len(closing))
            self._waiting = thought[len(thought) - held :]
            thought = thought[: len(thought) - held]
        self._think(thought, out)
        if tag:
            self._end_thinking(out)

    def _think(self, thought: str, out: list[Event]) -> None:
        if self._reasoning is None:
            thought = thought.lstrip()
            if not thought or self._is_repeated(thought):
                return
            self._reasoning = self._numbering.fresh()
            out.append(BlockOpened(self._reasoning, Reasoning("")))
        if thought:
            out.append(BlockDelta(self._reasoning, literal(thought)))

    def _is_repeated(self, thought: str) -> bool:
        if self._repeats is None:
            self._repeats = bool(self._told) and self._told.startswith(thought[: len(self._told)])
        return self._repeats

    def _look_for_answer(self, out: list[Event]) -> None:
        self._waiting = self._waiting.lstrip()
        while self._between and self._waiting:
            mark = self._between[0]
            if mark.startswith(self._waiting) and mark != self._waiting:
                return
            if self._waiting.startswith(mark):
                self._waiting = self._waiting[len(mark) :].lstrip()
            self._between = self._between[1:]
        if self._waiting:
            self._answer(out)

    def _end_thinking(self, out: list[Event]) -> None:
        if self._reasoning is not None:
            out.append(BlockClosed(self._reasoning))
            self._reasoning = None

    def _answer(self, out: list[Event]) -> None:
        if self._state is _State.BEFORE:
            self._waiting = "".join(self._blanks) + self._waiting
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
