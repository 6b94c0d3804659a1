"""Parses input items into turns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import attrgetter

import msgspec

from app.conversation.blocks import (
    Block,
    Opaque,
    Text,
    ToolCall,
    ToolResult,
)
from app.conversation.request import Extension, Role, Tool, Turn
from app.dialects.foreign.marks import BESIDE_CONTENT, UNTOLD, WHY_UNTOLD
from app.dialects.json_bodies import read_value
from app.dialects.openai_responses.items.content import (
    parse_content,
    parse_part,
)
from app.dialects.openai_responses.items.items import parse_item
from app.dialects.openai_responses.items.tools import parse_tools
from app.dialects.openai_responses.vocabulary import (
    COMPACTION_TRIGGER,
    NAME,
    NATIVE_CALLS,
    NULL,
    Format,
    Item,
    ReasoningField,
    TextSettings,
    item_decoder,
)
from app.errors import InvalidRequest

_NAMELESS = "unnamed_tool"
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
# The types of items that only a model can have made. Any other unknown item was not the model's own, and its content
# must never become the model's words.
_MODELS_ITEM = re.compile(r".{1,100}_call|mcp_approval_request|item_reference|program")

_LOOSE_PARTS = ("input_text", "input_image", "input_file", "text", "image_url")

# Items that become blocks without a field for their id.
_NEW_IDS = (
    None,
    "message",
    "function_call",
    "function_call_output",
    *(item_type for call, _, output in NATIVE_CALLS.values() for item_type in (call, output)),
)

_beside = attrgetter(*BESIDE_CONTENT, *UNTOLD)
_NOTHING = (NULL,) * (len(BESIDE_CONTENT) + len(UNTOLD))

_input_decoder = msgspec.json.Decoder(str | list[msgspec.Raw] | None)
_reasoning_decoder = msgspec.json.Decoder(ReasoningField | None)
_text_decoder = msgspec.json.Decoder(TextSettings | None)


class Input:
    """The content of an input's items.

    `instructions` are the system texts before anything else, `tools` those that came in items, `format` the last output
    format set by an item, `compact` whether the input ends by requesting a compaction, `extensions` what is not
    carried. Adjacent assistant items form one turn; tool results begin a turn, to which the user's following words
    belong.
    """

    def __init__(self, raw: msgspec.Raw) -> None:
        """Parses `raw`. Raises InvalidRequest."""
        self.instructions: list[Text] = []
        self.tools: list[Tool] = []
        self.format: Format | None = None
        self.compact = False
        self.extensions: list[Extension] = []
        self._drafts: list[_Draft] = []
        ids: list[str] = []
        items = read_value(raw, _input_decoder, "input")
        if isinstance(items, str):
            self._drafts.append(_Draft("user", [Text(items)], "input"))
            return
        if items and read_value(items[-1], item_decoder, f"input[{len(items) - 1}]").type == COMPACTION_TRIGGER:
            self.compact = True
            items = items[:-1]
        for index, item in enumerate(items or ()):
            path = f"input[{index}]"
            wire = read_value(item, item_decoder, path)
            if wire.name == "":  # a past call of a server that omitted the name
                wire.name = _NAMELESS
            self._read(wire, item, path)
            if wire.id is not None and wire.type in _NEW_IDS:
                ids.append(wire.id)
        if ids:
            self.extensions.append(
                Extension(NAME, "input[].id", ids, "ignorable", "items are identified by their position")
            )

    @property
    def turns(self) -> tuple[Turn, ...]:
        return tuple(
            [Turn(draft.role, tuple(draft.blocks), effort=draft.effort, path=draft.path) for draft in self._drafts]
        )

    def join_tools(self, declared: tuple[Tool, ...]) -> tuple[Tool, ...]:
        """The declared tools, with those that came in items added. Codex resends the results of its tool searches with
        each turn."""
        known = {(tool.namespace, tool.name) for tool in declared} if self.tools else ()
        found: dict[tuple[str | None, str], Tool] = {}
        for tool in self.tools:
            if (name := (tool.namespace, tool.name)) not in known:
                found.setdefault(name, tool)
        return (*declared, *found.values()) if found else declared

    def _read(self, item: Item, raw: msgspec.Raw, path: str) -> None:
        kind = item.type
        if kind is None and item.role is None and item.id is None:
            raise InvalidRequest(f"{path}.type: an item needs a type, a message at least a role", param=f"{path}.type")
        if kind == "message" or (kind is None and item.role is not None):
            self._read_message(item, raw, path)
        elif kind == "additional_tools":
            self.tools.extend(parse_tools(item.tools, f"{path}.tools"))
            self.extensions.append(
                Extension(NAME, path, {"type": kind, "role": item.role}, "ignorable", "its tools join the others")
            )
        elif kind == "configuration_update":
            self._update_configuration(item, path)
        elif kind in _LOOSE_PARTS:  # without the message around it
            self._add("user", [parse_part(raw, path)], path)
        else:
            blocks = parse_item(item, raw, path)
            if item.caller is not NULL or item.asynchronous is not NULL:
                blocks = [_note_caller(blocks[0], item), *blocks[1:]]
            if isinstance(blocks[0], ToolResult):
                self._add_result(blocks[0], path)
                if kind == "tool_search_output":
                    self.tools.extend(parse_tools(item.tools, f"{path}.tools"))
            else:
                first = blocks[0]
                is_foreign = isinstance(first, Opaque) and kind is not None and _MODELS_ITEM.fullmatch(kind) is None
                self._add("user" if is_foreign else "assistant", blocks, path)

    def _read_message(self, item: Item, raw: msgspec.Raw, path: str) -> None:
        if _beside(item) != _NOTHING or (item.text is not NULL and item.content is NULL):
            self._note_beside(item, path)
        role = _ROLES.get(item.role or "")
        if role is None:
            raise InvalidRequest(f"{path}.role: must be one of {', '.join(_ROLES)}", param=f"{path}.role")
        if role == "assistant":
            self._add(role, parse_item(item, raw, path), path)
            return
        blocks = parse_content(item.content, f"{path}.content")
        if role == "system" and not self._drafts and all(isinstance(block, Text) for block in blocks):
            self.instructions.extend(block for block in blocks if isinstance(block, Text))
        else:
            self._add(role, blocks, path)

    def _note_beside(self, item: Item, path: str) -> None:
        for name in UNTOLD:
            if bytes(getattr(item, name)) not in (b"null", b"[]"):
                self.extensions.append(Extension(NAME, f"{path}.{name}", None, "degrading", WHY_UNTOLD))
            setattr(item, name, NULL)
        if _beside(item) != _NOTHING or (item.text is not NULL and item.content is NULL):
            raise InvalidRequest(f"{path}: put everything that the message says into its content", param=path)

    def _update_configuration(self, item: Item, path: str) -> None:
        reasoning = read_value(item.reasoning, _reasoning_decoder, f"{path}.reasoning")
        text = read_value(item.text, _text_decoder, f"{path}.text")
        if text is not None and text.format is not None:
            self.format = text.format
        if reasoning is not None and reasoning.effort is not None:
            self._drafts.append(_Draft("system", [], path, reasoning.effort))

    def _add(self, role: Role, blocks: Sequence[Block], path: str) -> None:
        last = self._drafts[-1] if self._drafts else None
        joins = last is not None and last.role == role and (role == "assistant" or last.has_results)
        if last is not None and joins:
            last.blocks.extend(blocks)
        else:
            self._drafts.append(_Draft(role, list(blocks), path))

    def _add_result(self, result: ToolResult, path: str) -> None:
        last = self._drafts[-1] if self._drafts else None
        if last is None or last.role != "user":
            last = _Draft("user", [], path)
            self._drafts.append(last)
        last.add_result(result)


def _note_caller(block: Block, item: Item) -> Block:
    """A call or a result with who made the call, and whether anybody waits for it, which only this dialect tells."""
    if not isinstance(block, ToolCall | ToolResult):
        return block
    told = {name: raw for name, raw in (("caller", item.caller), ("async", item.asynchronous)) if raw is not NULL}
    return msgspec.structs.replace(block, extensions=told)


class _Draft:
    """A turn that may still grow."""

    __slots__ = ("_results", "blocks", "effort", "path", "role")

    def __init__(self, role: Role, blocks: list[Block], path: str, effort: str | None = None) -> None:
        self.role: Role = role
        self.blocks = blocks
        self.path = path
        self.effort = effort
        self._results = 0

    @property
    def has_results(self) -> bool:
        return self._results > 0

    def add_result(self, result: ToolResult) -> None:
        """Adds a result after the existing results, before anything else."""
        self.blocks.insert(self._results, result)
        self._results += 1
