"""Parses and renders tools and the tool choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import msgspec

from app.conversation.blocks import CacheHint
from app.conversation.losses import Loss
from app.conversation.repeated_tools import derive
from app.conversation.request import CustomTool, FunctionTool, NativeTool, Request, Tool, ToolChoice
from app.dialects.anthropic_messages.content.blocks import write_cache
from app.dialects.anthropic_messages.vocabulary import CLIENT_TOOLS, NAME, NO_SCHEMA, SERVER_TOOLS
from app.dialects.foreign.tools import SCHEMAS, nested_tool, responses_tool, schema_in
from app.dialects.json_bodies import describe_fault, encode_body
from app.errors import InvalidRequest

_PLACED = {"type", "name", "description", "input_schema", "strict", "defer_loading", "input_examples", "cache_control"}


def read_tools(wires: Sequence[dict[str, Any]]) -> tuple[Tool, ...]:
    """The tools of a request. Those without a type, or of type "custom", are the client's functions; dated types are
    the vendor's."""
    return tuple([_read_tool(wire, f"tools[{index}]") for index, wire in enumerate(wires)])


def write_tools(tools: tuple[Tool, ...], losses: list[Loss], *, cached: bool, own: bool) -> msgspec.Raw | None:
    """The list of tools as JSON; None for an empty one. `own`: the request came in this dialect, so fields that only it
    knows are restored."""
    written, lost = derive(tools, (write_tools, cached, own), None, lambda: _write_all(tools, cached, own))
    losses += lost
    return msgspec.Raw(written) if written else None


def _write_all(tools: Sequence[Tool], cached: bool, own: bool) -> tuple[bytes, Sequence[Loss]]:
    written: list[Any] = []
    losses: list[Loss] = []
    for index, tool in enumerate(tools):
        match tool:
            case FunctionTool():
                written.append(_write_function(tool, cached, own))
            case NativeTool(dialect=dialect, definition=definition) if dialect == NAME:
                written.append(definition)
            case NativeTool() | CustomTool():
                losses.append(
                    Loss(
                        "degrading",
                        f"tools[{index}]",
                        f"tool {tool.name!r} is of a type that the upstream does not have",
                    )
                )
            case _:
                assert_never(tool)
    return encode_body(written) if written else b"", losses


def read_tool_choice(choice: Any) -> ToolChoice:
    """A tool choice, also in the shapes of OpenAI's dialects. Raises InvalidRequest for an unknown one."""
    match choice:
        case {"type": "auto" | "any" | "none" as mode} | ("auto" | "any" | "none" as mode):
            return ToolChoice(mode)
        case "required" | {"type": "required"}:
            return ToolChoice("any")
        case {"type": "tool" | "function" | "custom", "name": str(name)}:
            return ToolChoice("tool", ((None, name),))
        case {"type": "function", "function": {"name": str(name)}} | {"type": "custom", "custom": {"name": str(name)}}:
            return ToolChoice("tool", ((None, name),))
        case {"type": "allowed_tools", "allowed_tools": {**allowed}} | {"type": "allowed_tools", **allowed}:
            return _read_allowed(allowed)
        case _:
            raise InvalidRequest(
                "tool_choice.type must be auto, any, none, or tool with a name", param="tool_choice.type"
            )


def _read_allowed(allowed: Mapping[Any, Any]) -> ToolChoice:
    """A choice among some tools. An empty list allows none. Raises InvalidRequest for an entry that names no tool."""
    mode, tools = allowed.get("mode") or "auto", allowed.get("tools")
    if mode not in ("auto", "required") or not isinstance(tools, list):
        raise InvalidRequest("tool_choice.tools must be a list, and its mode auto or required", param="tool_choice")
    names: list[tuple[str | None, str]] = []
    for tool in tools:
        match tool:
            case {"function": {"name": str(name)}} | {"custom": {"name": str(name)}} | {"name": str(name)}:
                names.append((None, name))
            case _:
                raise InvalidRequest("tool_choice.tools: each entry must name a tool", param="tool_choice.tools")
    if names:
        return ToolChoice("any" if mode == "required" else "auto", tuple(names))
    if mode == "required":
        raise InvalidRequest("tool_choice.tools: a call is required, but no tool is allowed", param="tool_choice.tools")
    return ToolChoice("none")


def write_tool_choice(request: Request, losses: list[Loss]) -> dict[str, Any] | None:
    """`tool_choice`, which also contains the switch for parallel calls."""
    choice, serial = request.tool_choice, request.parallel_tool_calls is False
    if choice is None:
        return {"type": "auto", "disable_parallel_tool_use": True} if serial else None
    written: dict[str, Any] = {"type": choice.mode}
    if choice.mode == "tool" and choice.names:
        written["name"] = choice.names[0][1]
    elif choice.names:
        losses.append(Loss("degrading", "tool_choice", "this dialect cannot limit the choice to some of the tools"))
    if choice.mode != "none" and request.parallel_tool_calls is not None:
        written["disable_parallel_tool_use"] = serial
    return written


def _read_tool(wire: dict[str, Any], path: str) -> Tool:
    kind, name = wire.get("type") or "custom", wire.get("name")
    if not isinstance(kind, str):
        raise InvalidRequest(f"{path}.type: must be a string", param=f"{path}.type")
    if kind == "custom" or (not kind.startswith(SERVER_TOOLS + CLIENT_TOOLS) and "input_schema" in wire):
        return _read_function(_own_shape(wire), path)
    if kind == "function":
        return _read_function(_own_shape(nested_tool(wire) or wire), path)
    if (foreign := responses_tool(wire)) is not None:
        return foreign
    server = not kind.startswith(CLIENT_TOOLS)
    return NativeTool(NAME, kind, name if isinstance(name, str) else kind, wire, server)


def _own_shape(wire: dict[str, Any]) -> dict[str, Any]:
    """A function in the shape of OpenAI's dialects or of MCP, converted to this dialect's shape."""
    if "input_schema" in wire or (schema := schema_in(wire)) is None:
        return wire
    own = {name: value for name, value in wire.items() if name not in (*SCHEMAS, "type")}
    return {**own, "input_schema": schema}


def _read_function(wire: dict[str, Any], path: str) -> FunctionTool:
    name, schema, cache = wire.get("name"), wire.get("input_schema"), wire.get("cache_control")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"{path}.name: field required, as a string", param=f"{path}.name")
    if schema is not None and not isinstance(schema, dict):
        raise InvalidRequest(f"{path}.input_schema: must be an object", param=f"{path}.input_schema")
    try:
        return msgspec.convert(
            {
                "name": name,
                "description": wire.get("description"),
                "schema": schema,
                "strict": wire.get("strict"),
                "deferred": bool(wire.get("defer_loading")),
                "examples": wire.get("input_examples") or (),
                "cache": CacheHint(cache.get("ttl")) if isinstance(cache, dict) else None,
                "extensions": {key: value for key, value in wire.items() if key not in _PLACED},
            },
            FunctionTool,
        )
    except msgspec.ValidationError as error:
        what, inner = describe_fault(error)
        raise InvalidRequest(f"{path}{inner}: {what}", param=path + inner) from error


def _write_function(tool: FunctionTool, cached: bool, own: bool) -> dict[str, Any]:
    written = {
        "name": tool.name,
        "description": tool.description,
        "input_schema": tool.schema or NO_SCHEMA,
        "strict": tool.strict,
        "defer_loading": True if tool.deferred else None,
        "input_examples": list(tool.examples) or None,
        "cache_control": write_cache(tool.cache) if tool.cache and cached else None,
        **(tool.extensions if own else {}),
    }
    return {name: value for name, value in written.items() if value is not None}
