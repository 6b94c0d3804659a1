from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.conversation.blocks import Compaction, Opaque, Proof, Reasoning, Refusal, ServerTool, Text, ToolCall
from app.conversation.capabilities import RenderContext
from app.conversation.envelope import seal, unseal
from app.conversation.response import FinishReason, Response, StopDetail, Usage
from app.dialects.anthropic_messages import parse_response, pass_response, render_response, response_parser, vocabulary
from app.dialects.anthropic_messages.response_parser import parse_any, parse_plain
from app.errors import UpstreamMalformed, UpstreamRefused
from tests.dialects.anthropic_messages.sdk import read_message
from tests.laws.cases import WIRE

CONTEXT = RenderContext(model="asked-for", id="abc", created=1, input_tokens=42)


def respond(*blocks: Any, finish: FinishReason = "stop", **fields: Any) -> Response:
    return Response(id="chatcmpl-1", model="m", blocks=blocks, finish_reason=finish, **fields)


def render(response: Response) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(render_response(response, CONTEXT))
    return message


def message(**fields: Any) -> bytes:
    whole = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": "end_turn",
    }
    return json.dumps({**whole, **fields}).encode()


# ---- parsing ----


def test_thinking_text_and_calls_are_read_in_order(read_wire: Callable[[str], bytes]) -> None:
    response = parse_response(read_wire("anthropic_messages/responses/thinking-text-and-call.json"))

    assert [type(block) for block in response.blocks] == [Reasoning, Text, ToolCall]
    assert response.finish_reason == "tool_calls"
    assert response.usage == Usage(fresh=12, cache_read=30, output=44, reasoning=9)
    assert response.service_tier == "default"


def test_the_three_counts_of_input_stay_disjoint() -> None:
    usage = {"input_tokens": 5, "cache_creation_input_tokens": 7, "cache_read_input_tokens": None, "output_tokens": 3}

    parsed = parse_response(message(usage=usage)).usage

    assert parsed == Usage(fresh=5, cache_written=7, output=3)
    assert parsed.input == 12


@pytest.mark.parametrize(
    ("stop_reason", "called", "finish"),
    [
        ("end_turn", False, "stop"),
        ("max_tokens", True, "length"),
        ("stop_sequence", False, "stop_sequence"),
        ("tool_use", True, "tool_calls"),
        ("refusal", False, "content_filter"),
        ("pause_turn", False, "pause"),
        ("model_context_window_exceeded", False, "length"),
        ("compaction", False, "compaction"),
        ("a_new_reason", False, "stop"),
        ("end_turn", True, "tool_calls"),
        ("tool_use", False, "stop"),
        (None, False, "stop"),
    ],
)
def test_why_it_ended_is_read(stop_reason: str | None, called: bool, finish: FinishReason) -> None:
    content = [{"type": "tool_use", "id": "a", "name": "f", "input": {}}] if called else []

    response = parse_response(message(stop_reason=stop_reason, content=content))

    assert (response.finish_reason, response.raw_finish_reason) == (finish, stop_reason)


def test_an_error_inside_a_success_is_an_error() -> None:
    with pytest.raises(UpstreamRefused) as caught:
        parse_response(b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}')

    assert (caught.value.failure.kind, caught.value.failure.message) == ("overloaded", "Overloaded")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"content":5,"id":"x"}',
        b'{"id":"x","content":[{"type":"text"}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_message_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamMalformed):
        parse_response(body)


# ---- rendering ----


def test_a_message_has_every_field_that_clients_read() -> None:
    rendered = render(respond(Text("hi"), usage=Usage(fresh=5, cache_read=2, output=3, reasoning=1, web_searches=1)))

    assert rendered == {
        "id": "msg_abc",
        "type": "message",
        "role": "assistant",
        "model": "asked-for",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 2,
            "output_tokens": 3,
            "output_tokens_details": {"thinking_tokens": 1},
            "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
        },
    }


def test_the_sdk_reads_calls_and_thinking() -> None:
    read = read_message(
        render_response(
            respond(Reasoning("hm"), Text("t"), ToolCall("c", "f", '{"a":1}'), finish="tool_calls"), CONTEXT
        )
    )

    assert [block.type for block in read.content] == ["thinking", "text", "tool_use"]
    assert read.content[2].input == {"a": 1}  # type: ignore[union-attr]
    assert (read.stop_reason, read.usage.input_tokens) == ("tool_use", 42)


def test_reasoning_of_others_is_signed_with_its_sealed_proof() -> None:
    proof = Proof("openai_responses", "reasoning", (b'{"id":"rs_1"}',))

    with_text, without_text = render(respond(Reasoning("hm", proof), Reasoning("", proof)))["content"]

    assert with_text == {"type": "thinking", "thinking": "hm", "signature": seal(proof)}
    assert without_text == {"type": "redacted_thinking", "data": seal(proof)}


def test_reasoning_without_any_proof_still_gets_a_recognisable_mark() -> None:
    (block,) = render(respond(Reasoning("hm")))["content"]

    mark = unseal(block["signature"])
    assert mark is not None
    assert (mark.kind, mark.originals) == ("plain", ())


def test_claudes_own_blocks_come_back_as_they_were(read_wire: Callable[[str], bytes]) -> None:
    body = read_wire("anthropic_messages/responses/silent-and-redacted-thinking.json")

    rendered = render(parse_response(body))

    assert rendered["content"] == json.loads(body)["content"]


def test_a_response_of_this_dialect_keeps_every_field(read_wire: Callable[[str], bytes]) -> None:
    for name in (
        "web-search-with-citation",
        "compaction",
        "refusal-in-the-middle",
        "context-window-full",
        "stop-sequence",
    ):
        body = read_wire(f"anthropic_messages/responses/{name}.json")

        rendered = render(parse_response(body))

        assert rendered == {**json.loads(body), "model": "asked-for"}, name


def test_a_refusal_is_text_and_the_reason_of_the_end() -> None:
    rendered = render(respond(Refusal("I cannot.")))

    assert rendered["content"] == [{"type": "text", "text": "I cannot."}]
    assert rendered["stop_reason"] == "refusal"
    assert rendered["stop_details"] == {"type": "refusal", "category": None, "explanation": "I cannot."}


def test_a_filtered_answer_is_a_refusal() -> None:
    rendered = render(respond(finish="content_filter", stop_detail=StopDetail("cyber", "no")))

    assert rendered["stop_details"] == {"type": "refusal", "category": "cyber", "explanation": "no"}


def test_unparsable_arguments_are_kept_under_a_name_of_their_own() -> None:
    rendered = render(respond(ToolCall("c", "f", '{"cmd":"ls'), finish="length"))

    assert rendered["content"][0]["input"] == {"_raw": '{"cmd":"ls'}
    assert rendered["stop_reason"] == "max_tokens"


def test_what_this_dialect_cannot_show_is_left_out() -> None:
    rendered = render(
        respond(
            ServerTool("openai_responses", "web_search", b"{}"),
            Opaque("openai_responses", "x", b"{}"),
            Text("t", citations=({"type": "file_citation", "file_id": "f"},)),
            Text(""),
        )
    )

    assert rendered["content"] == [{"type": "text", "text": "t"}]


def test_a_foreign_compaction_travels_sealed() -> None:
    proof = Proof("openai_responses", "compaction", (b'{"encrypted_content":"e"}',))

    (block,) = render(respond(Compaction("short", proof), finish="compaction"))["content"]

    assert block == {"type": "compaction", "content": "short", "encrypted_content": seal(proof)}


def test_a_passing_answer_changes_only_the_name_of_the_model(read_wire: Callable[[str], bytes]) -> None:
    body = read_wire("anthropic_messages/responses/text.json")

    repaired, _ = pass_response(body, CONTEXT, None)  # type: ignore[arg-type]

    assert repaired == body.replace(b'"claude-sonnet-4-5"', b'"asked-for"')


CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}}
HI = {"type": "text", "text": "Hi"}
USED = {"input_tokens": 3, "output_tokens": 2, "service_tier": "standard", "cache_creation": {}}
PLAIN: list[dict[str, Any]] = [
    {},
    {"content": [HI]},
    {"content": [HI, CALL], "stop_reason": "tool_use", "usage": USED},
    {"content": [CALL], "stop_reason": "end_turn"},
    {"content": [HI], "stop_reason": "stop_sequence", "stop_sequence": "END", "usage": None},
    {"content": [{**HI, "citations": None}, {**CALL, "input": "{}"}], "stop_reason": "max_tokens"},
]
UNUSUAL: list[dict[str, Any]] = [
    {"content": [{"type": "thinking", "thinking": "Hm", "signature": "s"}, HI]},
    {"content": [CALL, CALL], "stop_reason": "tool_use"},
    {"content": [{**CALL, "id": ""}], "stop_reason": "tool_use"},
    {"content": [{**CALL, "caller": {"type": "direct"}}], "stop_reason": "tool_use"},
    {"content": "Hi"},
    {"content": [HI], "stop_reason": None},
    {"content": [HI], "stop_reason": "stop"},
    {"content": [HI], "stop_reason": "refusal", "stop_details": {"category": "c"}},
    {"content": [HI], "container": {"id": "c"}},
    {"error": {"type": "overloaded_error", "message": "later"}},
]


@pytest.mark.parametrize("fields", PLAIN)
def test_a_plain_message_is_read_at_once_as_any_other_is(fields: dict[str, Any]) -> None:
    body = message(**fields)

    assert parse_plain(body) == parse_any(body)


@pytest.mark.parametrize("fields", UNUSUAL)
def test_an_unusual_message_is_not_read_at_once(fields: dict[str, Any]) -> None:
    assert parse_plain(message(**fields)) is None


@pytest.mark.parametrize(
    "path", sorted((WIRE / "anthropic_messages/responses").glob("*.json")), ids=lambda path: path.stem
)
def test_a_recorded_message_is_read_alike(path: Path) -> None:
    read = parse_plain(path.read_bytes())

    assert read is None or read == parse_any(path.read_bytes())


def test_the_short_look_at_a_message_knows_every_field_that_the_long_one_reads() -> None:
    read = {
        *vocabulary.WireMessage.__struct_fields__,
        *vocabulary.RESPONSE_EXTENSIONS,
        *response_parser._BESIDE,
        "error",
    }

    assert set(response_parser._PlainMessage.__struct_fields__) == read
