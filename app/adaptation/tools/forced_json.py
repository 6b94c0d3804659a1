"""Converts between JSON answers and tool calls where one replaces the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from app.adaptation.replies.block_numbering import Numbering
from app.adaptation.tools.tool_ids import digest_id
from app.conversation.blocks import Text, ToolCall
from app.conversation.events import BlockClosed, BlockDelta, BlockNoted, BlockOpened, Event, Finished, Started

# Text of deltas, as JSON literals: nothing but white space, and the beginning of an object.
_BLANK = re.compile(rb'"(?: |\\[nrt])*"')
_OBJECT = re.compile(rb'"(?: |\\[nrt])*\{')


class CallToText:
    """Structured output by a forced tool: the tool's call becomes the text that the client asked for.

    Arguments and text are both characters, so deltas pass unchanged. Calls of the client's own tools stay calls, and
    only they make the finish reason "tool_calls". A second call of the tool is left out: two answers are no JSON.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._silent: set[int] = set()  # open blocks of the tool without any delta yet
        self._own_calls = False
        self._turned = False
        self._left_out: set[int] = set()
        self._numbering = Numbering()

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        if not self._silent and not self._left_out and all(type(event) is BlockDelta for event in events):
            return events
        return [self._numbering.move(event) for event in self._turn(self._leave_out(events))]

    def _leave_out(self, events: Sequence[Event]) -> Iterator[Event]:
        """The events without those of further calls of the tool."""
        for event in events:
            match event:
                case BlockOpened(block=ToolCall() as call) if call.name == self._name and self._turned:
                    self._left_out.add(event.index)
                case BlockDelta() | BlockNoted() | BlockClosed() if event.index in self._left_out:
                    pass
                case _:
                    yield event

    def _turn(self, events: Iterable[Event]) -> list[Event]:
        out: list[Event] = []
        for event in events:
            match event:
                case BlockDelta():
                    self._silent.discard(event.index)
                case BlockOpened(block=ToolCall() as call) if call.name == self._name:
                    self._silent.add(event.index)
                    self._turned = True
                    event = BlockOpened(event.index, Text(call.arguments))
                case BlockOpened(block=ToolCall()):
                    self._own_calls = True
                case BlockClosed():
                    if event.index in self._silent:
                        self._silent.discard(event.index)
                        out.append(BlockDelta(event.index, b'"{}"'))
                    event = replace(event, proof=None) if event.proof else event
                case Finished("tool_calls") if self._turned and not self._own_calls:
                    event = replace(event, finish_reason="stop", raw_finish_reason=None)
                case _:
                    pass
            out.append(event)
        return out


class TextToCall:
    """A forced tool by structured output: the object that the upstream writes becomes the arguments of the call.

    Some servers ignore the form: text that begins otherwise stays text. The call's id is derived from the reply's,
    which makes it unique in the conversation.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._reply_id = ""
        self._turned = False
        self._held: list[BlockOpened | BlockDelta] = []  # a text that may become the call: its head and blanks

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        if not self._held and all(type(event) is BlockDelta for event in events):
            return events
        out: list[Event] = []
        for event in events:
            match event:
                case Started():
                    self._reply_id = event.id
                case BlockOpened(block=Text()) if not self._turned:
                    self._held = [event]
                    continue
                case BlockDelta() if self._held and _BLANK.fullmatch(event.text):
                    self._held.append(event)
                    continue
                case BlockDelta() if self._held:
                    out += self._release(turned=_OBJECT.match(event.text) is not None)
                case BlockClosed() if self._held:
                    out += self._release(turned=False)
                case Finished("stop") if self._turned:
                    event = replace(event, finish_reason="tool_calls", raw_finish_reason=None)
                case _:
                    pass
            out.append(event)
        return out

    def _release(self, *, turned: bool) -> list[BlockOpened | BlockDelta]:
        held, self._held = self._held, []
        if turned:
            self._turned = True
            call_id = "call_" + digest_id(f"{self._reply_id} {self._name}")
            held[0] = BlockOpened(held[0].index, ToolCall(call_id, self._name, ""))
        return held
