"""Translates declared tools, and past calls to them, into kinds and names that the upstream knows."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, assert_never

import msgspec
from msgspec.structs import replace

from app.adaptation.notes import Notes
from app.adaptation.tools.native_tools import as_equivalent, as_function, is_taken, loss_of
from app.adaptation.tools.property_names import legalize, rename_properties
from app.adaptation.tools.tool_names import VENDORS, Key, name_tools
from app.adaptation.tools.tool_restoration import Original, Restore
from app.conversation.blocks import Block, Opaque, Text, ToolCall, ToolKind, ToolResult
from app.conversation.capabilities import Capabilities
from app.conversation.losses import Loss
from app.conversation.repeated_tools import derive, is_repeated, keep_beside
from app.conversation.request import CustomTool, FunctionTool, NativeTool, Request, Tool, ToolChoice, Turn
from app.conversation.schemas import MAX_INLINED, MAX_INLINED_IN_ALL, is_openai_strict, sanitize, to_anthropic_subset
from app.conversation.streams.custom_input import INPUT_SCHEMA, wrap_input
from app.errors import InvalidRequest

# Types of vendor tools whose calls have their own kind.
_KINDS: dict[str, ToolKind] = {
    "tool_search": "tool_search",
    "local_shell": "local_shell",
    "shell": "shell",
    "apply_patch": "apply_patch",
}


# Maximum characters of the list of omitted tools.
_MAX_NAMED = 500


class _Declared(NamedTuple):
    """The `tools` in the upstream's terms. `own` are the client's own that they stand for, `keys` those of all that the
    client declared; `names` are the upstream's names of all that is declared or called."""

    tools: tuple[Tool, ...]
    own: Sequence[Tool]
    keys: set[Key]
    names: Mapping[Key, str]
    originals: Mapping[Key, Original]
    properties: Mapping[Key, Mapping[str, str]]
    losses: Sequence[Loss]


def adapt_tools(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    """The request with tools, calls and choice in the upstream's terms; the stage `Restore` converts its calls back."""
    calls = [block for turn in request.turns for block in turn.blocks if type(block) is ToolCall]
    if not request.tools and not calls:
        return request
    declared = _find_declared(request, calls, capabilities)
    notes.losses += declared.losses
    if declared.originals:
        notes.on_reply(partial(Restore, declared.originals))
    turns = request.turns
    if declared.properties or not _are_plain(turns, declared.names):
        turns = tuple(_rename_calls(turn, declared, capabilities) for turn in turns)
    _check_demand(request.tool_choice, declared, notes)
    choice = _rename_choice(request.tool_choice, declared, capabilities)
    return replace(request, tools=declared.tools, tool_choice=choice, turns=turns)


def _find_declared(request: Request, calls: Sequence[ToolCall], capabilities: Capabilities) -> _Declared:
    """The declared tools, which do not depend on the calls where these call nothing else, and all tools fit."""
    tools, limit = request.tools, capabilities.tools_limit
    foreign = request.dialect != capabilities.dialect
    if is_repeated(tools) and (limit is None or len(tools) <= limit):
        declared = derive(tools, (_declare_all, foreign), capabilities, lambda: _declare_all(request, (), capabilities))
        if declared.keys >= {(call.namespace, call.name) for call in calls}:
            keep_beside(tools, declared.tools)
            return declared
    return _declare_all(request, calls, capabilities)


def _declare_all(request: Request, calls: Sequence[ToolCall], capabilities: Capabilities) -> _Declared:
    notes = Notes()
    declared = _without_repeats(request.tools, notes)
    if not capabilities.tools and declared:
        notes.lose("wrong", "tools", "this upstream accepts no tools")
        declared = []
    own = {_key_of(tool) for tool in declared}
    called = [_key_of_call(call, own) for call in calls]
    wanted = {*called, *(request.tool_choice.names if request.tool_choice else ())}
    declared = _within_limit(declared, wanted, capabilities, notes)
    notes.room = min(MAX_INLINED, MAX_INLINED_IN_ALL // max(1, len(declared)))
    twins = {_key_of(tool): _find_twin(tool, capabilities, notes) for tool in declared if isinstance(tool, NativeTool)}
    names = _name_all(declared, called, twins, capabilities)
    tools: list[Tool] = []
    originals: dict[Key, Original] = {}
    properties: dict[Key, dict[str, str]] = {}
    for tool in declared:
        key = _key_of(tool)
        if request.dialect != capabilities.dialect:
            tool = _without_extensions(tool, notes)
        plain = _declare(tool, twins.get(key), names[key], capabilities, notes)
        if plain is None:
            continue
        original = _original_of(tool, plain)
        if isinstance(plain, FunctionTool) and plain.schema and capabilities.plain_properties:
            schema, meant = legalize(plain.schema)
            if meant:
                plain = replace(plain, schema=schema)
                original = replace(original or Original(plain.name, plain.namespace), properties=meant)
                properties[key] = {name: fit for fit, name in meant.items()}
        tools.append(plain)
        if original is not None:
            originals[plain.namespace, plain.name] = original
    return _Declared(tuple(tools), declared, own, names, originals, properties, notes.losses)


def _name_all(
    declared: Sequence[Tool], called: Sequence[Key], twins: Mapping[Key, Tool | None], capabilities: Capabilities
) -> dict[Key, str]:
    """The upstream's name for each tool that is declared or called. A vendor's own tool keeps its name."""
    own = {key: twin for key, twin in twins.items() if isinstance(twin, NativeTool)}
    keys = [key for tool in declared if (key := _key_of(tool)) not in own]
    fixed = [name for twin in own.values() if (name := _fixed_name(twin))]
    limit, keeps = capabilities.tool_name_limit, capabilities.namespaces
    names = name_tools([*keys, *called], limit, keep_namespaces=keeps, fixed=fixed)
    return names | {key: twin.name for key, twin in own.items()}


def _check_demand(choice: ToolChoice | None, declared: _Declared, notes: Notes) -> None:
    """Refuses a demand for a call if none of the tools could be carried: no answer could meet it."""
    if declared.own and not declared.tools and choice is not None and choice.mode in ("any", "tool"):
        names = ", ".join(tool.name for tool in declared.own)
        notes.lose("wrong", "tool_choice", f"it demands a call of tools that the upstream does not have: {names}")


def _without_repeats(tools: Sequence[Tool], notes: Notes) -> list[Tool]:
    """Each tool once, at its first place: a tool search may find the same tools again."""
    first: dict[Key, Tool] = {}
    for tool in tools:
        if first.setdefault(_key_of(tool), tool) != tool:
            notes.lose("degrading", _path_of(tool), "another tool has this name")
    return list(first.values())


def _within_limit(
    declared: list[Tool], wanted: Collection[Key], capabilities: Capabilities, notes: Notes
) -> list[Tool]:
    """At most as many tools as the upstream accepts: those called or chosen, and the first of the others."""
    limit = capabilities.tools_limit
    if limit is None or len(declared) <= limit:
        return declared
    ranked = sorted(declared, key=lambda tool: _key_of(tool) not in wanted)
    kept = {_key_of(tool) for tool in ranked[:limit]}
    left_out = ", ".join(_path_of(tool).removeprefix("tools.") for tool in declared if _key_of(tool) not in kept)
    notes.lose("degrading", "tools", f"the upstream accepts {limit} tools; left out: {left_out[:_MAX_NAMED]}")
    return [tool for tool in declared if _key_of(tool) in kept]


def _without_extensions(tool: Tool, notes: Notes) -> Tool:
    """The tool without fields that only the client's dialect knows."""
    if not isinstance(tool, FunctionTool) or not tool.extensions:
        return tool
    for name in tool.extensions:
        notes.lose("ignorable", f"{_path_of(tool)}.{name}", "only the client's own dialect has this tool field")
    return replace(tool, extensions={})


def _key_of(tool: Tool) -> Key:
    """The unique key of a tool: a client's function may have the same name as a vendor's tool."""
    return (VENDORS, tool.name) if isinstance(tool, NativeTool) else (tool.namespace, tool.name)


def _key_of_call(call: ToolCall, declared: Collection[Key]) -> Key:
    """The key of the called tool. Calls of some vendor tools look like function calls."""
    key, vendors = (call.namespace, call.name), (VENDORS, call.name)
    native = call.kind not in ("function", "custom") or key not in declared
    return vendors if native and vendors in declared else key


def _fixed_name(tool: NativeTool) -> str | None:
    """The name that the vendor fixes for its own tool; None if it fixes none."""
    name = tool.definition.get("name")
    return name if isinstance(name, str) else None


def _path_of(tool: Tool) -> str:
    return f"tools.{tool.name or tool.type}" if isinstance(tool, NativeTool) else f"tools.{tool.name}"


def _declare(
    tool: Tool, twin: NativeTool | FunctionTool | None, name: str, capabilities: Capabilities, notes: Notes
) -> Tool | None:
    """The tool in the upstream's terms, under that name; a vendor's own tool becomes its `twin`, if it has one."""
    match tool:
        case NativeTool():
            if not isinstance(twin, FunctionTool):
                return twin
            function = replace(twin, name=name)
        case FunctionTool():
            function = replace(tool, name=name, namespace=tool.namespace if capabilities.namespaces else None)
        case CustomTool():
            namespace = tool.namespace if capabilities.namespaces else None
            if capabilities.custom_tools:
                deferred = tool.deferred and capabilities.deferred_tools
                return replace(tool, name=name, namespace=namespace, deferred=deferred)
            if tool.grammar is not None:
                notes.lose("degrading", _path_of(tool), "its grammar is given only in the description")
            function = FunctionTool(name, _describe_custom(tool), INPUT_SCHEMA, namespace=namespace)
        case _:
            assert_never(tool)
    return _declare_function(function, _path_of(tool), capabilities, notes)


def _declare_function(tool: FunctionTool, path: str, capabilities: Capabilities, notes: Notes) -> FunctionTool:
    try:
        schema, strict, lost = _fit_schema(tool, capabilities, notes.room)
    except RecursionError as error:
        raise InvalidRequest("the schema is nested too deeply", param=path) from error
    for why in dict.fromkeys(lost):
        notes.lose("degrading", path, why)
    description = tool.description
    if tool.examples:
        examples = [json.dumps(example, ensure_ascii=False) for example in tool.examples]
        description = "\n".join(filter(None, (description, "Examples of its input:", *examples)))
        notes.lose("ignorable", path, "its examples are given only in the description")
    maximum = capabilities.description_limit
    if maximum is not None and description is not None and len(description) > maximum:
        description = description[:maximum]
        notes.lose("degrading", path, "its description is truncated")
    return replace(
        tool,
        description=description,
        schema=schema,
        strict=strict,
        deferred=tool.deferred and capabilities.deferred_tools,
        examples=(),
    )


def _fit_schema(
    tool: FunctionTool, capabilities: Capabilities, room: int
) -> tuple[dict[str, Any], bool | None, tuple[str, ...]]:
    """The schema for the upstream, its `strict` setting, and what was lost."""
    schema, lost = sanitize(tool.schema, capabilities.schema, room)
    if not tool.strict or not capabilities.strict_tools:
        if tool.strict:
            lost += ("the upstream does not enforce schemas",)
        explicit = capabilities.strict_tools and (capabilities.strict_explicit or tool.strict is not None)
        return schema, False if explicit else None, lost
    if capabilities.schema == "anthropic":
        schema, moved = to_anthropic_subset(schema)
        return schema, True, lost + moved
    if is_openai_strict(schema):
        return schema, True, lost
    return schema, False, (*lost, "the upstream cannot enforce this schema strictly")


def _describe_custom(tool: CustomTool) -> str:
    hint = "The string `input` is free text."
    if tool.grammar is not None:
        syntax, definition = tool.grammar
        hint = f"The string `input` is free text that follows this {syntax} grammar:\n{definition}"
    return "\n\n".join(filter(None, (tool.description, hint)))


def _find_twin(tool: NativeTool, capabilities: Capabilities, notes: Notes) -> NativeTool | FunctionTool | None:
    """The upstream's form of a vendor's tool: itself, a function, or an equivalent tool; None if there is none."""
    if is_taken(tool, capabilities):
        return tool
    function = as_function(tool)
    if function is not None:
        return function
    equivalent = as_equivalent(tool, capabilities)
    if equivalent is None:
        notes.lose(loss_of(tool), _path_of(tool), f"the upstream has no tool {tool.type}")
        return None
    for option in equivalent[1]:
        notes.lose("degrading", f"{_path_of(tool)}.{option}", "the upstream's own tool does not have this option")
    return equivalent[0]


def _original_of(tool: Tool, plain: Tool) -> Original | None:
    """What a call of the plain tool must be converted back into; None if it is the same."""
    if isinstance(plain, NativeTool):
        return None
    match tool:
        case FunctionTool():
            original = Original(tool.name, tool.namespace)
        case CustomTool():
            original = Original(tool.name, tool.namespace, "custom", wrapped=isinstance(plain, FunctionTool))
        case NativeTool():
            original = Original(tool.name, None, _KINDS.get(tool.type, "function"))
        case _:
            assert_never(tool)
    kind: ToolKind = "custom" if isinstance(plain, CustomTool) else "function"
    return None if original == Original(plain.name, plain.namespace, kind) else original


def _rename_choice(choice: ToolChoice | None, declared: _Declared, capabilities: Capabilities) -> ToolChoice | None:
    """The choice by the upstream's names. Vendors' own tools may also be chosen by type."""
    if choice is None or not choice.names:
        return choice
    renamed, names = [], declared.names
    for namespace, name in choice.names:
        key = (namespace, name)
        if key not in names:
            alike = (tool for tool in declared.own if isinstance(tool, NativeTool) and _is_called(tool, name))
            key = next((_key_of(tool) for tool in alike), key)
        renamed.append((namespace if capabilities.namespaces else None, names.get(key, name)))
    return replace(choice, names=tuple(renamed))


def _is_called(tool: NativeTool, name: str) -> bool:
    return name == tool.name or tool.type.startswith(name) or name.startswith(tool.type)


def _are_plain(turns: Sequence[Turn], names: Mapping[Key, str]) -> bool:
    """Whether past calls can stay unchanged, the usual case: functions with legal names."""
    if [key for key, name in names.items() if key != (None, name) and key[0] != VENDORS]:
        return False
    for turn in turns:
        for block in turn.blocks:
            if type(block) is ToolCall and block.kind != "function":
                return False
            if type(block) is ToolResult and (block.kind != "function" or Opaque in map(type, block.blocks)):
                return False
    return True


def _rename_calls(turn: Turn, declared: _Declared, capabilities: Capabilities) -> Turn:
    return replace(turn, blocks=tuple(_rename_block(block, declared, capabilities) for block in turn.blocks))


def _rename_block(block: Block, declared: _Declared, capabilities: Capabilities) -> Block:
    names, properties = declared.names, declared.properties
    match block:
        case ToolCall():
            kind, key = _kind_there(block.kind, capabilities), _key_of_call(block, declared.keys)
            if key in properties:
                block = replace(block, arguments=rename_properties(block.arguments, properties[key]))
            return replace(
                block,
                name=names[key],
                namespace=block.namespace if capabilities.namespaces else None,
                kind=kind,
                arguments=wrap_input(block.arguments) if block.kind == "custom" != kind else block.arguments,
            )
        case ToolResult():
            blocks = tuple(_reference_as_text(inner, names, capabilities) for inner in block.blocks)
            return replace(block, kind=_kind_there(block.kind, capabilities), blocks=blocks)
        case _:
            return block


def _kind_there(kind: ToolKind, capabilities: Capabilities) -> ToolKind:
    if kind == "function":
        return kind
    native = capabilities.custom_tools if kind == "custom" else kind in capabilities.native_tools
    return kind if native else "function"


def _reference_as_text(block: Block, names: Mapping[Key, str], capabilities: Capabilities) -> Block:
    """A reference to a deferred tool by the name that it has there, or as words: then it is declared all along."""
    if not isinstance(block, Opaque) or block.type != "tool_reference":
        return block
    reference = msgspec.json.decode(block.raw)
    name = str(reference.get("tool_name", ""))
    known = names.get((None, name), name)
    if capabilities.deferred_tools:
        return block if known == name else replace(block, raw=msgspec.json.encode({**reference, "tool_name": known}))
    return Text(f"tool {known} is now available")
