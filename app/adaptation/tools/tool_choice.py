"""Translates the tool choice into one that the upstream accepts.

Runs after the tools are declared: names are those that the upstream knows. A choice that the upstream does not support
is emulated or given up, with a loss in the notes.
"""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from app.adaptation.notes import Notes, field
from app.adaptation.tools.forced_json import TextToCall
from app.conversation.blocks import Text, ToolCall
from app.conversation.capabilities import Capabilities
from app.conversation.request import FunctionTool, NativeTool, OutputFormat, Request, Tool, ToolChoice
from app.dialects.registry import traits_of

_AUTO = ToolChoice("auto")


def adapt_tool_choice(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    """The request with a choice among declared tools, in a mode that the upstream supports."""
    if request.tool_choice is None and request.parallel_tool_calls is None:
        return request
    if not request.tools:
        return replace(request, tool_choice=None, parallel_tool_calls=None)
    if request.tool_choice is not None:
        request = _choose_declared(request, notes)
        request = _limit_tools(request, capabilities, notes)
        request = _take_mode(request, capabilities, notes)
    return _switch_parallel(request, capabilities, notes)


def _choose_declared(request: Request, notes: Notes) -> Request:
    """The choice without undeclared tools, such as those that could not be carried.

    A choice with nothing left never becomes an unrestricted one: no tool may be called, and a client that demanded a
    call is refused.
    """
    choice = request.tool_choice
    if choice is None or not choice.names:
        return request
    declared = {_key_of(tool) for tool in request.tools}
    names = tuple(name for name in choice.names if name in declared)
    if names == choice.names:
        return request
    gone = ", ".join(name for _, name in choice.names if (_, name) not in declared)
    demanded = choice.mode in ("any", "tool") and not names
    notes.lose(
        "wrong" if demanded else "degrading", "tool_choice", f"it names tools that the upstream does not have: {gone}"
    )
    return replace(request, tool_choice=replace(choice, names=names) if names else ToolChoice("none"))


def _limit_tools(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    """The request with only the allowed tools, if the upstream cannot restrict the choice itself."""
    choice = request.tool_choice
    if choice is None or not choice.names or choice.mode not in ("auto", "any"):
        return request
    if capabilities.first_party and traits_of(capabilities.dialect).names_allowed_tools:
        return request
    allowed = set(choice.names)
    tools = tuple(tool for tool in request.tools if _key_of(tool) in allowed)
    return replace(request, tools=tools, tool_choice=ToolChoice(choice.mode))


def _take_mode(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    choice = request.tool_choice
    if choice is None:
        return request
    if choice.mode == "none":
        # Declared tools are kept if possible, because past calls may need them; without tools nothing is called either.
        return request if capabilities.tool_choice else replace(request, tools=(), tool_choice=None)
    if choice.mode in ("any", "tool") and not (capabilities.tool_choice and capabilities.forced_tool):
        return _emulate_force(request, choice, capabilities, notes)
    if choice.mode == "tool" and not (capabilities.named_tool and _has_name(request, choice)):
        return _leave_only(request, choice)
    return request if capabilities.tool_choice else replace(request, tool_choice=None)


def _has_name(request: Request, choice: ToolChoice) -> bool:
    """Whether the upstream knows the chosen tools by name; a remote server has none, only its tools have."""
    servers = {_key_of(tool) for tool in request.tools if isinstance(tool, NativeTool) and tool.type == "mcp_toolset"}
    return servers.isdisjoint(choice.names)


def _leave_only(request: Request, choice: ToolChoice) -> Request:
    """The request with only the chosen tools, one of which is forced, and those that past calls need."""
    called = {
        (block.namespace, block.name) for turn in request.turns for block in turn.blocks if isinstance(block, ToolCall)
    }
    kept = tuple(tool for tool in request.tools if _key_of(tool) in choice.names or _key_of(tool) in called)
    return replace(request, tools=kept, tool_choice=ToolChoice("any"))


def _emulate_force(request: Request, choice: ToolChoice, capabilities: Capabilities, notes: Notes) -> Request:
    """The request with a forced call emulated as structured output, or at least asked for in words.

    One function can be emulated: its schema becomes the answer's, and the answer becomes its call.
    """
    demanded = [tool for tool in request.tools if choice.mode == "any" or _key_of(tool) in choice.names]
    match demanded:
        case [FunctionTool(schema=dict() as schema) as tool] if (
            capabilities.structured == "schema" and request.output_format is None
        ):
            notes.lose("degrading", "tool_choice", "this upstream refuses forced calls: requested as structured output")
            notes.on_reply(partial(TextToCall, tool.name))
            # Vendors refuse past calls in a request that declares no tools.
            tools = request.tools if capabilities.tool_choice and _has_calls(request) else ()
            return replace(
                request,
                tools=tools,
                tool_choice=ToolChoice("none") if tools else None,
                parallel_tool_calls=None,
                output_format=OutputFormat("json_schema", schema, tool.name, tool.description),
            )
        case [tool]:
            demand = f"Answer with a call of the tool {tool.name}."
        case _:
            demand = "Answer with a call of one of the tools."
    notes.lose("degrading", "tool_choice", "this upstream refuses forced calls: requested in the prompt")
    choice_left = _AUTO if capabilities.tool_choice else None
    if choice.mode == "tool":  # a requested call must not go to another tool
        request = replace(request, tools=tuple(demanded))
    return replace(request, tool_choice=choice_left, instructions=(*request.instructions, Text(demand)))


def _has_calls(request: Request) -> bool:
    return any(isinstance(block, ToolCall) for turn in request.turns for block in turn.blocks)


def adapt_past_tools(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    """The request with the tools of its past calls declared, none of which may be called, if it declares no others."""
    if request.tools or not (capabilities.past_tools and capabilities.tool_choice):
        return request
    calls = (block for turn in request.turns for block in turn.blocks if isinstance(block, ToolCall))
    tools = tuple(FunctionTool(name) for name in dict.fromkeys(call.name for call in calls))
    return replace(request, tools=tools, tool_choice=ToolChoice("none")) if tools else request


def _switch_parallel(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    if request.parallel_tool_calls is None:
        return request
    if request.tool_choice is not None and request.tool_choice.mode == "none":
        return replace(request, parallel_tool_calls=None)
    if capabilities.parallel_switch:
        return request
    if request.parallel_tool_calls is False:
        path = field(request.dialect, "parallel_tool_calls")
        notes.lose("degrading", path, "parallel calls cannot be turned off for this upstream")
    return replace(request, parallel_tool_calls=None)


def _key_of(tool: Tool) -> tuple[str | None, str]:
    return tool.namespace, tool.name
