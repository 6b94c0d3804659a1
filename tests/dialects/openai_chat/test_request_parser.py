"""What is understood of a client's request in Chat Completions, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.conversation.blocks import (
    Audio,
    CacheHint,
    File,
    FileId,
    Image,
    Inline,
    Opaque,
    Proof,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    Url,
)
from app.conversation.envelope import seal
from app.conversation.request import CustomTool, FunctionTool, NativeTool, ReasoningSettings, ToolChoice
from app.dialects import openai_responses
from app.dialects.openai_chat import NAME, parse_request, render_request
from app.errors import InvalidRequest
from tests.dialects.openai_chat.request_bodies import HELLO, ReadWire, can, parse, render


def test_leading_system_messages_are_instructions_and_later_ones_stay_where_they_are() -> None:
    request = parse(
        messages=[
            {"role": "system", "content": "a"},
            {"role": "developer", "content": [{"type": "text", "text": "b"}]},
            {"role": "user", "content": "c"},
            {"role": "developer", "content": "d"},
        ]
    )

    assert request.instructions == (Text("a"), Text("b"))
    assert [(turn.role, turn.blocks) for turn in request.turns] == [("user", (Text("c"),)), ("system", (Text("d"),))]


def test_content_may_be_a_string_or_parts_or_nothing() -> None:
    request = parse(
        messages=[
            {"role": "user", "content": "a"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, "b"]},
            {"role": "assistant", "content": None},
        ]
    )

    assert [turn.blocks for turn in request.turns] == [(Text("a"),), (Text("a"), Text("b")), ()]


def test_arguments_keep_their_spelling_both_ways() -> None:
    spelling = '{ "x": 1.0, "id": 12345678901234567890, "e": 1e-7, "s": "\\ud83d\\ude00" }'
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": spelling}}

    request = parse(messages=[*HELLO, {"role": "assistant", "content": None, "tool_calls": [call]}])
    body = render(request)

    assert request.turns[1].blocks == (ToolCall("a", "f", spelling),)
    assert body["messages"][1] == {"role": "assistant", "content": None, "tool_calls": [call]}


@pytest.mark.parametrize(
    ("arguments", "sent", "lost"),
    [
        ("", "{}", False),
        (" ", "{}", False),
        (None, "{}", False),
        ("null", "{}", False),
        ({"a": 1}, '{"a":1}', False),
        ('"{\\"a\\":1}"', '{"a":1}', True),
        ("[1]", '{"value":[1]}', True),
        ('{"cmd":"ls', '{"_raw":"{\\"cmd\\":\\"ls"}', True),
    ],
)
def test_arguments_reach_an_upstream_as_an_object(arguments: Any, sent: str, lost: bool) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    body = json.dumps({"model": "m", "messages": [{"role": "assistant", "tool_calls": [call]}]}, separators=(",", ":"))

    rendered = render_request(parse_request(body.encode(), {}), can())

    message = json.loads(rendered.body)["messages"][0]
    assert message["tool_calls"][0]["function"]["arguments"] == sent
    assert bool(rendered.losses) == lost


def test_results_are_blocks_of_user_turns_whatever_their_content() -> None:
    request = parse(
        messages=[
            {"role": "tool", "tool_call_id": "a", "content": "text"},
            {"role": "tool", "tool_call_id": 7, "content": [{"type": "text", "text": "part"}]},
            {"role": "tool", "tool_call_id": "c", "content": {"x": 1}},
            {"role": "tool", "tool_call_id": "d", "content": None},
        ]
    )

    results = [block for turn in request.turns for block in turn.blocks]
    assert results == [
        ToolResult("a", (Text("text"),)),
        ToolResult("7", (Text("part"),)),
        ToolResult("c", (Text('{"x": 1}'),)),
        ToolResult("d", ()),
    ]


def test_legacy_functions_become_tools_and_their_messages_calls_and_results() -> None:
    request = parse(
        messages=[
            *HELLO,
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "ok"},
        ],
        functions=[{"name": "f", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
    )

    call, result = request.turns[1].blocks[0], request.turns[2].blocks[0]
    assert isinstance(call, ToolCall)
    assert isinstance(result, ToolResult)
    assert call.id == result.call_id
    assert request.tools == (FunctionTool("f", schema={"type": "object"}),)
    assert request.tool_choice == ToolChoice("tool", ((None, "f"),))
    assert [extension.name for extension in request.extensions] == ["functions"]


def test_input_in_place_of_messages_is_read_as_responses_reads_it() -> None:
    items = [
        {"role": "system", "content": "Be exact."},
        {"role": "user", "content": [{"type": "input_text", "text": "Oslo?"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "A city."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Looking."}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "b", "name": "p", "input": "x"},
        {"type": "function_call_output", "call_id": "a", "output": "snow"},
        {"type": "custom_tool_call_output", "call_id": "b", "output": "ok"},
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "g"}]},
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "g"}]},
        {"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "snow"}},
        {"type": "compaction_trigger"},
    ]
    body = json.dumps({"model": "m", "input": items, "max_output_tokens": 9}).encode()

    request, expected = parse_request(body, {}), openai_responses.parse_request(body, {})

    assert request.instructions == (Text("Be exact."),)
    assert (request.turns, request.tools, request.compact) == (expected.turns, expected.tools, True)
    assert request.max_tokens == 9


def test_input_may_be_a_string() -> None:
    request = parse_request(b'{"model":"m","input":"Hello","instructions":"Be exact."}', {})

    assert request.instructions == (Text("Be exact."),)
    assert request.turns[0].blocks == (Text("Hello"),)


def test_images_and_files_are_taken_out_of_their_urls(read_wire: ReadWire) -> None:
    request = parse_request(read_wire("openai_chat/requests/images-files-and-sound.json"), {})

    _, drawn, linked, report, kept, sound = request.turns[0].blocks
    assert isinstance(drawn, Image)
    assert isinstance(drawn.source, Inline)
    assert (drawn.source.media_type, drawn.detail) == ("image/png", "high")
    assert linked == Image(Url("https://example.org/cat.jpg"))
    assert report == File(Inline("application/pdf", "JVBERi0xLjQK"), "report.pdf")
    assert kept == File(FileId("file-abc", NAME))
    assert isinstance(sound, Audio)


@pytest.mark.parametrize(
    ("url", "block"),
    [
        ("data:image/png;charset=utf-8;base64,QUJD\nREVG", Image(Inline("image/png", "QUJDREVG"))),
        ("DATA:IMAGE/PNG;BASE64,QUJD", Image(Inline("image/png", "QUJD"))),
        ("data:application/pdf;base64,QUJD", File(Inline("application/pdf", "QUJD"))),
        ("data:text/plain,a%20b", File(Inline("text/plain", "YSBi"))),
    ],
)
def test_oddly_written_data_urls_are_understood(url: str, block: Any) -> None:
    part = {"type": "image_url", "image_url": url}

    request = parse(messages=[{"role": "user", "content": [part]}])

    assert request.turns[0].blocks == (block,)


def test_a_file_of_bare_base64_takes_its_type_from_its_name() -> None:
    part = {"type": "file", "file": {"filename": "a.PDF", "file_data": "QUJD"}}

    request = parse(messages=[{"role": "user", "content": [part]}])

    assert request.turns[0].blocks == (File(Inline("application/pdf", "QUJD"), "a.PDF"),)


def test_parts_of_an_unknown_type_are_kept_whole() -> None:
    part = {"type": "video_url", "video_url": {"url": "https://example.org/v.mp4"}}

    request = parse(messages=[{"role": "user", "content": [part]}])
    body = render(request)

    (block,) = request.turns[0].blocks
    assert isinstance(block, Opaque)
    assert (block.dialect, block.type) == (NAME, "video_url")
    assert body["messages"][0]["content"] == [part]


def test_cache_hints_are_read_in_either_spelling() -> None:
    parts = [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "b", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
    ]

    request = parse(messages=[{"role": "user", "content": parts}])

    assert request.turns[0].blocks == (Text("a", CacheHint("1h")), Text("b", CacheHint("30m")))


def test_sealed_proofs_come_back_as_what_they_were() -> None:
    proof = Proof("anthropic_messages", "thinking", (b'{"type":"thinking","thinking":"hm","signature":"s"}',))
    details = [{"type": "reasoning.encrypted", "data": seal(proof), "format": "dragoman-v1", "index": 0}]

    request = parse(
        messages=[{"role": "assistant", "content": "x", "reasoning_content": "hm", "reasoning_details": details}]
    )

    assert request.turns[0].blocks == (Reasoning("hm", proof), Text("x"))


def test_sealed_proofs_come_back_in_their_places() -> None:
    proofs = [Proof("anthropic_messages", "thinking", (b"%d" % number,)) for number in range(3)]
    details = [
        {"type": "reasoning.encrypted", "data": seal(proof), "index": index}
        for proof, index in zip(proofs, (0, 2, 4), strict=True)
    ]
    calls = [{"id": word, "type": "function", "function": {"name": "f", "arguments": "{}"}} for word in "ab"]

    request = parse(messages=[{"role": "assistant", "content": "x", "tool_calls": calls, "reasoning_details": details}])

    assert [type(block) for block in request.turns[0].blocks] == [
        Reasoning, Text, Reasoning, ToolCall, Reasoning, ToolCall
    ]  # fmt: skip
    assert [block.proof for block in request.turns[0].blocks if isinstance(block, Reasoning)] == proofs


@pytest.mark.parametrize("index", [None, -1, 1.5, "1", [], 10**30, True])
def test_an_index_that_is_none_makes_a_proof_the_first(index: Any) -> None:
    proof = Proof("anthropic_messages", "thinking", (b"{}",))
    details = [{"type": "reasoning.encrypted", "data": seal(proof), "index": index}]

    request = parse(messages=[{"role": "assistant", "content": "x", "reasoning_details": details}])

    assert request.turns[0].blocks == (Reasoning("", proof), Text("x"))


def test_a_damaged_seal_is_nobodys_proof() -> None:
    details = [{"type": "reasoning.encrypted", "data": "gw1.damaged"}]

    request = parse(messages=[{"role": "assistant", "content": "x", "reasoning_details": details}])

    assert request.turns[0].blocks == (Text("x"),)


def test_details_of_a_server_are_its_own_proof() -> None:
    details = [{"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0}]

    request = parse(messages=[{"role": "assistant", "content": "x", "reasoning_details": details}])

    (thought, _) = request.turns[0].blocks
    assert isinstance(thought, Reasoning)
    assert thought.text == "hm"
    assert thought.proof is not None
    assert (thought.proof.dialect, thought.proof.kind) == (NAME, "reasoning")


def test_tools_come_nested_or_flat() -> None:
    schema = {"type": "object", "properties": {}}
    grammar = {"syntax": "lark", "definition": "start: /.+/"}

    request = parse(
        tools=[
            {"type": "function", "function": {"name": "a", "parameters": schema, "strict": True}},
            {"type": "function", "name": "b", "description": "d", "parameters": schema},
            {"name": "c", "input_schema": schema},
            {"type": "custom", "custom": {"name": "e", "format": {"type": "grammar", "grammar": grammar}}},
            {"type": "custom", "name": "f", "format": {"type": "grammar", **grammar}},
            {"type": "web_search"},
        ]
    )

    assert request.tools == (
        FunctionTool("a", schema=schema, strict=True),
        FunctionTool("b", "d", schema),
        FunctionTool("c", schema=schema),
        CustomTool("e", grammar=("lark", "start: /.+/")),
        CustomTool("f", grammar=("lark", "start: /.+/")),
        NativeTool("openai_responses", "web_search", "web_search", {"type": "web_search"}, server=True),
    )


@pytest.mark.parametrize(
    ("wire", "choice"),
    [
        ("none", ToolChoice("none")),
        ("auto", ToolChoice("auto")),
        ("required", ToolChoice("any")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("tool", ((None, "f"),))),
        ({"type": "function", "name": "f"}, ToolChoice("tool", ((None, "f"),))),
        ({"type": "custom", "custom": {"name": "f"}}, ToolChoice("tool", ((None, "f"),))),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
            ToolChoice("any", ((None, "f"),)),
        ),
    ],
)
def test_tool_choices_are_understood(wire: Any, choice: ToolChoice) -> None:
    assert parse(tool_choice=wire).tool_choice == choice


@pytest.mark.parametrize(
    ("fields", "settings"),
    [
        ({"reasoning_effort": "high"}, ReasoningSettings("on", "high")),
        ({"reasoning_effort": "none"}, ReasoningSettings("off", "none")),
        ({"reasoning_effort": "auto"}, ReasoningSettings()),
        ({"reasoning": {"effort": "low", "exclude": True}}, ReasoningSettings("on", "low", None, "omitted")),
        ({"reasoning": {"max_tokens": 2000}}, ReasoningSettings("on", None, 2000)),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, ReasoningSettings("on", None, 4096)),
        ({"thinking": {"type": "disabled"}}, ReasoningSettings("off")),
        ({"enable_thinking": False}, ReasoningSettings("off")),
        ({}, ReasoningSettings()),
    ],
)
def test_wishes_for_reasoning_are_understood_in_each_servers_words(fields: Any, settings: ReasoningSettings) -> None:
    assert parse(**fields).reasoning == settings


def test_an_effort_of_a_name_that_nobody_knows_yet_asks_for_thinking_and_is_kept() -> None:
    request = parse(reasoning_effort="huge")

    assert request.reasoning == ReasoningSettings("on")
    assert [(extension.name, extension.value, extension.severity) for extension in request.extensions] == [
        ("reasoning_effort", "huge", "degrading")
    ]
    assert render(request)["reasoning_effort"] == "huge"


def test_the_newer_limit_counts_and_minus_one_is_none() -> None:
    assert parse(max_tokens=5, max_completion_tokens=7).max_tokens == 7
    assert parse(max_tokens=-1).max_tokens is None


def test_stop_may_be_a_string_or_a_list() -> None:
    assert parse(stop="END").stop == ("END",)
    assert parse(stop=["a", "b"]).stop == ("a", "b")


@pytest.mark.parametrize(
    ("name", "value", "loss"),
    [
        ("modalities", ["text", "audio"], "wrong"),
        ("modalities", ["text"], "ignorable"),
        ("moderation", {"model": "m", "policy": {"output": {"mode": "block"}}}, "wrong"),
        ("moderation", {"model": "m"}, "degrading"),
        ("prediction", {"type": "content", "content": "x"}, "ignorable"),
        ("min_p", 0.1, "degrading"),
        ("something_new", 1, "ignorable"),
    ],
)
def test_fields_without_a_place_are_kept_with_what_their_loss_would_mean(name: str, value: Any, loss: str) -> None:
    request = parse(**{name: value})

    assert [(extension.name, extension.value, extension.severity) for extension in request.extensions] == [
        (name, value, loss)
    ]
    assert render(request)[name] == value


def test_fields_of_messages_without_a_place_go_back_where_they_stood() -> None:
    request = parse(messages=[{"role": "user", "content": "a", "weight": 1}])

    assert [extension.name for extension in request.extensions] == ["messages[0].weight"]
    assert render(request)["messages"][0]["weight"] == 1


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        (b"[]", "must be a JSON object", None),
        (b"", "not valid JSON", None),
        (b'{"model":"m"}', "messages array is required", "messages"),
        (b'{"model":"m","messages":[]}', "messages array cannot be empty", "messages"),
        (b'{"model":"m","messages":"x"}', "must be an array", "messages"),
        (b'{"messages":[{"role":"user","content":"x"}]}', "model string is required", "model"),
        (b'{"model":5,"messages":[{"role":"user","content":"x"}]}', "model string is required", "model"),
        (b'{"model":"m","messages":[{"role":"bob","content":"x"}]}', "'bob' is not one of", "messages[0].role"),
        (b'{"model":"m","messages":[{"content":"x"}]}', "role is required", "messages[0].role"),
        (b'{"model":"m","messages":[7]}', "expected an object, but got an integer", "messages[0]"),
        (b'{"model":"m","messages":[{"role":"tool","content":"x"}]}', "is required", "messages[0].tool_call_id"),
        (
            b'{"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]}',
            "must be a string",
            "messages[0].content[0].text",
        ),
        (
            b'{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}',
            "must be a URL",
            "messages[0].content[0].image_url",
        ),
        (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', "not valid JSON", None),
        (b'{"model":"m","messages":[{"role":"user","content":NaN}]}', "not valid JSON", None),
        (b'{"model":"m","messages":' + b"[" * 9000, "not valid JSON", None),
    ],
)
def test_broken_bodies_are_refused_with_the_field_and_the_remedy(body: bytes, message: str, param: str | None) -> None:
    with pytest.raises(InvalidRequest, match=message.replace("[", r"\[")) as refusal:
        parse_request(body, {})

    assert refusal.value.failure.param == param


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 3}, "temperature must be a number between 0 and 2"),
        ({"temperature": "hot"}, "temperature must be a number between 0 and 2"),
        ({"top_p": 1.5}, "top_p must be a number between 0 and 1"),
        ({"frequency_penalty": -3}, "frequency_penalty must be a number between -2 and 2"),
        ({"presence_penalty": 3}, "presence_penalty must be a number between -2 and 2"),
        ({"n": 0}, "n must be a positive integer"),
        ({"n": "2"}, "n must be a positive integer"),
        ({"max_tokens": "many"}, "max_tokens must be a number"),
        ({"max_completion_tokens": 0}, "max_completion_tokens must be at least 1"),
        ({"reasoning_effort": 3}, "reasoning_effort"),
        ({"response_format": {"type": "xml"}}, "response_format.type must be"),
        ({"tools": [{"type": "function"}]}, "function.name is required"),
        ({"tools": [{"type": "function", "function": {"name": 5}}]}, "function.name is required, as a string"),
        ({"tool_choice": {"type": "x"}}, "tool_choice must be"),
        ({"stream": "yes"}, "stream: expected a boolean, but got a string"),
    ],
)
def test_settings_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as refusal:
        parse(**fields)

    assert refusal.value.failure.param is not None
    assert refusal.value.failure.param.startswith(next(iter(fields)))


def test_half_a_surrogate_pair_is_repaired() -> None:
    request = parse_request(b'{"model":"m","messages":[{"role":"user","content":"\\ud83d x"}]}', {})

    assert request.turns[0].blocks == (Text("\ufffd x"),)
