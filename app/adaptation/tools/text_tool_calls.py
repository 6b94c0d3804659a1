"""Recognises tool calls that a model wrote as text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from app.adaptation.replies.block_numbering import Numbering
from app.adaptation.replies.partial_match import beginnings, held_length
from app.adaptation.tools.tool_ids import digest_id
from app.adaptation.tools.written_calls import WRITINGS, Writing, encode_arguments
from app.conversation.blocks import Text, ToolCall
from app.conversation.events import BlockClosed, BlockDelta, BlockNoted, BlockOpened, Event, Finished, Started
from app.conversation.literals import literal, text_of
from app.conversation.schemas import Schema

_FENCE = "```"
_MARKS = (*[writing.opening for writing in WRITINGS], _FENCE)
_MARK = re.compile("|".join(map(re.escape, _MARKS)))
_BEGUN = beginnings(_MARKS)
_LONGEST = max(map(len, _MARKS))
_LONGEST_NAME = 128
_BY_OPENING = {writing.opening: writing for writing in WRITINGS}
# A literal without any of these contains no part of a mark; some servers escape the angle bracket.
_SUSPECT = re.compile(rb"[<`\[]|\\u")


class ReadTextToolCalls:
    """Turns text between the marks of WRITINGS in visible text into calls.

    A call must name a tool in `schemas`, have an object as arguments, and not be inside a code fence; all else stays
    text. Text around a call becomes separate blocks, unless it is blank.
    """

    def __init__(self, schemas: Mapping[str, Schema | None]) -> None:
        self._schemas = schemas
        self._numbering = Numbering()
        self._texts: dict[int, _OpenText] = {}
        self._reply_id = ""
        self._rescued = 0

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        out: list[Event] = []
        for event in events:
            match event:
                case BlockDelta() if event.index in self._texts:
                    block = self._texts[event.index]
                    if block.index is None or block.waiting or _SUSPECT.search(event.text):
                        self._read(block, text_of(event.text), out)
                    else:
                        out.append(BlockDelta(block.index, event.text))
                case BlockOpened(block=Text() as head):
                    self._texts[event.index] = _OpenText(head)
                case BlockNoted() if event.index in self._texts:
                    index = self._texts[event.index].index
                    if index is not None:
                        out.append(replace(event, index=index))
                case BlockClosed() if event.index in self._texts:
                    self._close(self._texts.pop(event.index), out)
                case Finished("stop") if self._rescued:
                    out.append(replace(event, finish_reason="tool_calls", raw_finish_reason=None))
                case _:
                    if isinstance(event, Started):
                        self._reply_id = event.id
                    out.append(self._numbering.move(event))
        return out

    def _read(self, block: _OpenText, text: str, out: list[Event]) -> None:
        block.waiting += text
        while mark := _MARK.search(block.waiting):
            self._add_text(block, block.take(mark.start()), out)
            writing = _BY_OPENING.get(mark.group())
            if writing is None:
                block.fenced = not block.fenced
            elif not block.fenced and self._may_be_call(block, writing):
                length = block.find_end(writing)
                if length < 0:
                    return
                if calls := self._parse(writing, block.waiting[:length]):
                    block.take(length)
                    self._end_text(block, out)
                    for call in calls:
                        self._call(call, out)
                    continue
            self._add_text(block, block.take(len(mark.group())), out)
        held = held_length(block.waiting, _BEGUN, _LONGEST)
        self._add_text(block, block.take(len(block.waiting) - held), out)

    def _may_be_call(self, block: _OpenText, writing: Writing) -> bool:
        """Whether the text after the first opening of WRITINGS is, or may become, one of the formats that it
        introduces."""
        rest = block.waiting[len(writing.opening) :].lstrip()[:_LONGEST_NAME]
        if writing is not WRITINGS[0] or not rest:
            return True
        return any(rest.startswith(start) or start.startswith(rest) for start in ("{", "<function=", *self._schemas))

    def _parse(self, writing: Writing, written: str) -> list[ToolCall]:
        """The calls, still without ids; empty if the text is no call."""
        inside = written[len(writing.opening) : len(written) - len(writing.closing)]
        calls: list[ToolCall] = []
        for call in writing.read(inside):
            arguments = encode_arguments(call, self._schemas.get(call.name))
            if call.name not in self._schemas or arguments is None:
                return []
            calls.append(ToolCall("", call.name, arguments))
        return calls

    def _read_to_end(self, block: _OpenText, out: list[Event]) -> None:
        """Reads the calls of a format without an end mark."""
        mark = _MARK.match(block.waiting)
        writing = _BY_OPENING.get(mark.group()) if mark is not None else None
        if writing is None or writing.closing or block.fenced:
            return
        if calls := self._parse(writing, block.waiting):
            block.take(len(block.waiting))
            self._end_text(block, out)
            for call in calls:
                self._call(call, out)

    def _call(self, call: ToolCall, out: list[Event]) -> None:
        index = self._numbering.fresh()
        call_id = "call_" + digest_id(f"{self._reply_id} {self._rescued}")
        self._rescued += 1
        out.append(BlockOpened(index, replace(call, id=call_id, arguments="")))
        out.append(BlockDelta(index, literal(call.arguments)))
        out.append(BlockClosed(index))

    def _add_text(self, block: _OpenText, text: str, out: list[Event]) -> None:
        if block.index is None:
            block.blank += text
            if not block.blank.strip():
                return
            text, block.blank = block.blank, ""
            block.index = self._numbering.fresh()
            out.append(BlockOpened(block.index, block.head))
        if text:
            out.append(BlockDelta(block.index, literal(text)))

    def _end_text(self, block: _OpenText, out: list[Event]) -> None:
        block.blank = ""
        block.pure = False
        if block.index is not None:
            out.append(BlockClosed(block.index))
            block.index = None

    def _close(self, block: _OpenText, out: list[Event]) -> None:
        self._read_to_end(block, out)
        self._add_text(block, block.take(len(block.waiting)), out)
        if block.index is None and block.pure:
            block.index = self._numbering.fresh()
            out.append(BlockOpened(block.index, block.head))
            if block.blank:
                out.append(BlockDelta(block.index, literal(block.blank)))
        self._end_text(block, out)


class _OpenText:
    """A text block of the upstream, and the output block that it currently feeds, if opened."""

    __slots__ = ("blank", "fenced", "head", "index", "pure", "searched", "waiting")

    def __init__(self, head: Text) -> None:
        self.head = head
        self.index: int | None = None
        self.waiting = ""  # may be the beginning of a mark or of a call
        self.searched = 0  # this many characters do not contain the end of the call
        self.blank = ""  # white space before the first character of the next block
        self.fenced = False
        self.pure = True  # no call was found in it

    def take(self, length: int) -> str:
        taken, self.waiting = self.waiting[:length], self.waiting[length:]
        self.searched = 0
        return taken

    def find_end(self, writing: Writing) -> int:
        """The length of the call that the waiting text begins with; negative until its end has arrived."""
        closing = writing.closing
        end = self.waiting.find(closing, self.searched) if closing else -1
        self.searched = max(0, len(self.waiting) - len(closing))
        return end + len(closing) if end >= 0 else -1
