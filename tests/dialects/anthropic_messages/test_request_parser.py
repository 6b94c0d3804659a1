"""What is understood of a client's request in Anthropic Messages, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from app.conversation.blocks import (
    CacheHint,
    Compaction,
    File,
    FileId,
    Image,
    Inline,
    Opaque,
    PlainText,
    Proof,
    Reasoning,
    SearchResult,
    ServerTool,
    Text,
    ToolCall,
    ToolResult,
    Url,
)
from app.conversation.envelope import seal
from app.conversation.request import FunctionTool, NativeTool, OutputFormat, ReasoningSettings, ToolChoice
from app.dialects.anthropic_messages import parse_count_request, parse_request, render_request
from app.errors import InvalidRequest
from tests.dialects.anthropic_messages.request_bodies import CLAUDE, parse

ReadWire = Callable[[str], bytes]


def parse_blocks(role: str, *blocks: dict[str, Any]) -> tuple[Any, ...]:
    return parse(messages=[{"role": role, "content": list(blocks)}]).turns[0].blocks


def test_a_turn_of_claude_code_is_understood_whole(read_wire: ReadWire) -> None:
    body = read_wire("anthropic_messages/requests/agent-turn-of-claude-code.json")

    parsed = parse_request(body, {"anthropic-beta": "effort-2025-11-24, claude-code-20250219,"})

    assert parsed.betas == ("effort-2025-11-24", "claude-code-20250219")
    assert [turn.role for turn in parsed.turns] == ["user", "system", "assistant", "user"]
    assert parsed.turns[1].effort == "medium"
    assert parsed.turns[1].path == "messages[1]"
    assert parsed.reasoning == ReasoningSettings("on", "high", None, "omitted")
    assert json.loads(parsed.user or "") == {"device_id": "d0", "session_id": "s0"}
    assert parsed.stream
    assert parsed.include_usage
    assert [tool.deferred for tool in parsed.tools if isinstance(tool, FunctionTool)] == [False, True]
    assert [(extension.name, extension.severity) for extension in parsed.extensions] == [
        ("context_management", "ignorable")
    ]


def test_arguments_keep_their_order_and_the_spelling_of_their_numbers(read_wire: ReadWire) -> None:
    body = read_wire("anthropic_messages/requests/parallel-calls-with-exact-numbers.json")

    parsed = parse_request(body, {})

    calls = [block for block in parsed.turns[1].blocks if isinstance(block, ToolCall)]
    assert calls[0].arguments == '{"b":1.0,"a":1e-7,"big":12345678901234567890,"nested":{"z":[1,2.50],"y":null}}'
    assert calls[1].arguments == "{}"
    assert calls[0].arguments.encode() in render_request(parsed, CLAUDE).body


def test_content_may_be_a_string_a_list_or_empty() -> None:
    turns = parse(
        messages=[
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
            {"role": "user", "content": []},
        ]
    ).turns

    assert [turn.blocks for turn in turns] == [(Text("a"),), (Text("b"),), ()]


def test_system_may_be_a_string_or_blocks_with_cache_hints() -> None:
    assert parse(system="s").instructions == (Text("s"),)
    assert parse(
        system=[
            {"type": "text", "text": "a"},
            {"type": "text", "text": "b", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ]
    ).instructions == (Text("a"), Text("b", CacheHint("1h")))


def test_images_and_documents_of_every_source_are_read() -> None:
    blocks = parse_blocks(
        "user",
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "document", "source": {"type": "url", "url": "https://x.example/a.pdf"}, "title": "T"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
        {"type": "document", "source": {"type": "content", "content": "c"}, "citations": {"enabled": True}},
        {
            "type": "search_result",
            "source": "https://x.example",
            "title": "R",
            "content": [{"type": "text", "text": "t"}],
        },
    )

    assert blocks == (
        Image(Inline("image/png", "AA==")),
        Image(FileId("file_1", "anthropic_messages")),
        File(Url("https://x.example/a.pdf"), name="T"),
        File(PlainText("words")),
        File(None, citations=True, blocks=(Text("c"),)),
        SearchResult("R", "https://x.example", (Text("t"),)),
    )


def test_a_tool_result_may_hold_nothing_text_images_and_an_error() -> None:
    blocks = parse_blocks(
        "user",
        {"type": "tool_result", "tool_use_id": "a"},
        {"type": "tool_result", "tool_use_id": "b", "content": "x", "is_error": True},
        {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "tool_reference", "tool_name": "t"}]},
    )

    assert blocks[0] == ToolResult("a", ())
    assert blocks[1] == ToolResult("b", (Text("x"),), is_error=True)
    assert blocks[2].blocks == (
        Opaque("anthropic_messages", "tool_reference", b'{"type":"tool_reference","tool_name":"t"}'),
    )


def test_native_thinking_is_a_proof_of_the_whole_block_without_its_cache_hint() -> None:
    wire = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}

    (block,) = parse_blocks("assistant", {**wire, "cache_control": {"type": "ephemeral"}})

    original = json.dumps(wire, separators=(",", ":")).encode()
    assert block == Reasoning("hm", Proof("anthropic_messages", "thinking", (original,)))


def test_thinking_without_text_keeps_its_signature() -> None:
    (block,) = parse_blocks("assistant", {"type": "thinking", "thinking": "", "signature": "c2ln"})

    assert block.text == ""
    assert block.proof is not None


@pytest.mark.parametrize("signature", [{"signature": ""}, {"signature": None}, {}])
def test_unsigned_thinking_proves_nothing(signature: dict[str, Any]) -> None:
    (block,) = parse_blocks("assistant", {"type": "thinking", "thinking": "hm", **signature})

    assert block == Reasoning("hm", None)


def test_a_sealed_signature_gives_back_the_proof_within() -> None:
    proof = Proof("openai_responses", "reasoning", (b'{"type":"reasoning","id":"rs_1"}',), "gpt")

    blocks = parse_blocks(
        "assistant",
        {"type": "thinking", "thinking": "hm", "signature": seal(proof)},
        {"type": "redacted_thinking", "data": seal(proof)},
    )

    assert blocks == (Reasoning("hm", proof), Reasoning("", proof))


def test_a_damaged_seal_leaves_the_text() -> None:
    (block,) = parse_blocks("assistant", {"type": "thinking", "thinking": "hm", "signature": "gw1.%%%"})

    assert block == Reasoning("hm", None)


def test_steps_of_server_tools_keep_their_bytes_and_tell_their_gist() -> None:
    call, result = parse_blocks(
        "assistant",
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "news"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": [
                {"type": "web_search_result", "url": "https://n.example", "title": "N", "encrypted_content": "e"}
            ],
        },
    )

    assert isinstance(call, ServerTool)
    assert call.text == "news"
    assert json.loads(result.raw)["content"][0]["encrypted_content"] == "e"
    assert result.text == "N: https://n.example"


def test_a_compaction_is_its_summary_and_its_proof() -> None:
    wire = {"type": "compaction", "content": "short", "encrypted_content": "ZQ=="}

    (block,) = parse_blocks("assistant", wire)

    original = json.dumps(wire, separators=(",", ":")).encode()
    assert block == Compaction("short", Proof("anthropic_messages", "compaction", (original,)))


def test_a_block_of_an_unknown_type_stays_as_it_is() -> None:
    (block,) = parse_blocks("user", {"type": "hologram", "beam": [1.0]})

    assert block == Opaque("anthropic_messages", "hologram", b'{"type":"hologram","beam":[1.0]}')


def test_tools_are_the_clients_the_vendors_for_the_client_or_the_servers() -> None:
    tools = parse(
        tools=[
            {"name": "f", "input_schema": {"type": "object"}, "eager_input_streaming": True},
            {"type": "custom", "name": "g", "input_schema": {"type": "object"}, "input_examples": [{"a": 1}]},
            {"type": "bash_20250124", "name": "bash"},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
        ]
    ).tools

    assert tools[0] == FunctionTool("f", schema={"type": "object"}, extensions={"eager_input_streaming": True})
    assert tools[1] == FunctionTool("g", schema={"type": "object"}, examples=({"a": 1},))
    assert [tool.server for tool in tools if isinstance(tool, NativeTool)] == [False, True]


@pytest.mark.parametrize(
    ("wire", "choice", "parallel"),
    [
        ({"type": "auto"}, ToolChoice("auto"), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice("any"), False),
        ({"type": "tool", "name": "f"}, ToolChoice("tool", ((None, "f"),)), None),
        ({"type": "none"}, ToolChoice("none"), None),
    ],
)
def test_the_choice_of_tools_is_read(wire: dict[str, Any], choice: ToolChoice, parallel: bool | None) -> None:
    parsed = parse(tools=[{"name": "f"}], tool_choice=wire)

    assert (parsed.tool_choice, parsed.parallel_tool_calls) == (choice, parallel)


@pytest.mark.parametrize(
    ("thinking", "settings"),
    [
        ({"type": "adaptive"}, ReasoningSettings("on")),
        ({"type": "enabled", "budget_tokens": 2048}, ReasoningSettings("on", None, 2048)),
        ({"type": "disabled"}, ReasoningSettings("off")),
        ({"type": "between_tools"}, ReasoningSettings("between_tools")),
        ({"type": "adaptive", "display": "updates"}, ReasoningSettings("on", None, None, "updates")),
    ],
)
def test_the_forms_of_thinking_are_read(thinking: dict[str, Any], settings: ReasoningSettings) -> None:
    assert parse(thinking=thinking).reasoning == settings


def test_structured_output_is_read_in_its_new_and_its_old_place() -> None:
    wire = {"type": "json_schema", "schema": {"type": "object"}}

    assert parse(output_config={"format": wire}).output_format == OutputFormat("json_schema", {"type": "object"})
    assert parse(output_format=wire).output_format == OutputFormat("json_schema", {"type": "object"})


def test_what_has_no_place_becomes_an_extra_with_the_class_of_its_loss(read_wire: ReadWire) -> None:
    parsed = parse_request(read_wire("anthropic_messages/requests/fields-of-the-vendor-alone.json"), {})

    assert {extension.name: extension.severity for extension in parsed.extensions} == {
        "thinking.block_binding": "ignorable",
        "output_config.task_budget": "degrading",
        "context_management": "degrading",
        "diagnostics": "ignorable",
        "inference_geo": "wrong",
        "speed": "ignorable",
        "container": "wrong",
        "mcp_servers": "wrong",
        "fallbacks": "ignorable",
        "some_future_field": "ignorable",
    }


def test_fields_inside_blocks_and_messages_are_named_by_their_path() -> None:
    parsed = parse(
        messages=[
            {"role": "user", "content": "q", "mood": "calm"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}, "caller": {"type": "direct"}}],
            },
        ]
    )

    assert [extension.name for extension in parsed.extensions] == ["messages[0].mood", "messages[1].content[0].caller"]


def test_counting_needs_no_limit() -> None:
    assert parse_count_request(b'{"model":"m","messages":[{"role":"user","content":"q"}]}', {}).max_tokens is None


def test_a_limit_of_zero_only_fills_the_cache() -> None:
    assert parse(max_tokens=0).max_tokens == 0


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"model": ...}, "model", "model string is required"),
        ({"model": 5}, "model", "model string is required"),
        ({"max_tokens": ...}, "max_tokens", "max_tokens number is required"),
        ({"max_tokens": "many"}, "max_tokens", "int"),
        ({"messages": ...}, "messages", "messages array is required"),
        ({"messages": "hi"}, "messages", "messages array is required"),
        ({"messages": []}, "messages", "messages array cannot be empty"),
        ({"temperature": 1.5}, "temperature", "temperature must be a number between 0 and 1"),
        ({"temperature": "hot"}, "temperature", "temperature must be a number between 0 and 1"),
        ({"top_p": -1}, "top_p", "top_p must be a number between 0 and 1"),
        ({"top_k": -1}, "top_k", "top_k must be a non-negative number"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "user, assistant or system"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "required"),
        ({"messages": ["hi"]}, "messages[0]", "object"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "array"),
        ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]", "object"),
        ({"messages": [{"role": "user", "content": [{"words": "x"}]}]}, "messages[0].content[0]", "type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "required"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
            "messages[0].content[0].text",
            "str",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "cloud"}}]}]},
            "messages[0].content[0].source.type",
            "cloud",
        ),
        ({"tools": [{"description": "nameless"}]}, "tools[0].name", "required"),
        ({"tools": [{"name": 5}]}, "tools[0].name", "a string"),
        ({"tools": [{"name": "f", "input_schema": "none"}]}, "tools[0].input_schema", "object"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.type", "name"),
        ({"thinking": {"type": "deep"}}, "thinking.type", "adaptive"),
        ({"output_config": {"effort": 3}}, "output_config.effort", "str"),
        ({"output_config": {"format": {"type": "yaml"}}}, "output_config.format", "json_schema"),
        ({"system": [{"type": "image", "source": {"type": "url", "url": "u"}}]}, "system[0].type", "text"),
        ({"stop_sequences": [1]}, "stop_sequences[0]", "str"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(words)) as caught:
        parse(**fields)

    assert caught.value.failure.param == param


def test_an_effort_of_a_name_that_nobody_knows_yet_is_kept() -> None:
    request = parse(output_config={"effort": "huge"})

    assert request.reasoning == ReasoningSettings()
    assert [(extension.name, extension.value, extension.severity) for extension in request.extensions] == [
        ("output_config.effort", "huge", "degrading")
    ]
    assert json.loads(render_request(request, CLAUDE).body)["output_config"] == {"effort": "huge"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"model":',
        b'{"model":"m","max_tokens":NaN,"messages":[]}',
        b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"\xff"}]}',
        b'{"model":"m","max_tokens":1,"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model":"m","max_tokens":1,"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"q"}],"some":1e999}',
    ],
    ids=["empty", "list", "null", "cut", "nan", "not-utf-8", "deep-list", "deep-object", "too-large-number"],
)
def test_a_broken_body_is_the_clients_fault(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_request(body, {})


def test_half_a_surrogate_pair_is_replaced_and_whole_ones_stay() -> None:
    body = rb'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"\ud83d\ude00 \\ud800 \ud83d."}]}'

    assert parse_request(body, {}).turns[0].blocks == (Text("\U0001f600 \\ud800 \ufffd."),)
