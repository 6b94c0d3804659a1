"""Restores the declared name, namespace and kind of tools in replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from app.adaptation.tools.custom_input import InputReader
from app.adaptation.tools.property_names import ArgumentsReader
from app.conversation.blocks import ToolCall, ToolKind
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Event
from app.conversation.literals import EMPTY, literal, text_of


class Original(msgspec.Struct, frozen=True):
    """The tool that a function stands for. `wrapped`: its input travels as the one string argument. `properties` are
    those that have another name there, by that name."""

    name: str
    namespace: str | None = None
    kind: ToolKind = "function"
    wrapped: bool = False
    properties: dict[str, str] = {}


class Restore:
    """`originals` by the namespace and name under which the upstream knows the tools; others pass as they are."""

    def __init__(self, originals: Mapping[tuple[str | None, str], Original]) -> None:
        self._originals = originals
        self._readers: dict[int, InputReader] = {}
        self._collected: dict[int, ArgumentsReader] = {}

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        if not (self._readers or self._collected):
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
                case BlockDelta() if event.index in self._collected:
                    self._collected[event.index].feed(text_of(event.text))
                case BlockClosed() if event.index in self._collected:
                    _say(out, event.index, literal(self._collected.pop(event.index).close()))
                    out.append(event)
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
        elif original.properties:
            self._collected[index] = ArgumentsReader(original.properties)
        return replace(call, name=original.name, namespace=original.namespace, kind=original.kind)


def _say(out: list[Event], index: int, text: bytes | None) -> None:
    if text is not None and text != EMPTY:
        out.append(BlockDelta(index, text))
