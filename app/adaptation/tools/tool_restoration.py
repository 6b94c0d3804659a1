"""Restores the declared name, namespace and kind of tools in replies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from app.adaptation.tools.property_names import rename_properties
from app.conversation.blocks import ToolCall, ToolKind
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Event
from app.conversation.literals import EMPTY, literal, text_of
from app.conversation.response import Response
from app.conversation.streams.custom_input import InputReader

# Decorations that models put around a tool's name: Kimi `functions.NAME:0`, Gemini `default_api.NAME`, gpt-oss
# `NAME<|channel|>commentary`.
_AROUND = re.compile(
    r"(?:(?:functions?|tools?|default_api|default_function)[.:/])?(.*?)(?::\d{1,4})?(?:<\|.*)?", re.DOTALL
)
_LONGEST_NAME = 256
_NO_JOINTS = str.maketrans("", "", "-_. ")


class Original(msgspec.Struct, frozen=True):
    """The client's tool that a function replaces. `wrapped`: its input is passed as the single string argument.
    `properties` maps renamed properties to their original names."""

    name: str
    namespace: str | None = None
    kind: ToolKind = "function"
    wrapped: bool = False
    properties: dict[str, str] = {}


class DeclaredNames:
    """Makes the stage that corrects the names of called tools to their declared spelling: small models change case and
    dashes, leave out the server of an MCP tool, and some add the decorations of their own templates."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        members = {name: name.rpartition("__")[2] for name in self._names if "__" in name}
        self._alike = _unique((_plain(member), name) for name, member in members.items())
        self._alike |= _unique((_plain(name), name) for name in self._names)

    def __call__(self) -> RestoreNames:
        return RestoreNames(self)

    def leaves(self, response: Response) -> bool:
        calls = (block for block in response.blocks if isinstance(block, ToolCall))
        return all(self.declared_name(call.name) == call.name for call in calls)

    def declared_name(self, name: str) -> str:
        """The declared name that is meant; unchanged if none can be identified."""
        if name in self._names or len(name) > _LONGEST_NAME:
            return name
        bare = _AROUND.fullmatch(name.strip())
        inner = bare[1] if bare is not None else name
        return inner if inner in self._names else self._alike.get(_plain(inner)) or name


class RestoreNames:
    """The stage made by `DeclaredNames`. It does not change the arguments of calls."""

    quiet = True

    def __init__(self, spelling: DeclaredNames) -> None:
        self._declared_name = spelling.declared_name

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        for event in events:
            if type(event) is BlockOpened and isinstance(event.block, ToolCall) and event.block.namespace is None:
                break
        else:
            return events
        return [self._spelt(event) if type(event) is BlockOpened else event for event in events]

    def _spelt(self, event: BlockOpened) -> BlockOpened:
        call = event.block
        if (
            not isinstance(call, ToolCall)
            or call.namespace is not None
            or (name := self._declared_name(call.name)) == call.name
        ):
            return event
        return BlockOpened(event.index, replace(call, name=name))


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The name of each key; empty if several have it, because none of them is certain."""
    names = {"": ""}
    for key, name in pairs:
        names[key] = "" if key in names else name
    return names


def _plain(name: str) -> str:
    return name.translate(_NO_JOINTS).casefold()


class Restore:
    """Restores calls of the tools in `originals`, keyed by the upstream's namespace and name; other calls pass
    unchanged."""

    def __init__(self, originals: Mapping[tuple[str | None, str], Original]) -> None:
        self._originals = originals
        self._readers: dict[int, InputReader] = {}
        # Of calls with renamed properties: their arguments so far, and the client's names.
        self._collected: dict[int, tuple[list[str], Mapping[str, str]]] = {}

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
                    _add_text(out, event.index, self._readers[event.index].feed(text_of(event.text)))
                case BlockDelta() if event.index in self._collected:
                    self._collected[event.index][0].append(text_of(event.text))
                case BlockClosed() if event.index in self._collected:
                    arguments, names = self._collected.pop(event.index)
                    _add_text(out, event.index, literal(rename_properties("".join(arguments), names)))
                    out.append(event)
                case BlockOpened(block=ToolCall() as call):
                    out.append(BlockOpened(event.index, self._restore_call(event.index, call)))
                case BlockClosed() if event.index in self._readers:
                    _add_text(out, event.index, self._readers.pop(event.index).close())
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
            self._collected[index] = [], original.properties
        return replace(call, name=original.name, namespace=original.namespace, kind=original.kind)


def _add_text(out: list[Event], index: int, text: bytes | None) -> None:
    if text is not None and text != EMPTY:
        out.append(BlockDelta(index, text))
