"""Restores the declared name, namespace and kind of tools in replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from app.adaptation.tools.custom_input import InputReader
from app.conversation.blocks import ToolCall, ToolKind
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Event
from app.conversation.literals import EMPTY, text_of


class Original(msgspec.Struct, frozen=True):
    """The tool that a function stands for. `wrapped`: its input travels as the one string argument."""

    name: str
    namespace: str | None = None
    kind: ToolKind = "function"
    wrapped: bool = False


class Restore:
    """`originals` by the namespace and name under which the upstream knows the tools; others pass as they are."""

    def __init__(self, originals: Mapping[tuple[str | None, str], Original]) -> None:
        self._originals = originals
        self._readers: dict[int, InputReader] = {}

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        if not self._readers:
            for event in events:
                if type(event) is BlockOpened:
                    break
            else:
                return events
        out: list[Event] = []
        for event in events:
            match event:
                case BlockDelta() if event.index in self._readers:
                    _say(out, event.index, self._readers[event.index].feed(text_of(event.text)))
                case BlockOpened(block=ToolCall() as call):
                    out.append(BlockOpened(event.index, self._restore_call(event.index, call)))
                case BlockClosed() if event.index in self._readers:
                    _say(out, event.index, self._readers.pop(event.index).close())
                    out.append(event)
                case _:
                    out.append(event)
        return out

    def _restore_call(self, index: int, call: ToolCall) -> ToolCall:
        original = self._originals.get((call.namespace, call.name))
        if original is None:
            return call
        if original.wrapped:
            self._readers[index] = InputReader()
        return replace(call, name=original.name, namespace=original.namespace, kind=original.kind)


def _say(out: list[Event], index: int, text: bytes | None) -> None:
    if text is not None and text != EMPTY:
        out.append(BlockDelta(index, text))
