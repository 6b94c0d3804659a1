"""Specifies whole replies of Chat Completions: what is understood of any server's, what clients get."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from app.conversation.blocks import Proof, Reasoning, Text, ToolCall
from app.conversation.capabilities import RenderContext
from app.conversation.envelope import unseal
from app.conversation.response import Response, StopDetail, Usage
from app.conversation.streams.fold import fold
from app.dialects.openai_chat import parse_response, render_response, response_parser, vocabulary
from app.dialects.openai_chat.response_parser import parse_plain
from app.dialects.openai_chat.stream_parser import StreamParser
from app.dialects.openai_chat.usage import find_usage
from app.errors import UpstreamCut, UpstreamMalformed, UpstreamRefused

ReadWire = Callable[[str], bytes]
WIRE = Path(__file__).parents[2] / "wire"

CONTEXT = RenderContext(model="asked-for", id="abc123", created=1_760_000_000)


def response_of(*blocks: Any, **more: Any) -> Response:
    return Response(**{"id": "up", "model": "m", "blocks": blocks, "finish_reason": "stop", **more})


def render(response: Response, context: RenderContext = CONTEXT) -> dict[str, Any]:
    body = render_response(response, context)
    ChatCompletion.model_validate_json(body, strict=True)
    value: dict[str, Any] = json.loads(body)
    return value


def test_a_whole_reply_is_understood(read_wire: ReadWire) -> None:
    response = parse_response(read_wire("openai_chat/responses/text.json"))

    assert response.blocks == (Text('Hello there "you"\n😀 é'),)
    assert response.usage == Usage(fresh=5, cache_read=4, output=2)
    assert (response.service_tier, response.extensions) == ("default", {"system_fingerprint": "fp_44709d6fcb"})


def test_calls_get_ids_and_the_text_of_their_arguments(read_wire: ReadWire) -> None:
    response = parse_response(read_wire("openai_chat/responses/arguments-as-an-object-and-no-ids.json"))

    calls = [block for block in response.blocks if isinstance(block, ToolCall)]
    assert [json.loads(call.arguments or "{}") for call in calls] == [{"x": 1}, {}, {"x": 2}]
    assert len({call.id for call in calls}) == 3
    assert calls[2].id == "7"
    assert response.finish_reason == "tool_calls"


def test_silent_calls_of_the_same_tool_are_not_taken_for_one() -> None:
    calls = [{"type": "function", "function": {"name": "f", "arguments": ""}}] * 2
    body = {"id": "c", "choices": [{"index": 0, "finish_reason": "stop", "message": {"tool_calls": calls}}]}

    response = parse_response(json.dumps(body).encode())

    assert [block.name for block in response.blocks if isinstance(block, ToolCall)] == ["f", "f"]


def test_a_signed_call_keeps_its_signature(read_wire: ReadWire) -> None:
    carrier, call = parse_response(read_wire("openai_chat/responses/signed-call-of-gemini.json")).blocks

    assert isinstance(call, ToolCall)
    assert call.proof is not None
    assert carrier == Reasoning("", call.proof)
    assert json.loads(call.proof.originals[0]) == {"google": {"thought_signature": "c2ln"}}


def test_a_legacy_function_call_is_a_call(read_wire: ReadWire) -> None:
    response = parse_response(read_wire("openai_chat/responses/legacy-function-call.json"))

    (call,) = response.blocks
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments) == ("f", '{"x":1}')
    assert response.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"error":{"message":"provider unavailable","code":502}}', 502),
        (b'{"error":"provider unavailable"}', 502),
        (b'{"id":"x","choices":[],"error":{"message":"provider unavailable","code":"429"}}', 429),
        (b'{"object":"error","message":"provider unavailable","code":400}', 400),
    ],
)
def test_an_error_in_a_reply_of_status_200_is_a_failure(body: bytes, status: int) -> None:
    with pytest.raises(UpstreamRefused, match="provider unavailable") as refusal:
        parse_response(body)

    assert refusal.value.failure.http_status == status


@pytest.mark.parametrize("body", [b"", b"<html><title>Bad gateway</title></html>", b"data: x", b'{"choices":'])
def test_what_is_no_reply_is_malformed(body: bytes) -> None:
    with pytest.raises((UpstreamMalformed, UpstreamRefused)) as refusal:
        parse_response(body)

    assert refusal.value.failure.http_status == 502


def test_a_reply_is_rendered_with_every_field_of_the_contract() -> None:
    response = response_of(
        Reasoning("hm"),
        Text("He"),
        Text("llo"),
        ToolCall("a", "f", ""),
        finish_reason="tool_calls",
        usage=Usage(fresh=3, cache_read=4, cache_written=5, output=6, reasoning=2),
        service_tier="default",
        extensions={"system_fingerprint": "fp", "container": "not ours"},
    )

    assert render(response) == {
        "id": "chatcmpl-abc123",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": "asked-for",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello",
                    "refusal": None,
                    "reasoning_content": "hm",
                    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 6,
            "total_tokens": 18,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 5},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
        "service_tier": "default",
        "system_fingerprint": "fp",
    }


def test_content_is_null_only_beside_calls() -> None:
    called = render(response_of(ToolCall("a", "f", "{}"), finish_reason="tool_calls"))
    silent = render(response_of())

    assert called["choices"][0]["message"]["content"] is None
    assert silent["choices"][0]["message"]["content"] == ""


@pytest.mark.parametrize(
    ("reason", "word"),
    [("stop_sequence", "stop"), ("length", "length"), ("pause", "length"), ("content_filter", "content_filter")],
)
def test_finish_reasons_are_said_in_the_words_of_the_contract(reason: Any, word: str) -> None:
    assert render(response_of(Text("x"), finish_reason=reason))["choices"][0]["finish_reason"] == word


def test_why_the_vendor_stopped_is_the_refusal() -> None:
    response = response_of(Text("x"), finish_reason="content_filter", stop_detail=StopDetail("cyber", "No."))

    assert render(response)["choices"][0]["message"]["refusal"] == "No."


def test_proofs_travel_sealed() -> None:
    proofs = [Proof("anthropic_messages", kind, (b'{"a":1}',)) for kind in ("thinking", "redacted")]
    response = response_of(Reasoning("hm", proofs[0]), Reasoning("", proofs[1]), Text("x"))

    message = render(response)["choices"][0]["message"]

    assert message["reasoning_content"] == "hm"
    assert [unseal(entry["data"]) for entry in message["reasoning_details"]] == proofs
    assert [entry["index"] for entry in message["reasoning_details"]] == [0, 1]


def test_citations_of_web_pages_are_annotations_and_others_are_not() -> None:
    page = {"type": "url_citation", "url": "https://example.org", "title": "E", "start_index": 1, "end_index": 2}
    place = {"type": "char_location", "document_index": 0}

    message = render(response_of(Text("x", citations=(page, place))))["choices"][0]["message"]

    assert message["annotations"] == [
        {
            "type": "url_citation",
            "url_citation": {"url": "https://example.org", "title": "E", "start_index": 1, "end_index": 2},
        }
    ]


def test_a_client_that_asked_with_functions_is_answered_with_function_call() -> None:
    context = RenderContext(model="m", id="i", created=1, legacy=True)

    choice = render(response_of(ToolCall("a", "f", "{}"), finish_reason="tool_calls"), context)["choices"][0]

    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert choice["finish_reason"] == "function_call"
    assert "tool_calls" not in choice["message"]


def test_a_response_that_broke_off_is_never_rendered_as_whole() -> None:
    with pytest.raises(UpstreamCut):
        render_response(response_of(Text("x"), finish_reason=None), CONTEXT)


def test_usage_of_a_reply_that_is_only_passed_on_is_found() -> None:
    assert find_usage(b'{"usage":{"prompt_tokens":7,"completion_tokens":3}}') == Usage(fresh=7, output=3)
    assert find_usage(b'{"usage":null}') is None
    assert find_usage(b"nonsense") is None


PLAIN = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m", "system_fingerprint": "f",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi\n\"é\""}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}  # fmt: skip
NOT_PLAIN: list[dict[str, Any]] = [
    {"content": "Hi", "reasoning": "Hm"},
    {"content": "Hi", "annotations": [{"type": "url_citation"}]},
    {"content": "Hi", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]},
    {"content": ""},
    {"content": None},
    {"content": [{"type": "text", "text": "Hi"}]},
]


def plain(message: dict[str, Any] | None = None, choice: Mapping[str, Any] = {}, **more: Any) -> bytes:
    (said,) = PLAIN["choices"]  # type: ignore[misc]
    first = {**said, **({"message": message} if message is not None else {}), **choice}  # type: ignore[dict-item]
    return json.dumps({**PLAIN, "choices": [first], **more}).encode()


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter", "eos", "stop_sequence"])
@pytest.mark.parametrize("more", [{}, {"created": 0, "id": None, "usage": None, "service_tier": "flex"}])
def test_a_reply_of_one_text_is_read_at_once_as_its_stream_would_be(reason: str, more: dict[str, Any]) -> None:
    body = plain(choice={"finish_reason": reason}, **more)

    assert parse_plain(body) == fold(StreamParser().feed([body, b"[DONE]"]))


@pytest.mark.parametrize("message", NOT_PLAIN)
def test_a_reply_that_says_more_is_read_as_a_stream(message: dict[str, Any]) -> None:
    assert parse_plain(plain(message)) is None


@pytest.mark.parametrize(
    "choice", [{"finish_reason": None}, {"finish_reason": "odd"}, {"index": 1}, {"matched_stop": "X"}, {"logprobs": {}}]
)
def test_a_choice_that_says_more_is_read_as_a_stream(choice: dict[str, Any]) -> None:
    assert parse_plain(plain(choice=choice)) is None


@pytest.mark.parametrize("path", sorted((WIRE / "openai_chat/responses").glob("*.json")), ids=lambda path: path.stem)
def test_a_recorded_reply_is_read_alike(path: Path) -> None:
    read = parse_plain(path.read_bytes())

    assert read is None or read == fold(StreamParser().feed([path.read_bytes(), b"[DONE]"]))


def test_the_short_look_at_a_reply_of_one_text_knows_every_field_that_the_long_one_reads() -> None:
    looks = [
        (response_parser._PlainMessage, vocabulary.WireDelta),
        (response_parser._PlainChoice, vocabulary.WireChoice),
        (response_parser._Plain, vocabulary.WireChunk),
    ]

    unseen = {long.__name__: set(long.__struct_fields__) - set(short.__struct_fields__) for short, long in looks}

    assert unseen == {"WireDelta": set(), "WireChoice": set(), "WireChunk": set()}
