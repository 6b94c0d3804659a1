"""The stage that recognises calls which a model wrote into its text instead of making them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import msgspec
from msgspec.structs import replace

from app.adaptation.replies.block_numbering import Numbering
from app.adaptation.replies.partial_match import beginnings, held_length
from app.adaptation.tools.tool_ids import digest_id
from app.conversation.blocks import Text, ToolCall
from app.conversation.events import BlockClosed, BlockDelta, BlockNoted, BlockOpened, Event, Finished, Started
from app.conversation.literals import literal, text_of

_OPEN, _CLOSE, _FENCE = "<tool_call>", "</tool_call>", "```"
_MARK = re.compile(f"{_OPEN}|{_FENCE}")
_BEGUN = beginnings((_OPEN, _FENCE))
# A literal without any of these holds no part of a mark; some servers escape the angle bracket.
_SUSPECT = re.compile(rb"[<`]|\\u")


class _Written(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


_decode = msgspec.json.Decoder(_Written).decode


class ReadTextToolCalls:
    """Makes calls of `<tool_call>{"name": …, "arguments": {…}}</tool_call>` in visible text.

    Only `names` that were declared, only valid JSON, and nothing between code fences; all else stays text. Text
    around a call becomes blocks of its own, unless it is blank.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
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
            self._say(block, block.take(mark.start()), out)
            if mark.group() == _FENCE:
                block.fenced = not block.fenced
            elif not block.fenced and block.may_be_call():
                length = block.waiting.find(_CLOSE) + len(_CLOSE)
                if length < len(_CLOSE):
                    return
                call = self._parse(block.waiting[len(_OPEN) : length - len(_CLOSE)])
                if call is not None:
                    block.take(length)
                    self._end_text(block, out)
                    self._call(call, out)
                    continue
            self._say(block, block.take(len(mark.group())), out)
        held = held_length(block.waiting, _BEGUN, len(_OPEN))
        self._say(block, block.take(len(block.waiting) - held), out)

    def _parse(self, written: str) -> ToolCall | None:
        """The call, still without an id; None for what is none."""
        try:
            call = _decode(written)
            arguments = bytes(call.arguments).decode()
            if arguments.startswith('"'):
                arguments = text_of(arguments.encode())
                msgspec.json.decode(arguments)
        except (msgspec.MsgspecError, UnicodeError):
            return None
        if call.name not in self._names or not arguments.startswith("{"):
            return None
        return ToolCall("", call.name, arguments)

    def _call(self, call: ToolCall, out: list[Event]) -> None:
        index = self._numbering.fresh()
        call_id = "call_" + digest_id(f"{self._reply_id} {self._rescued}")
        self._rescued += 1
        out.append(BlockOpened(index, replace(call, id=call_id, arguments="")))
        out.append(BlockDelta(index, literal(call.arguments)))
        out.append(BlockClosed(index))

    def _say(self, block: _OpenText, text: str, out: list[Event]) -> None:
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
        self._say(block, block.take(len(block.waiting)), out)
        if block.index is None and block.pure:
            block.index = self._numbering.fresh()
            out.append(BlockOpened(block.index, block.head))
            if block.blank:
                out.append(BlockDelta(block.index, literal(block.blank)))
        self._end_text(block, out)


class _OpenText:
    """A text block of the upstream, and the one it feeds at the moment, if that has been opened."""

    __slots__ = ("blank", "fenced", "head", "index", "pure", "waiting")

    def __init__(self, head: Text) -> None:
        self.head = head
        self.index: int | None = None
        self.waiting = ""  # may be the beginning of a mark or of a call
        self.blank = ""  # white space before the first character of the next block
        self.fenced = False
        self.pure = True  # no call was found in it

    def take(self, length: int) -> str:
        taken, self.waiting = self.waiting[:length], self.waiting[length:]
        return taken

    def may_be_call(self) -> bool:
        """Whether what follows the tag is, or may become, an object."""
        rest = self.waiting[len(_OPEN) :].lstrip()
        return not rest or rest.startswith("{")
