"""Parses and renders tools and the tool choice.

Functions and custom tools are nested as defined by the vendor, or flat as in the Responses dialect (sent by Cursor);
functions may also come as the deprecated `functions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from app.conversation.blocks import CacheHint
from app.conversation.capabilities import Capabilities
from app.conversation.losses import Loss
from app.conversation.repeated_tools import derive
from app.conversation.request import CustomTool, FunctionTool, NativeTool, Request, Tool, ToolChoice
from app.dialects.foreign.tools import SCHEMAS, dated_tool, responses_tool, schema_in
from app.dialects.json_bodies import encode_body, read_value
from app.dialects.openai_chat.messages.parts import write_cache
from app.dialects.openai_chat.vocabulary import NAME
from app.dialects.readable import readable_text
from app.errors import InvalidRequest
from app.json_values import any_decoder, list_decoder, object_decoder

_MODES: dict[str, Literal["auto", "any", "none"]] = {"auto": "auto", "none": "none", "required": "any", "any": "any"}
_MODE_NAMES = {"auto": "auto", "any": "required", "none": "none"}

# Keys of a function that the neutral model covers; others are kept for servers of this dialect.
_FUNCTION_KEYS = {"name", "description", *SCHEMAS, "strict", "type", "function", "cache_control"}


def read_tools(raw: msgspec.Raw, path: str = "tools") -> tuple[Tool, ...]:
    """The tools of a request. Raises InvalidRequest for an entry that is no tool."""
    items: list[msgspec.Raw] = read_value(raw, list_decoder, path)
    return tuple([_read_tool(item, f"{path}[{index}]") for index, item in enumerate(items)])


def read_tool_choice(raw: msgspec.Raw, path: str = "tool_choice") -> ToolChoice:
    """A tool choice. Raises InvalidRequest for an unknown one."""
    value = read_value(raw, any_decoder, path)
    match value:
        case str(mode) if mode in _MODES:
            return ToolChoice(_MODES[mode])
        case {"type": "allowed_tools", "allowed_tools": {"tools": [*tools], **rest}}:
            return _read_allowed(tools, rest.get("mode"), path)
        case {"type": "allowed_tools", "tools": [*tools]}:
            return _read_allowed(tools, value.get("mode"), path)
        case {"type": str(mode)} if mode in _MODES:
            return ToolChoice(_MODES[mode])
        case {} if names := _names([value]):
            return ToolChoice("tool", names)
        case _:
            raise InvalidRequest(
                f'{path} must be "none", "auto", "required" or an object that names a tool', param=path
            )


def _read_allowed(tools: Sequence[Any], mode: Any, path: str) -> ToolChoice:
    """A choice among some tools. An empty list allows none; an entry that names no tool raises InvalidRequest."""
    names = _names(tools, listed=True)
    if len(names) < len(tools):
        raise InvalidRequest(f"{path}.tools: each entry must name a tool", param=f"{path}.tools")
    if names:
        return ToolChoice("any" if mode == "required" else "auto", names)
    if mode == "required":
        raise InvalidRequest(f"{path}.tools: a call is required, but no tool is allowed", param=f"{path}.tools")
    return ToolChoice("none")


def write_tools(request: Request, capabilities: Capabilities, losses: list[Loss]) -> dict[str, Any]:
    """The fields `tools`, `tool_choice` and `parallel_tool_calls`; the latter two are only allowed together with
    tools."""
    own = request.dialect == NAME
    tools, lost = derive(
        request.tools, (write_tools, own), capabilities, lambda: _write_all(request.tools, capabilities, own=own)
    )
    losses += lost
    if not tools:
        return {}
    fields: dict[str, Any] = {"tools": msgspec.Raw(tools)}
    if request.tool_choice is not None:
        fields["tool_choice"] = _write_choice(request.tool_choice, request.tools)
    if request.parallel_tool_calls is not None and capabilities.parallel_switch:
        fields["parallel_tool_calls"] = request.parallel_tool_calls
    return fields


def _write_all(declared: Sequence[Tool], capabilities: Capabilities, *, own: bool) -> tuple[bytes, Sequence[Loss]]:
    """The list of tools as JSON, empty bytes for an empty list, and what was lost."""
    tools: list[Any] = []
    losses: list[Loss] = []
    for index, tool in enumerate(declared):
        match tool:
            case FunctionTool():
                tools.append(_write_function(tool, capabilities, own=own))
            case CustomTool():
                tools.append(_write_custom(tool))
            case NativeTool(dialect=dialect, type=kind, definition=definition):
                if dialect == NAME or kind in capabilities.native_tools:
                    tools.append(definition)
                else:
                    losses.append(Loss("degrading", f"tools[{index}]", f"{kind} is a tool of another vendor"))
    return encode_body(tools) if tools else b"", losses


def _read_tool(raw: msgspec.Raw, path: str) -> Tool:
    tool = read_value(raw, object_decoder, path)
    kind = tool.get("type", "function")
    match kind:
        case "function":
            return _read_function(tool, path)
        case "custom" if "input_schema" not in tool:  # with a schema it is an Anthropic function
            return _read_custom(tool, path)
        case "custom":
            return _read_function(tool, path)
        case str():
            if (foreign := dated_tool(tool) or responses_tool(tool)) is not None:
                return foreign
            name = tool.get("name")
            return NativeTool(NAME, kind, name if isinstance(name, str) else kind, tool, server=True)
        case _:
            raise InvalidRequest(f"{path}.type must be a string", param=f"{path}.type")


def _read_function(tool: dict[str, Any], path: str) -> FunctionTool:
    function = tool.get("function", tool)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise InvalidRequest(f"{path}.function.name is required, as a string", param=f"{path}.function.name")
    schema = schema_in(function)
    if schema is not None and not isinstance(schema, dict):
        raise InvalidRequest(f"{path}.function.parameters must be a JSON schema", param=f"{path}.function.parameters")
    strict = function.get("strict", tool.get("strict"))
    return FunctionTool(
        name=function["name"],
        description=_read_description(function),
        schema=schema,
        strict=strict if isinstance(strict, bool) else None,
        cache=read_hint(tool.get("cache_control") or function.get("cache_control")),
        extensions={key: value for key, value in {**tool, **function}.items() if key not in _FUNCTION_KEYS},
    )


def _read_custom(tool: dict[str, Any], path: str) -> CustomTool:
    custom = tool.get("custom", tool)
    if not isinstance(custom, dict) or not isinstance(custom.get("name"), str) or not custom["name"]:
        raise InvalidRequest(f"{path}.custom.name is required, as a string", param=f"{path}.custom.name")
    grammar = None
    match custom.get("format"):
        case {"type": "grammar", "grammar": {"syntax": str(syntax), "definition": str(definition)}}:
            grammar = (syntax, definition)
        case {"type": "grammar", "syntax": str(syntax), "definition": str(definition)}:
            grammar = (syntax, definition)
    return CustomTool(custom["name"], _read_description(custom), grammar)


def _read_description(definition: dict[str, Any]) -> str | None:
    """The description; one that is no text as its words, or as JSON."""
    told = definition.get("description")
    if told is None or isinstance(told, str):
        return told
    raw = encode_body(told)
    return readable_text(raw) or raw.decode()


def read_hint(value: Any) -> CacheHint | None:
    """The hint in a `cache_control` of any form."""
    match value:
        case {"ttl": str(ttl)}:
            return CacheHint(ttl)
        case {}:
            return CacheHint()
        case _:
            return None


def _names(tools: Sequence[Any], *, listed: bool = False) -> tuple[tuple[str | None, str], ...]:
    """The names in the entries of a choice, nested or flat; in a list, vendors' own tools are named by their type."""
    names: list[tuple[str | None, str]] = []
    for tool in tools:
        match tool:
            case {"function": {"name": str(name)}} | {"custom": {"name": str(name)}} | {"name": str(name)}:
                names.append((None, name))
            case str(name) if listed:
                names.append((None, name))
            case {"type": str(name)} if listed and name not in ("function", "custom"):
                names.append((None, name))
    return tuple(names)


def _write_function(tool: FunctionTool, capabilities: Capabilities, *, own: bool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    # Gemini refuses an object without properties.
    if tool.schema is not None and (tool.schema.get("properties") or capabilities.schema != "gemini"):
        function["parameters"] = tool.schema
    if tool.strict is not None and capabilities.strict_tools:
        function["strict"] = tool.strict
    if own:
        function.update(tool.extensions)
    return {"type": "function", "function": function, **write_cache(tool.cache, control_only(capabilities))}


def control_only(capabilities: Capabilities) -> str:
    """Breakpoints are allowed only on content parts; `cache_control` also on tools and on the request."""
    return capabilities.cache_hints if capabilities.cache_hints == "cache_control" else "none"


def _write_custom(tool: CustomTool) -> dict[str, Any]:
    custom: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        custom["description"] = tool.description
    if tool.grammar is not None:
        syntax, definition = tool.grammar
        custom["format"] = {"type": "grammar", "grammar": {"syntax": syntax, "definition": definition}}
    return {"type": "custom", "custom": custom}


def _write_choice(choice: ToolChoice, tools: Sequence[Tool]) -> Any:
    custom = {tool.name for tool in tools if isinstance(tool, CustomTool)}
    named = [
        {"type": "custom", "custom": {"name": name}}
        if name in custom
        else {"type": "function", "function": {"name": name}}
        for _, name in choice.names
    ]
    if choice.mode == "tool":
        return named[0] if named else "required"
    mode = _MODE_NAMES[choice.mode]
    if named and choice.mode != "none":
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}
    return mode
