"""The specification of how tools and past calls are declared to an upstream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from app.adaptation.tools.tools import adapt_tools
from app.conversation.blocks import Opaque, Text, ToolCall, ToolResult
from app.conversation.capabilities import Capabilities
from app.conversation.request import CustomTool, FunctionTool, NativeTool, Request, Tool, ToolChoice
from app.errors import InvalidRequest
from tests.adaptation.tools.asking import (
    CHAT,
    CLAUDE,
    RESPONSES,
    ask,
    assistant,
    call,
    function,
    losses,
    native,
    result,
    take,
    user,
)
from tests.adaptation.tools.replies import reply, run

PATCH = CustomTool("apply_patch", "Patches files.", ("lark", "start: /.+/s"))
WITH_GET = (function("get", namespace="mcp__kv__", schema={"type": "object", "properties": {"k": {}}}),)


def declared(*tools: Tool, to: Capabilities = CHAT) -> tuple[Tool, ...]:
    return take(adapt_tools, ask(tools=tools), to)[0].tools


def only_function(*tools: Tool, to: Capabilities = CHAT) -> FunctionTool:
    (tool,) = declared(*tools, to=to)
    assert isinstance(tool, FunctionTool)
    return tool


def test_references_of_many_tools_expand_to_little_in_all() -> None:
    large = {"type": "object", "properties": {f"q{number}": {"type": "string"} for number in range(65)}}
    schema = {"type": "object", "properties": {f"p{number}": {"$ref": "#/$defs/d"} for number in range(77)}}
    schema["$defs"] = {"d": large}
    tools = [function(f"f{number}", schema=schema) for number in range(200)]

    found = declared(*tools, to=replace(CHAT, schema="gemini"))

    assert len(json.dumps([tool.schema for tool in found])) < 8 * 1024 * 1024
    assert len(json.dumps(only_function(tools[0], to=replace(CHAT, schema="gemini")).schema)) > 100_000


def come_back(request: Request, answer: ToolCall, to: Capabilities = CHAT) -> ToolCall:
    """The call as the client gets it when the upstream makes this one."""
    _, notes = take(adapt_tools, request, to)
    response = reply(answer)
    for make in notes.stages:
        response = run(make(), response)
    (block,) = response.blocks
    assert isinstance(block, ToolCall)
    return block


# ---- functions


def test_a_plain_function_needs_nothing_undone() -> None:
    tool = function("f", schema={"type": "object", "properties": {}})

    request, notes = take(adapt_tools, ask(tools=(tool,)))

    assert request.tools == (tool,)
    assert not notes.losses
    assert not notes.stages


def test_a_function_without_schema_gets_an_empty_object() -> None:
    assert only_function(function()).schema == {"type": "object", "properties": {}}


def test_examples_are_told_in_the_description() -> None:
    request, notes = take(adapt_tools, ask(tools=(function("f", description="Adds.", examples=({"a": 1},)),)))

    (tool,) = request.tools
    assert isinstance(tool, FunctionTool)
    assert tool.description == 'Adds.\nExamples of its input:\n{"a": 1}'
    assert losses(notes) == [("ignorable", "tools.f")]


def test_what_only_one_dialect_says_of_a_function_is_reported() -> None:
    tool = function("f", extensions={"output_schema": {}})

    request, notes = take(adapt_tools, ask(tools=(tool,)))

    assert request.tools == declared(function("f"))
    assert losses(notes) == [("ignorable", "tools.f.output_schema")]


def test_strict_is_switched_off_where_its_default_is_on() -> None:
    assert only_function(function(), to=RESPONSES).strict is False
    assert only_function(function(), to=CHAT).strict is None


def test_strict_stays_where_the_schema_allows_it() -> None:
    schema = {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}

    assert only_function(function(schema=schema, strict=True)).strict is True


def test_strict_ends_where_the_schema_does_not_allow_it() -> None:
    request, notes = take(
        adapt_tools, ask(tools=(function(schema={"type": "object", "properties": {"a": {}}}, strict=True),))
    )

    (tool,) = request.tools
    assert isinstance(tool, FunctionTool)
    assert tool.strict is False
    assert losses(notes) == [("degrading", "tools.f")]


def test_a_strict_schema_for_claude_is_closed() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}

    tool = only_function(function(schema=schema, strict=True), to=CLAUDE)

    assert tool.strict is True
    assert tool.schema == {**schema, "additionalProperties": False}


def test_an_upstream_that_does_not_know_strict_is_not_told() -> None:
    assert only_function(function(strict=False), to=replace(CHAT, strict_tools=False)).strict is None


def test_a_schema_of_endless_depth_is_the_client_s_fault() -> None:
    schema: dict[str, object] = {}
    for _ in range(3000):
        schema = {"type": "object", "properties": {"a": schema}}

    with pytest.raises(InvalidRequest, match="nested too deeply"):
        declared(function(schema=schema), to=replace(CHAT, schema="gemini"))


def test_a_tool_that_was_found_twice_is_declared_once() -> None:
    assert declared(function("f", description="old"), function("g"), function("f", description="new")) == (
        *declared(function("f", description="old")),
        *declared(function("g")),
    )


def test_a_tool_that_another_one_displaces_is_reported() -> None:
    request = ask(tools=(function("f"), function("f"), function("f", description="another")))

    assert losses(take(adapt_tools, request)[1]) == [("degrading", "tools.f")]


def test_an_upstream_without_tools_loses_the_answer() -> None:
    request, notes = take(adapt_tools, ask(tools=(function(),)), replace(CHAT, tools=False))

    assert request.tools == ()
    assert losses(notes) == [("wrong", "tools")]


# ---- names


def test_a_namespaced_function_is_flattened_and_comes_back() -> None:
    request = ask(tools=WITH_GET)

    assert only_function(*WITH_GET).name == "mcp__kv__get"
    assert come_back(request, call("c", "mcp__kv__get", '{"k":1}')) == call(
        "c", "get", '{"k":1}', namespace="mcp__kv__"
    )


def test_namespaces_stay_where_they_are_known() -> None:
    assert only_function(*WITH_GET, to=RESPONSES).namespace == "mcp__kv__"


def test_past_calls_and_the_choice_are_named_like_the_tools() -> None:
    past = assistant(call("c", "get", namespace="mcp__kv__"))

    request, _ = take(adapt_tools, ask(past, tools=WITH_GET, tool_choice=ToolChoice("tool", (("mcp__kv__", "get"),))))

    assert request.turns[0].blocks == (call("c", "mcp__kv__get"),)
    assert request.tool_choice == ToolChoice("tool", ((None, "mcp__kv__get"),))


def test_past_calls_of_tools_that_are_gone_are_named_alike() -> None:
    request, _ = take(adapt_tools, ask(assistant(call("c", "get", namespace="mcp__kv__"))))

    assert request.turns[0].blocks == (call("c", "mcp__kv__get"),)


# ---- custom tools


def test_a_custom_tool_becomes_a_function_of_one_string() -> None:
    request, notes = take(adapt_tools, ask(tools=(PATCH,)))

    (tool,) = request.tools
    assert isinstance(tool, FunctionTool)
    assert tool.schema == {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    assert tool.description is not None
    assert tool.description.startswith("Patches files.")
    assert tool.description.endswith("lark grammar:\nstart: /.+/s")
    assert losses(notes) == [("degrading", "tools.apply_patch")]


def test_the_call_of_a_custom_tool_comes_back_as_such() -> None:
    answer = call("c", "apply_patch", json.dumps({"input": "*** é\n"}))

    assert come_back(ask(tools=(PATCH,)), answer) == call("c", "apply_patch", "*** é\n", kind="custom")


def test_past_calls_of_a_custom_tool_are_wrapped() -> None:
    past = (assistant(call("c", "apply_patch", 'a "b"\n', kind="custom")), user(result("c", kind="custom")))

    request, _ = take(adapt_tools, ask(*past, tools=(PATCH,)))

    assert request.turns[0].blocks == (call("c", "apply_patch", r'{"input":"a \"b\"\n"}'),)
    assert request.turns[1].blocks == (result("c"),)


def test_custom_tools_stay_where_they_are_known() -> None:
    past = assistant(call("c", "apply_patch", "x", kind="custom"))

    request, notes = take(adapt_tools, ask(past, tools=(PATCH,)), RESPONSES)

    assert request.tools == (PATCH,)
    assert request.turns == (past,)
    assert not notes.stages


def test_a_custom_tool_in_a_namespace_comes_back_with_both() -> None:
    request = ask(tools=(CustomTool("exec", namespace="functions"),))

    back = come_back(request, call("c", "functions__exec", '{"input":"1+1"}'))

    assert back == call("c", "exec", "1+1", kind="custom", namespace="functions")


# ---- vendors' tools


@pytest.mark.parametrize("type_", ["local_shell", "shell", "apply_patch", "tool_search"])
def test_a_tool_that_the_client_runs_becomes_a_function_and_comes_back(type_: str) -> None:
    tools = (native(type_),)

    tool = only_function(*tools)

    assert tool.name == type_
    assert tool.description
    assert tool.schema is not None
    assert tool.schema["properties"]
    assert come_back(ask(tools=tools), call("c", type_, '{"a":1}')) == call("c", type_, '{"a":1}', kind=type_)


def test_a_search_for_tools_keeps_the_schema_that_the_client_gave() -> None:
    parameters = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}

    tool = only_function(native("tool_search", execution="client", description="Finds.", parameters=parameters))

    assert (tool.description, tool.schema) == ("Finds.", parameters)


@pytest.mark.parametrize(
    ("type_", "name", "property_"),
    [
        ("bash_20250124", "bash", "command"),
        ("text_editor_20250728", "str_replace_based_edit_tool", "view_range"),
        ("memory_20250818", "memory", "new_path"),
    ],
)
def test_anthropic_s_client_tools_become_functions_of_their_name(type_: str, name: str, property_: str) -> None:
    tool = only_function(native(type_, name))

    assert tool.name == name
    assert tool.schema is not None
    assert property_ in tool.schema["properties"]


def test_a_vendor_s_tool_stays_where_it_is_known() -> None:
    tool = native("bash_20250124", "bash")

    assert declared(tool, to=CLAUDE) == (tool,)


def test_hosted_tools_are_dropped_with_a_loss_and_functions_survive() -> None:
    tools = (function(), native("web_search", server=True), native("image_generation", server=True))

    request, notes = take(adapt_tools, ask(tools=tools))

    assert [tool.name for tool in request.tools] == ["f"]
    assert losses(notes) == [("degrading", "tools.web_search"), ("degrading", "tools.image_generation")]


def test_tools_that_move_a_screen_cannot_be_lost_quietly() -> None:
    _, notes = take(adapt_tools, ask(tools=(native("computer_toolset_20260801", "computer"),)))

    assert losses(notes) == [("wrong", "tools.computer")]


def test_a_hosted_search_becomes_the_other_vendor_s() -> None:
    place = {"type": "approximate", "city": "Bern"}
    options: dict[str, Any] = {"allowed_domains": ["a.b"], "user_location": place, "blocked_domains": ["c.d"]}
    ours = native("web_search_20250305", "web_search", server=True, **options)

    request, notes = take(adapt_tools, ask(tools=(ours,)), RESPONSES)

    (tool,) = request.tools
    filters = {"allowed_domains": ["a.b"], "blocked_domains": ["c.d"]}
    assert tool == native("web_search", server=True, filters=filters, user_location=place)
    assert not notes.losses


def test_a_hosted_search_of_responses_becomes_claude_s() -> None:
    (tool,) = declared(native("web_search", server=True, filters={"allowed_domains": ["a.b"]}), to=CLAUDE)

    definition = {"type": "web_search_20260318", "name": "web_search", "allowed_domains": ["a.b"]}
    assert tool == NativeTool("anthropic_messages", "web_search_20260318", "web_search", definition, server=True)


def test_a_search_that_must_stay_in_the_vendor_s_cache_finds_no_equal() -> None:
    assert declared(native("web_search", server=True, external_web_access=False), to=CLAUDE) == ()


# ---- deferred tools


def test_deferred_tools_are_declared_from_the_start() -> None:
    assert only_function(function(deferred=True)).deferred is False


def test_a_reference_to_a_tool_becomes_words() -> None:
    reference = Opaque("anthropic_messages", "tool_reference", b'{"type":"tool_reference","tool_name":"b"}')
    past = (assistant(call("c", "ToolSearch")), user(ToolResult("c", (reference,))))

    request, _ = take(adapt_tools, ask(*past, tools=(function("b", deferred=True),)))

    assert request.turns[1].blocks == (ToolResult("c", (Text("tool b is now available"),)),)


def test_references_stay_where_tools_can_be_deferred() -> None:
    reference = Opaque("anthropic_messages", "tool_reference", b'{"type":"tool_reference","tool_name":"b"}')
    past = (assistant(call("c", "ToolSearch")), user(ToolResult("c", (reference,))))

    request, _ = take(adapt_tools, ask(*past), replace(CLAUDE, deferred_tools=True))

    assert request.turns[1].blocks == (ToolResult("c", (reference,)),)
