"""Tools that a client declares again are translated as they were the first time, and nothing else is kept of them."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adaptation.adapt import adapt
from app.conversation import repeated_tools
from app.conversation.capabilities import Capabilities
from app.conversation.losses import Loss
from app.conversation.repeated_tools import MAX_WEIGHT, is_repeated, read_repeated
from app.conversation.request import CustomTool, FunctionTool, NativeTool, Request
from app.providers.profiles import capabilities_for
from tests.laws.cases import DIALECTS, form_of
from tests.laws.test_one_truth import MODELS, SERVERS

_schemas = st.sampled_from(
    (
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"path": {"type": "string", "format": "uri"}}, "required": ["path"]},
        {"type": "object", "properties": {"a b": {"type": ["string", "null"]}}, "additionalProperties": False},
        {"properties": {"x": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"enum": [1, None]}}},
        {"type": "object", "properties": {"x": {"type": "string", "default": None}}},
    )
)
_names = st.sampled_from(("read", "read file", "mcp__files__read", "x" * 90))
_tools = st.lists(st.tuples(_names, _schemas, st.none() | st.just("it reads"), st.booleans()), min_size=1, max_size=4)
_calls = st.lists(_names | st.just("undeclared"), max_size=2)
_settings = st.sampled_from(({}, {"tool_choice": "auto"}, {"tool_choice": "any"}))
_places = st.tuples(st.sampled_from(SERVERS), st.sampled_from(MODELS))
_dialects = st.sampled_from(DIALECTS)


def _body(form: str, tools: list[Any], calls: list[str]) -> bytes:
    """A request with these tools and calls, in the form of one of the dialects."""
    declared: list[Any] = []
    for name, schema, description, hinted in tools:
        told = {"name": name} | ({"description": description} if description else {})
        hint = {"cache_control": {"type": "ephemeral"}} if hinted else {}
        if form == "messages":
            declared.append({**told, "input_schema": schema, **hint})
        elif form == "chat":
            declared.append({"type": "function", "function": {**told, "parameters": schema}, **hint})
        else:
            declared.append({"type": "function", **told, "parameters": schema, "strict": hinted})
    past: list[Any] = []
    for number, name in enumerate(calls):
        if form == "messages":
            call = {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": {"a b": 1}}
            result = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": "r"}
            past += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
        elif form == "chat":
            call = {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": "{}"}}
            past += [
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": f"c{number}", "content": "r"},
            ]
        else:
            past.append({"type": "function_call", "call_id": f"c{number}", "name": name, "arguments": "{}"})
            past.append({"type": "function_call_output", "call_id": f"c{number}", "output": "r"})
    turns = [{"role": "user", "content": "q"}, *past]
    return json.dumps(
        {"model": "m", "max_tokens": 9, "tools": declared, "input" if form == "items" else "messages": turns}
    ).encode()


def _translate(
    client: ModuleType, upstream: ModuleType, capabilities: Capabilities, body: bytes
) -> tuple[bytes, list[Loss], int]:
    parsed: Request = client.parse_request(body, {})
    adapted = adapt(parsed, capabilities)
    rendered = upstream.render_request(adapted.request, capabilities)
    return rendered.body, [*adapted.losses, *rendered.losses], len(adapted.stages)


@settings(max_examples=300, deadline=None)
@given(tools=_tools, calls=_calls, place=_places, client=_dialects, upstream=_dialects)
def test_a_repeated_declaration_is_translated_as_a_new_one_is(
    tools: list[Any], calls: list[str], place: tuple[str, str], client: ModuleType, upstream: ModuleType
) -> None:
    server, model = place
    capabilities = capabilities_for(upstream.NAME, server, model)
    form = form_of(client.NAME)
    body, other = _body(form, tools, calls), _body(form, tools, [])
    repeated_tools.forget_all()
    first = _translate(client, upstream, capabilities, body)
    declared = msgspec.json.encode(client.parse_request(body, {}).tools)

    _translate(client, upstream, capabilities, other)
    again = _translate(client, upstream, capabilities, body)

    assert is_repeated(client.parse_request(body, {}).tools)
    assert again == first
    assert msgspec.json.encode(client.parse_request(body, {}).tools) == declared


def test_definitions_of_one_length_are_told_apart() -> None:
    one, other = msgspec.Raw(b'[{"name":"a"}]'), msgspec.Raw(b'[{"name":"b"}]')

    read = [read_repeated(raw, "d", lambda raw=raw: (FunctionTool(str(bytes(raw))),)) for raw in (one, other, one)]

    assert [tools[0].name for tools in read] == [str(bytes(raw)) for raw in (one, other, one)]


def test_tools_of_vendors_are_not_kept() -> None:
    definition = {"type": "mcp", "authorization": "secret"}

    tools = read_repeated(msgspec.Raw(b"[]"), "d", lambda: (NativeTool("d", "mcp", "mcp", definition, True),))

    assert not is_repeated(tools)


def test_what_is_kept_is_bounded() -> None:
    repeated_tools.forget_all()
    made = [
        read_repeated(msgspec.Raw(b'["%d%b"]' % (number, b"x" * (MAX_WEIGHT // 16))), "d", lambda: (CustomTool("t"),))
        for number in range(100, 150)
    ]

    assert 1 <= sum(map(is_repeated, made)) <= 16


def test_a_declaration_that_is_too_large_is_not_kept() -> None:
    tools = read_repeated(msgspec.Raw(b"[" + b"{}," * MAX_WEIGHT + b"]"), "d", lambda: (CustomTool("t"),))

    assert not is_repeated(tools)
