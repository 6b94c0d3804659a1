"""Requests as servers of Chat Completions get them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.conversation.blocks import (
    CacheHint,
    File,
    Image,
    Inline,
    Opaque,
    PlainText,
    Proof,
    Reasoning,
    Refusal,
    SearchResult,
    Text,
    ToolCall,
    ToolResult,
    Url,
)
from app.conversation.losses import Loss
from app.conversation.request import CustomTool, FunctionTool, OutputFormat, Request, ToolChoice, Turn
from app.dialects.openai_chat import NAME, render_request
from tests.dialects.openai_chat.request_bodies import ReadWire, can, parse, render


def request_of(*turns: Turn, **more: Any) -> Request:
    return Request(**{"dialect": "anthropic_messages", "model": "m", "turns": turns, **more})


def user(*blocks: Any) -> Turn:
    return Turn("user", blocks, path="messages[0]")


def assistant(*blocks: Any) -> Turn:
    return Turn("assistant", blocks, path="messages[1]")


def test_instructions_are_one_system_message_with_the_role_that_the_upstream_knows() -> None:
    request = request_of(user(Text("x")), instructions=(Text("a"), Text("b")))

    assert render(request)["messages"][0] == {"role": "system", "content": "a\n\nb"}
    assert render(request, system_role="developer")["messages"][0]["role"] == "developer"


def test_results_come_before_what_the_user_says_and_nothing_between_them() -> None:
    turn = user(ToolResult("a", (Text("1"), Text("2"))), ToolResult("b", ()), Text("next"))

    assert render(request_of(turn))["messages"] == [
        {"role": "tool", "tool_call_id": "a", "content": "1\n2"},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        {"role": "user", "content": "next"},
    ]


def test_an_assistant_turn_is_one_message_with_all_its_parts() -> None:
    turn = assistant(Text("one"), ToolCall("a", "f", "{}"), Text("two"), ToolCall("b", "g", '{"x":1}'))

    assert render(request_of(turn))["messages"] == [
        {
            "role": "assistant",
            "content": "one\n\ntwo",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": '{"x":1}'}},
            ],
        }
    ]


def test_plain_text_is_a_string_and_hinted_text_a_part_where_hints_are_known() -> None:
    request = request_of(user(Text("a", CacheHint("1h"))))

    assert render(request)["messages"][0]["content"] == "a"
    assert render(request, cache_hints="cache_control")["messages"][0]["content"] == [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    ]
    assert render(request, cache_hints="breakpoint")["messages"][0]["content"] == [
        {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}
    ]
    assert render(request, cache_hints="cache_control", string_content=True)["messages"][0]["content"] == "a"


def test_the_hint_of_a_tool_result_stands_on_its_last_text() -> None:
    result = ToolResult("a", (Text("one"), Text("two")), cache=CacheHint())
    hinted = {"type": "text", "text": "two", "cache_control": {"type": "ephemeral"}}

    tool = render(request_of(user(result)), cache_hints="cache_control")["messages"][0]

    assert tool["content"] == [{"type": "text", "text": "one"}, hinted]
    assert render(request_of(user(result)))["messages"][0]["content"] == "one\ntwo"


def test_media_are_parts() -> None:
    turn = user(
        Text("see"),
        Image(Inline("image/png", "QUJD")),
        Image(Url("https://example.org/a.png"), "low"),
        File(Inline("application/pdf", "QUJD")),
        File(PlainText("words"), "notes"),
        SearchResult("T", "https://s", (Text("found"),)),
    )

    assert render(request_of(turn))["messages"][0]["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
        {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,QUJD"}},
        {"type": "text", "text": '<document title="notes">\nwords\n</document>'},
        {"type": "text", "text": "T\nhttps://s\nfound"},
    ]


def test_what_has_no_place_is_reported() -> None:
    turn = user(File(Url("https://example.org/a.pdf")), Opaque("anthropic_messages", "odd", b"{}"))

    rendered = render_request(request_of(turn), can())

    assert [(loss.severity, loss.path) for loss in rendered.losses] == [
        ("wrong", "messages[0]"),
        ("degrading", "messages[0]"),
    ]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_past_reasoning_goes_where_the_upstream_wants_it(field: str) -> None:
    turn = assistant(Reasoning("T"), ToolCall("a", "f", "{}"))

    assert render(request_of(turn), reasoning_replay=field)["messages"][0][field] == "T"


def test_a_required_reasoning_field_is_there_even_if_nothing_is_left_of_it() -> None:
    turns = (assistant(ToolCall("a", "f", "{}")), user(ToolResult("a", ())), assistant(Text("x")))

    messages = render(request_of(*turns), reasoning_replay="reasoning_content", reasoning_required=True)["messages"]

    assert messages[0]["reasoning_content"] == ""
    assert "reasoning_content" not in messages[2]


def test_an_upstreams_own_details_go_back_verbatim() -> None:
    original = b'{"type":"reasoning.text","text":"hm","signature":"s","index":0}'
    turn = assistant(Reasoning("hm", Proof(NAME, "reasoning", (original,))), Text("x"))

    body = render_request(request_of(turn), can(reasoning_replay="reasoning_details")).body

    assert b'"reasoning_details":[' + original + b"]" in body


def test_a_signed_call_goes_back_with_its_signature(read_wire: ReadWire) -> None:
    extension = b'{"google":{"thought_signature":"c2ln"}}'
    turn = assistant(ToolCall("a", "f", "{}", proof=Proof(NAME, "tool_call", (extension,))))

    assert render(request_of(turn))["messages"][0]["tool_calls"][0]["extra_content"] == json.loads(extension)


def test_a_past_refusal_stays_one() -> None:
    assert render(request_of(assistant(Refusal("no"))))["messages"][0] == {
        "role": "assistant",
        "content": None,
        "refusal": "no",
    }


def test_limits_go_under_the_name_that_the_upstream_knows() -> None:
    request = request_of(user(Text("x")), max_tokens=9)

    assert render(request)["max_tokens"] == 9
    newer = render(request, max_tokens_field="max_completion_tokens")
    assert newer["max_completion_tokens"] == 9
    assert "max_tokens" not in newer


def test_a_stream_asks_for_usage_where_the_upstream_knows_how() -> None:
    request = request_of(user(Text("x")), stream=True)

    assert render(request)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in render(request, stream_usage=False)
    assert "stream_options" not in render(request_of(user(Text("x"))))
    assert render(request_of(user(Text("x"))), stream_only=True)["stream"] is True


def test_tools_and_choice_are_nested() -> None:
    request = request_of(
        user(Text("x")),
        tools=(FunctionTool("f", "d", {"type": "object"}, True), CustomTool("p", None, ("lark", "start: /.+/"))),
        tool_choice=ToolChoice("any", ((None, "f"), (None, "p"))),
        parallel_tool_calls=False,
    )

    body = render(request)

    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
        },
        {
            "type": "custom",
            "custom": {
                "name": "p",
                "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /.+/"}},
            },
        },
    ]
    assert body["tool_choice"] == {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "required",
            "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "p"}}],
        },
    }
    assert body["parallel_tool_calls"] is False


def test_without_tools_nothing_is_said_about_their_choice() -> None:
    body = render(request_of(user(Text("x")), tool_choice=ToolChoice("auto"), parallel_tool_calls=True))

    assert not {"tools", "tool_choice", "parallel_tool_calls"} & body.keys()


def test_a_schema_for_the_answer_gets_a_name() -> None:
    request = request_of(user(Text("x")), output_format=OutputFormat("json_schema", {"type": "object"}))

    assert render(request)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": {"type": "object"}},
    }


def test_the_end_user_goes_under_the_name_that_the_upstream_knows() -> None:
    request = request_of(user(Text("x")), user="u")

    assert render(request, user_field="safety_identifier")["safety_identifier"] == "u"
    assert render_request(request, can()).losses == (
        Loss("ignorable", "user", "this upstream has no field for the end user"),
    )


def test_refused_fields_are_left_out_and_extra_ones_put_in() -> None:
    request = parse(seed=5, store=True)

    rendered = render_request(
        request, can(refused_fields=("seed", "store"), extra_body={"provider": {"sort": "price"}})
    )
    body = json.loads(rendered.body)

    assert not {"seed", "store"} & body.keys()
    assert body["provider"] == {"sort": "price"}
    assert {loss.path for loss in rendered.losses} == {"seed", "store"}
