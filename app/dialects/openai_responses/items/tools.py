"""Parses and renders tools and the tool choice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal, assert_never, cast

import msgspec

from app.conversation.losses import Loss
from app.conversation.repeated_tools import derive
from app.conversation.request import CustomTool, FunctionTool, NativeTool, Request, Tool, ToolChoice
from app.dialects.foreign.tools import dated_tool, is_dated, is_hosted, nested_tool, untyped_tool
from app.dialects.json_bodies import encode_body, read_value
from app.dialects.openai_responses.vocabulary import NAME, WireChoice, WireTool
from app.errors import InvalidRequest
from app.json_values import list_decoder, object_decoder

# The description of a namespace is stored in its first member.
_GROUP_DESCRIPTION = "namespace_description"
_EXTENSIONS = ("output_schema", "allowed_callers", "async")
_EMPTY_SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}

_tools_decoder = msgspec.json.Decoder(list[WireTool] | None)

_WIRE_MODES = {"auto": "auto", "any": "required", "none": "none"}
# The inverse, and what Messages has in a choice that is an object.
_MODES: dict[str, Literal["auto", "any", "none"]] = {"auto": "auto", "required": "any", "none": "none", "any": "any"}
# Types of tools that have their own name.
_NAMED = ("function", "custom")


def parse_tools(raw: msgspec.Raw, path: str) -> list[Tool]:
    """Tools in order, with those of a namespace listed individually. Raises InvalidRequest."""
    tools: list[Tool] = []
    wire = read_value(raw, _tools_decoder, path) or []
    definitions = list_decoder.decode(raw) if wire else []
    for index, tool in enumerate(wire):
        where = f"{path}[{index}]"
        if tool.type is None or (tool.name is None and tool.type in _NAMED) or is_dated(tool.type):
            definition = object_decoder.decode(definitions[index])
            if (native := dated_tool(definition)) is not None:
                tools.append(native)
                continue
            tool = _read_foreign(tool, definition)
        elif tool.type == "custom" and b'"input_schema"' in bytes(definitions[index]):
            tool = _read_foreign(tool, object_decoder.decode(definitions[index]))
        match tool.type:
            case "function" | "custom":
                tools.append(_parse_member(tool, where))
            case "namespace":
                members = [
                    _parse_member(member, f"{where}.tools[{number}]", _name_of(tool, where))
                    for number, member in enumerate(tool.tools or ())
                ]
                tools.extend(_describe_group(members, tool.description))
            case None:
                raise InvalidRequest(f"{where}.type: a tool needs a type", param=f"{where}.type")
            case _:
                tools.append(_parse_native(tool, object_decoder.decode(definitions[index])))
    return tools


def _read_foreign(tool: WireTool, definition: dict[str, Any]) -> WireTool:
    """A tool in another dialect's shape, converted to this one; otherwise the tool itself."""
    flat = nested_tool(definition) or untyped_tool(definition)
    if flat is None:
        return tool
    try:
        return msgspec.convert(flat, WireTool)
    except msgspec.ValidationError:
        return tool


def write_tools(request: Request, losses: list[Loss]) -> msgspec.Raw | None:
    """The list of tools as JSON; None for an empty one."""
    tools, own = request.tools, request.dialect == NAME
    written, lost = derive(tools, (write_tools, own), None, lambda: _write_all(tools, own))
    losses += lost
    return msgspec.Raw(written) if written else None


def _write_all(tools: Sequence[Tool], own: bool) -> tuple[bytes, Sequence[Loss]]:
    losses: list[Loss] = []
    rendered = render_tools(tools, losses, own=own)
    return encode_body(rendered) if rendered else b"", losses


def render_tools(tools: Sequence[Tool], losses: list[Loss], *, own: bool) -> list[Any]:
    """Tools as this dialect declares them; `own` if its client did.

    Here strictness is the default if the schema allows it; in other dialects the default is the opposite, so for their
    clients it is set explicitly.
    """
    rendered: list[Any] = []
    for namespace, group in groupby(tools, key=attrgetter("namespace")):
        members = [tool for tool in group if not isinstance(tool, NativeTool) or _is_ours(tool, losses)]
        shapes = [_render_tool(tool, own) for tool in members]
        if namespace is None:
            rendered.extend(shapes)
        else:
            description = _group_description(members)
            rendered.append({"type": "namespace", "name": namespace, "description": description, "tools": shapes})
    return rendered


def parse_tool_choice(choice: str | WireChoice | None) -> ToolChoice | None:
    """The tool choice. Raises InvalidRequest for a mode that does not exist."""
    if choice is None:
        return None
    if isinstance(choice, str):
        return ToolChoice(_parse_mode(choice, "tool_choice"))
    if choice.type == "allowed_tools":
        if choice.tools is None:
            raise InvalidRequest("tool_choice.tools: a list of tools is required", param="tool_choice.tools")
        mode = _parse_mode(choice.mode or "auto", "tool_choice.mode")
        if not choice.tools and mode == "any":
            raise InvalidRequest("tool_choice.tools: a call is required, but no tool is allowed", param="tool_choice")
        names = tuple(_chosen(tool) for tool in choice.tools)
        return ToolChoice(mode if names else "none", names)
    if choice.name is None and choice.type in _MODES:
        return ToolChoice(_MODES[choice.type])
    return ToolChoice("tool", (_chosen(choice),))


def render_tool_choice(choice: ToolChoice, tools: Sequence[Tool]) -> str | dict[str, Any]:
    if choice.mode == "tool":
        return _render_chosen(choice.names[0], tools)
    mode = _WIRE_MODES[choice.mode]
    if not choice.names:
        return mode
    return {"type": "allowed_tools", "mode": mode, "tools": [_render_chosen(name, tools) for name in choice.names]}


def _parse_member(tool: WireTool, path: str, namespace: str | None = None) -> FunctionTool | CustomTool:
    name, deferred = _name_of(tool, path), bool(tool.defer_loading)
    more = {"output_schema": tool.output_schema, "allowed_callers": tool.allowed_callers, "async": tool.is_async}
    extensions = {name: value for name, value in more.items() if value is not None}
    if tool.type == "custom":
        grammar = tool.format
        rules = (grammar.syntax or "", grammar.definition or "") if grammar and grammar.type == "grammar" else None
        return CustomTool(name, tool.description, rules, namespace, deferred, extensions)
    return FunctionTool(name, tool.description, tool.schema, tool.strict, namespace, deferred, extensions=extensions)


def _parse_native(tool: WireTool, definition: dict[str, Any]) -> NativeTool:
    kind = cast(str, tool.type)
    label = definition.get("server_label")
    name = tool.name or (label if isinstance(label, str) and label else kind)
    return NativeTool(NAME, kind, name, definition, is_hosted(kind, definition))


def _describe_group(members: list[FunctionTool | CustomTool], description: str | None) -> list[Tool]:
    if not members or description is None:
        return list(members)
    first, *others = members
    extensions = {**first.extensions, _GROUP_DESCRIPTION: description}
    return [msgspec.structs.replace(first, extensions=extensions), *others]


def _group_description(members: Sequence[Tool]) -> str:
    for tool in members:
        if not isinstance(tool, NativeTool) and _GROUP_DESCRIPTION in tool.extensions:
            return cast(str, tool.extensions[_GROUP_DESCRIPTION])
    return ""


def _name_of(tool: WireTool, path: str) -> str:
    if not tool.name:
        raise InvalidRequest(f"{path}.name: a {tool.type} tool needs a name", param=f"{path}.name")
    return tool.name


def _is_ours(tool: NativeTool, losses: list[Loss]) -> bool:
    if tool.dialect != NAME:
        losses.append(Loss("degrading", "tools", f"the tool {tool.type!r} does not exist in this dialect"))
    return tool.dialect == NAME


def _render_tool(tool: Tool, own: bool) -> dict[str, Any]:
    match tool:
        case NativeTool():
            return tool.definition
        case CustomTool():
            shape: dict[str, Any] = {"type": "custom", "name": tool.name}
            if tool.description is not None:
                shape["description"] = tool.description
            if tool.grammar is not None:
                syntax, definition = tool.grammar
                shape["format"] = {"type": "grammar", "syntax": syntax, "definition": definition}
        case FunctionTool():
            shape = {"type": "function", "name": tool.name}
            if tool.description is not None:
                shape["description"] = tool.description
            shape["parameters"] = tool.schema if tool.schema is not None or own else _EMPTY_SCHEMA
            if tool.strict is not None or not own:
                shape["strict"] = bool(tool.strict)
        case _:
            assert_never(tool)
    shape.update({name: tool.extensions[name] for name in _EXTENSIONS if name in tool.extensions})
    if tool.deferred:
        shape["defer_loading"] = True
    return shape


def _parse_mode(mode: str, path: str) -> Literal["auto", "any", "none"]:
    if mode not in _WIRE_MODES.values():
        raise InvalidRequest(f"{path}: must be one of {', '.join(_WIRE_MODES.values())} or an object", param=path)
    return _MODES[mode]


def _chosen(choice: WireChoice) -> tuple[str | None, str]:
    if choice.type == "mcp":
        return (choice.server_label, choice.name) if choice.name else (None, choice.server_label or "mcp")
    name = choice.name or (choice.function or {}).get("name")
    if name is None and choice.type in (*_NAMED, "tool"):
        raise InvalidRequest("tool_choice.name: the name of a tool is required", param="tool_choice.name")
    return choice.namespace, name or choice.type


def _render_chosen(chosen: tuple[str | None, str], tools: Sequence[Tool]) -> dict[str, Any]:
    namespace, name = chosen
    for tool in tools:
        match tool:
            case NativeTool(type="mcp") if tool.name in chosen:
                inner = {"name": name} if tool.name == namespace else {}
                return {"type": "mcp", "server_label": tool.name, **inner}
            case NativeTool() if name in (tool.name, tool.type):
                return {"type": tool.type}
            case CustomTool() if tool.name == name and tool.namespace == namespace:
                return {"type": "custom", "name": name}
    return {"type": "function", "name": name, **({"namespace": namespace} if namespace else {})}
