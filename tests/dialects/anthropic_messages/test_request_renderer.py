"""Requests as servers of Anthropic Messages get them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from app.conversation.blocks import CacheHint, Proof, Reasoning, Text, ToolCall, ToolResult
from app.conversation.capabilities import Capabilities
from app.conversation.request import (
    Extension,
    FunctionTool,
    OutputFormat,
    ReasoningSettings,
    Sampling,
    State,
    ToolChoice,
    Turn,
)
from app.dialects.anthropic_messages import render_request
from tests.dialects.anthropic_messages.request_bodies import CLAUDE, parse, request


def render(capabilities: Capabilities = CLAUDE, **fields: Any) -> dict[str, Any]:
    rendered = render_request(request(**fields), capabilities)
    body: dict[str, Any] = json.loads(rendered.body)
    return body


def test_instructions_tools_and_turns_are_written_in_their_order() -> None:
    body = render(
        instructions=(Text("a"), Text("b", CacheHint("30m"))),
        tools=(FunctionTool("f", "does", None, strict=True, cache=CacheHint()),),
        turns=(
            Turn("user", (Text("q"),)),
            Turn("assistant", (Text("t"), ToolCall("c1", "f", '{"b":1,"a":1.0}'))),
            Turn("user", (ToolResult("c1", (Text("r"),), is_error=True), Text("and"))),
        ),
        max_tokens=5,
    )

    assert body == {
        "model": "claude-x",
        "max_tokens": 5,
        "system": [
            {"type": "text", "text": "a"},
            {"type": "text", "text": "b", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ],
        "messages": [
            {"role": "user", "content": "q"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "t"},
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {"b": 1, "a": 1.0}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "r", "is_error": True},
                    {"type": "text", "text": "and"},
                ],
            },
        ],
        "tools": [
            {
                "name": "f",
                "description": "does",
                "input_schema": {"type": "object", "properties": {}},
                "strict": True,
                "cache_control": {"type": "ephemeral"},
            }
        ],
    }


@pytest.mark.parametrize(
    ("arguments", "written", "losses"),
    [
        ("", {}, 0),
        ("  ", {}, 0),
        ("null", {}, 0),
        ('"{\\"a\\":1}"', {"a": 1}, 0),
        ("[1,2]", {"value": [1, 2]}, 0),
        ('"word"', {"value": "word"}, 0),
        ('{"a":', {"_raw": '{"a":'}, 1),
        ("[1,2", {"_raw": "[1,2"}, 1),
        ('{"a":"\\ud83d"}', {"a": "\ufffd"}, 0),
    ],
)
def test_arguments_become_an_object(arguments: str, written: dict[str, Any], losses: int) -> None:
    turns = (Turn("assistant", (ToolCall("c", "f", arguments),), path="messages[0]"),)

    rendered = render_request(request(turns=turns), CLAUDE)

    assert json.loads(rendered.body)["messages"][0]["content"][0]["input"] == written
    assert [loss.path for loss in rendered.losses] == ["messages[0]"] * losses


def test_native_proofs_are_written_back_verbatim_and_in_order() -> None:
    originals = (b'{"type":"thinking","thinking":"","signature":"s"}', b'{"type":"redacted_thinking","data":"d"}')

    rendered = render_request(
        request(
            turns=(Turn("assistant", (Reasoning("", Proof("anthropic_messages", "thinking", originals)), Text("t"))),)
        ),
        CLAUDE,
    )

    assert b'"content":[' + b",".join(originals) + b',{"type":"text"' in rendered.body


def test_foreign_reasoning_never_reaches_claude() -> None:
    proof = Proof("openai_responses", "reasoning", (b'{"encrypted_content":"e"}',))

    rendered = render_request(
        request(turns=(Turn("assistant", (Reasoning("hm", proof), Reasoning("ha"), Text("t")), path="input[1]"),)),
        CLAUDE,
    )

    assert json.loads(rendered.body)["messages"] == [{"role": "assistant", "content": [{"type": "text", "text": "t"}]}]
    assert {(loss.severity, loss.path) for loss in rendered.losses} == {("ignorable", "input[1]")}


def test_servers_that_demand_reasoning_get_it_unsigned() -> None:
    deepseek = msgspec.structs.replace(CLAUDE, reasoning_required=True, proofs=())

    body = render(deepseek, turns=(Turn("assistant", (Reasoning(""), ToolCall("c", "f", "{}"))),))

    assert body["messages"][0]["content"][0] == {"type": "thinking", "thinking": ""}


@pytest.mark.parametrize(
    ("settings", "written"),
    [
        (ReasoningSettings(), {}),
        (ReasoningSettings("on", "high"), {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        (ReasoningSettings("on", None, 4096), {"thinking": {"type": "enabled", "budget_tokens": 4096}}),
        (ReasoningSettings("off"), {"thinking": {"type": "disabled"}}),
        (ReasoningSettings("between_tools"), {"thinking": {"type": "between_tools"}}),
        (ReasoningSettings(None, "low"), {"output_config": {"effort": "low"}}),
    ],
)
def test_thinking_is_written_as_it_was_settled(settings: ReasoningSettings, written: dict[str, Any]) -> None:
    body = render(reasoning=settings)

    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == written


def test_thinking_is_shown_where_the_request_can_say_so() -> None:
    visible = msgspec.structs.replace(CLAUDE, reasoning_visibility=True)

    assert render(visible, reasoning=ReasoningSettings("on", visibility="auto"))["thinking"]["display"] == "summarized"
    assert "display" not in render(reasoning=ReasoningSettings("on", visibility="auto"))["thinking"]


def test_models_with_bound_thinking_are_told_to_drop_what_does_not_match() -> None:
    bound = msgspec.structs.replace(CLAUDE, bound_reasoning=True)

    rendered = render_request(request(reasoning=ReasoningSettings("on")), bound)

    assert json.loads(rendered.body)["thinking"]["block_binding"] == {"prefix_mismatch_behavior": "drop_block"}
    assert rendered.headers["anthropic-beta"] == "thinking-binding-controls-2026-08-01"


def test_a_system_turn_keeps_its_place_its_effort_and_its_end() -> None:
    rendered = render_request(
        request(
            turns=(
                Turn("user", (Text("q"),)),
                Turn("system", (), effort="low"),
                Turn("system", (Text("s"),), clear_at="next_user_message"),
            )
        ),
        CLAUDE,
    )

    assert json.loads(rendered.body)["messages"][1:] == [
        {"role": "system", "content": [], "output_config": {"effort": "low"}},
        {"role": "system", "content": "s", "clear_at": "next_user_message"},
    ]
    assert rendered.headers["anthropic-beta"].split(",") == [
        "mid-conversation-output-config-2026-07-01",
        "mid-conversation-system-clear-at-2026-08-21",
    ]


@pytest.mark.parametrize(
    ("choice", "parallel", "written"),
    [
        (None, None, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("any"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("tool", ((None, "f"),)), None, {"type": "tool", "name": "f"}),
    ],
)
def test_the_choice_of_tools_is_written(choice: ToolChoice | None, parallel: bool | None, written: Any) -> None:
    body = render(tools=(FunctionTool("f"),), tool_choice=choice, parallel_tool_calls=parallel)

    assert body.get("tool_choice") == written


def test_a_choice_without_tools_is_not_sent() -> None:
    assert "tool_choice" not in render(tool_choice=ToolChoice("any"), parallel_tool_calls=False)


def test_empty_texts_and_turns_are_left_out() -> None:
    body = render(
        turns=(Turn("user", (Text(""), Text("q"))), Turn("assistant", (Text(""),)), Turn("user", (Text("r"),)))
    )

    assert [message["content"] for message in body["messages"]] == [[{"type": "text", "text": "q"}], "r"]


def test_a_missing_limit_is_filled_in_for_it_is_required() -> None:
    assert render()["max_tokens"] == 32_000
    assert render(msgspec.structs.replace(CLAUDE, default_output=8000))["max_tokens"] == 8000
    assert render(msgspec.structs.replace(CLAUDE, max_output=64_000), stream=True)["max_tokens"] == 64_000
    assert render(msgspec.structs.replace(CLAUDE, max_output=64_000))["max_tokens"] == 32_000


def test_the_version_is_the_newest_only_for_the_vendor_and_without_sampling() -> None:
    vendor = msgspec.structs.replace(CLAUDE, first_party=True)
    sampled = request(sampling=Sampling(temperature=0.5))

    assert render_request(request(), vendor).headers["anthropic-version"] == "2026-10-21"
    assert render_request(sampled, vendor).headers["anthropic-version"] == "2023-06-01"
    assert render_request(request(), CLAUDE).headers["anthropic-version"] == "2023-06-01"


def test_settings_are_written_under_their_names() -> None:
    body = render(
        sampling=Sampling(temperature=0.5, top_p=0.9, top_k=5),
        stop=("END",),
        user="u1",
        service_tier="default",
        stream=True,
        cache=CacheHint("5m"),
        output_format=OutputFormat("json_schema", {"type": "object"}, "n"),
    )

    assert {name: value for name, value in body.items() if name not in ("model", "max_tokens", "messages")} == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u1"},
        "service_tier": "standard_only",
        "stream": True,
        "cache_control": {"type": "ephemeral", "ttl": "5m"},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    }


def test_settings_that_the_dialect_lacks_are_reported() -> None:
    rendered = render_request(
        request(
            sampling=Sampling(frequency_penalty=1, logit_bias={"1": 2.0}, seed=7),
            n=2,
            logprobs=3,
            verbosity="low",
            state=State(previous_id="resp_1"),
            output_format=OutputFormat("json_object"),
        ),
        CLAUDE,
    )

    assert {(loss.path, loss.severity) for loss in rendered.losses} == {
        ("frequency_penalty", "degrading"),
        ("logit_bias", "degrading"),
        ("seed", "ignorable"),
        ("n", "wrong"),
        ("logprobs", "wrong"),
        ("verbosity", "degrading"),
        ("previous_response_id", "wrong"),
        ("response_format", "degrading"),
    }


def test_only_extensions_of_this_dialect_are_written() -> None:
    body = render(
        extensions=(
            Extension("anthropic_messages", "speed", "fast", "ignorable"),
            Extension("openai_chat", "prediction", {}, "ignorable"),
            Extension("anthropic_messages", "messages[0].mood", "calm", "ignorable"),
        )
    )

    assert body["speed"] == "fast"
    assert "prediction" not in body
    assert "messages[0].mood" not in body


def test_hints_are_written_only_where_they_are_known() -> None:
    plain = msgspec.structs.replace(CLAUDE, cache_hints="none")

    rendered = render_request(
        request(
            instructions=(Text("s", CacheHint()),), cache=CacheHint(), tools=(FunctionTool("f", cache=CacheHint()),)
        ),
        plain,
    )

    assert b"cache_control" not in rendered.body


def test_refused_fields_are_left_out_and_own_ones_merged_in() -> None:
    odd = msgspec.structs.replace(CLAUDE, refused_fields=("metadata",), extra_body={"top_k": 1})

    rendered = render_request(request(user="u"), odd)

    assert "metadata" not in json.loads(rendered.body)
    assert json.loads(rendered.body)["top_k"] == 1
    assert [loss.path for loss in rendered.losses] == ["metadata"]


def test_a_lone_surrogate_in_a_text_does_not_break_the_body() -> None:
    assert render(turns=(Turn("user", (Text("a\ud83d"),)),))["messages"][0]["content"] == "a\ufffd"


def test_a_tool_result_of_white_space_is_one_without_content() -> None:
    result = ToolResult("a", (Text(" "), Text("")))

    body = render(turns=(Turn("user", (result,)),))

    assert body["messages"] == [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]}]


def change(kind: str, tool: dict[str, Any]) -> dict[str, Any]:
    return {"role": "system", "content": [{"type": kind, "tool": tool}]}


def test_tools_that_come_and_go_in_the_conversation_are_those_at_its_end() -> None:
    definition = {"name": "late", "description": "d", "input_schema": {"type": "object"}}
    messages = [
        {"role": "user", "content": "q"},
        change("tool_removal", {"type": "tool_reference", "name": "first"}),
        change("tool_removal", {"type": "tool_reference", "name": "second"}),
        change("tool_addition", {"type": "tool_definition", "definition": definition}),
        change("tool_addition", {"type": "tool_reference", "name": "second"}),
        change("tool_addition", {"type": "mcp_toolset_reference", "name": "server"}),
    ]
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in ("first", "second")]

    request = parse(messages=messages, tools=tools)

    assert [tool.name for tool in request.tools] == ["second", "late"]
    assert all(turn.blocks == () for turn in request.turns[1:])
    assert {(extension.name, extension.severity) for extension in request.extensions} == {
        (f"messages[{n}]", "degrading") for n in range(1, 6)
    }
