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
# Characters after the opening of a call that decide whether it may be one.
_DECIDING = 1024
# Maximum characters of texts that look like calls and are none: many may have one end. After that, no more are looked
# for in a reply.
_MAX_FAILED = 256 * 1024
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
        self._failed = 0  # characters between marks that were no calls

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
        if not block.ends_with(text):
            return
        waiting, told, at, searched = block.empty(), 0, 0, block.searched
        block.searched = 0
        while mark := _MARK.search(waiting, at):
            start, at = mark.span()
            writing = _BY_OPENING.get(mark.group())
            if writing is None:
                block.fenced = not block.fenced
            elif not block.fenced and self._failed < _MAX_FAILED and self._may_be_call(waiting, at, writing):
                end = waiting.find(writing.closing, max(at, searched)) if writing.closing else -1
                searched = 0
                if end < 0:
                    self._add_text(block, waiting[told:start], out)
                    block.await_end(waiting[start:], writing)
                    return
                end += len(writing.closing)
                if not (calls := self._parse(writing, waiting[start:end])):
                    self._failed += end - start
                    continue
                self._add_text(block, waiting[told:start], out)
                self._end_text(block, out)
                for call in calls:
                    self._call(call, out)
                told = at = end
        held = held_length(waiting[at:], _BEGUN, _LONGEST)
        self._add_text(block, waiting[told : len(waiting) - held], out)
        block.waiting = [waiting[len(waiting) - held :]] if held else []

    def _may_be_call(self, text: str, start: int, writing: Writing) -> bool:
        """Whether the text from `start`, after the opening of a writing, is, or may become, one of the formats that it
        introduces. Only the first of WRITINGS is in doubt."""
        rest = text[start : start + _DECIDING].lstrip()[:_LONGEST_NAME]
        if writing is not WRITINGS[0] or not rest:
            return True
        return any(rest.startswith(each) or each.startswith(rest) for each in ("{", "<function=", *self._schemas))

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
        waiting = "".join(block.waiting)
        mark = _MARK.match(waiting)
        writing = _BY_OPENING.get(mark.group()) if mark is not None else None
        if writing is None or writing.closing or block.fenced:
            return
        if calls := self._parse(writing, waiting):
            block.empty()
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
            block.blanks.append(text)
            if not text or text.isspace():
                return
            text = "".join(block.blanks)
            block.blanks.clear()
            block.index = self._numbering.fresh()
            out.append(BlockOpened(block.index, block.head))
        if text:
            out.append(BlockDelta(block.index, literal(text)))

    def _end_text(self, block: _OpenText, out: list[Event]) -> None:
        block.blanks.clear()
        block.pure = False
        if block.index is not None:
            out.append(BlockClosed(block.index))
            block.index = None

    def _close(self, block: _OpenText, out: list[Event]) -> None:
        self._read_to_end(block, out)
        self._add_text(block, block.empty(), out)
        if block.index is None and block.pure:
            block.index = self._numbering.fresh()
            out.append(BlockOpened(block.index, block.head))
            if blank := "".join(block.blanks):
                out.append(BlockDelta(block.index, literal(blank)))
        self._end_text(block, out)


class _OpenText:
    """A text block of the upstream, and the output block that it currently feeds, if opened."""

    __slots__ = ("blanks", "closing", "fenced", "head", "index", "pure", "searched", "tail", "waiting")

    def __init__(self, head: Text) -> None:
        self.head = head
        self.index: int | None = None
        self.waiting: list[str] = []  # may be the beginning of a mark or of a call
        self.closing: str | None = None  # the end of the call that the waiting text certainly may be
        self.tail = ""  # the last characters before which that end does not begin
        self.searched = 0  # this many characters do not contain the end of the call
        self.blanks: list[str] = []  # before the first character of the next block
        self.fenced = False
        self.pure = True  # no call was found in it

    def empty(self) -> str:
        """All that waits, which then waits no more."""
        waiting, self.waiting, self.closing = "".join(self.waiting), [], None
        return waiting

    def await_end(self, waiting: str, writing: Writing) -> None:
        """Lets the beginning of a call wait for its end."""
        self.waiting = [waiting]
        self.searched = max(0, len(waiting) - len(writing.closing))
        if len(waiting) > _DECIDING + _LONGEST:
            self.closing, self.tail = writing.closing, waiting[self.searched :]

    def ends_with(self, text: str) -> bool:
        """Lets more text wait. Returns whether it must be read now: not if a call goes on."""
        self.waiting.append(text)
        if self.closing is None:
            return True
        tail = self.tail + text
        if self.closing and self.closing in tail:
            return True
        self.tail = tail[len(tail) - len(self.closing) :] if self.closing else ""
        return False
