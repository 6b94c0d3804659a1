"""Specifies how whole responses of the Responses dialect are read and written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from openai.types.responses import Response as VendorResponse

from app.conversation.blocks import Reasoning, Refusal, Text, ToolCall
from app.conversation.response import FinishReason, Response, StopDetail, Usage
from app.dialects.openai_responses import parse_request, parse_response, render_response
from app.errors import UpstreamMalformed, UpstreamRefused
from tests.dialects.openai_responses.wire import CONTEXT, ask, parse_body, vendor

RESPONSES = sorted((Path(__file__).parents[2] / "wire" / "openai_responses" / "responses").glob("*.json"))

# What Open Responses wants in every response, whatever the request said.
ALWAYS_THERE = (
    *("id", "object", "created_at", "completed_at", "status", "error", "incomplete_details", "output", "usage"),
    *("model", "instructions", "previous_response_id", "tools", "tool_choice", "parallel_tool_calls", "text"),
    *("temperature", "top_p", "presence_penalty", "frequency_penalty", "top_logprobs", "reasoning", "truncation"),
    *("max_output_tokens", "max_tool_calls", "store", "background", "service_tier", "metadata", "user"),
    *("safety_identifier", "prompt_cache_key"),
)


def answer(*blocks: Any, finish_reason: FinishReason = "stop", **more: Any) -> Response:
    return Response(id="x", model="m", blocks=blocks, finish_reason=finish_reason, **more)


def rendered(response: Response, reply: Any = CONTEXT) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(render_response(response, reply))
    return body


@pytest.mark.parametrize("path", RESPONSES, ids=lambda path: path.stem)
def test_every_response_is_one_for_the_vendors_own_types(path: Path) -> None:
    body = render_response(parse_response(path.read_bytes()), CONTEXT)

    VendorResponse.model_validate_json(body)
    assert vendor(body, "application/json").responses.create(model="m", input="x").id == "resp_0123456789abcdef"


def test_a_response_has_every_field_though_the_request_is_not_known() -> None:
    body = rendered(answer(Text("hi")))

    assert [name for name in ALWAYS_THERE if name not in body] == []
    assert (body["temperature"], body["top_p"], body["truncation"]) == (1.0, 1.0, "disabled")


def test_a_response_repeats_the_request() -> None:
    request = parse_body(
        ask(
            {"role": "user", "content": "q"},
            instructions="Be brief.",
            temperature=0.2,
            max_output_tokens=99,
            tools=[{"type": "function", "name": "f"}],
            tool_choice={"type": "function", "name": "f"},
            reasoning={"effort": "low"},
            text={"verbosity": "low"},
            metadata={"a": "b"},
            previous_response_id="resp_0",
            store=False,
        )
    )

    body = rendered(answer(Text("hi")), replace(CONTEXT, request=request))

    assert body["instructions"] == "Be brief."
    assert (body["temperature"], body["max_output_tokens"], body["store"]) == (0.2, 99, False)
    assert body["tools"] == [{"type": "function", "name": "f", "description": None, "parameters": None, "strict": None}]
    assert body["tool_choice"] == {"type": "function", "name": "f"}
    assert body["reasoning"] == {"effort": "low", "summary": None}
    assert body["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert (body["metadata"], body["previous_response_id"]) == ({"a": "b"}, "resp_0")


def test_a_request_of_codex_is_repeated_without_error(read_wire: Callable[[str], bytes]) -> None:
    request = parse_request(read_wire("openai_responses/requests/codex-turn-with-tools-and-reasoning.json"), {})

    body = rendered(answer(Text("hi")), replace(CONTEXT, request=request))

    assert [tool["type"] for tool in body["tools"]] == ["function", "custom", "namespace", "tool_search", "web_search"]


@pytest.mark.parametrize(
    ("reason", "status", "detail"),
    [
        ("stop", "completed", None),
        ("stop_sequence", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("pause", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_how_an_answer_ended_is_its_status(reason: FinishReason, status: str, detail: Any) -> None:
    body = rendered(answer(Text("hi"), finish_reason=reason))

    assert (body["status"], body["incomplete_details"]) == (status, detail)
    assert body["output"][-1]["status"] == status


def test_a_refusal_is_a_complete_answer() -> None:
    explained = answer(finish_reason="content_filter", stop_detail=StopDetail("cyber", "I cannot help with that."))
    said = answer(Refusal("No."), finish_reason="content_filter")

    bodies = [rendered(explained), rendered(said)]

    assert [body["status"] for body in bodies] == ["completed", "completed"]
    assert [body["output"][0]["content"] for body in bodies] == [
        [{"type": "refusal", "refusal": "I cannot help with that."}],
        [{"type": "refusal", "refusal": "No."}],
    ]


def test_counts_of_the_wire_contain_what_was_cached() -> None:
    usage = Usage(fresh=10, cache_read=100, cache_written=5, output=20, reasoning=15, web_searches=2)

    body = rendered(answer(Text("hi"), usage=usage))

    assert body["usage"] == {
        "input_tokens": 115,
        "input_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 5},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 15},
        "total_tokens": 135,
    }
    assert parse_response(json.dumps(body).encode()).usage == usage


@pytest.mark.parametrize("position", [0, 1])
def test_an_item_that_says_nothing_changes_no_call(position: int) -> None:
    items = [{"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}]
    items.insert(position, {"type": "message", "role": "assistant", "content": []})
    body = json.dumps({"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": items})

    (call,) = parse_response(body.encode()).blocks

    assert isinstance(call, ToolCall)
    assert call.id == "call_1"


def test_reasoning_text_and_calls_are_read_in_order(read_wire: Callable[[str], bytes]) -> None:
    response = parse_response(read_wire("openai_responses/responses/reasoning-text-and-parallel-calls.json"))

    reasoning, text, first, second = response.blocks
    assert isinstance(reasoning, Reasoning)
    assert reasoning.text == "Look first.\n\nThen read."
    assert text == Text("I look.", phase="commentary")
    assert first == ToolCall("call_a", "ls", '{"path": "."}')
    assert second == ToolCall("call_b", "get", '{"k":1.0}', namespace="mcp__kv__")
    assert response.finish_reason == "tool_calls"
    assert response.usage == Usage(fresh=100, cache_read=1000, cache_written=100, output=90, reasoning=40)


@pytest.mark.parametrize(
    ("reason", "finish_reason"),
    [
        ("max_output_tokens", "length"),
        ("max_messages", "length"),
        ("content_filter", "content_filter"),
        ("steered", "stop"),
    ],
)
def test_why_an_answer_is_incomplete_is_read(reason: str, finish_reason: str) -> None:
    body = {"id": "r", "status": "incomplete", "output": [], "incomplete_details": {"reason": reason}}

    response = parse_response(json.dumps(body).encode())

    assert (response.finish_reason, response.raw_finish_reason) == (finish_reason, reason)


def test_a_failed_response_is_the_upstreams_refusal() -> None:
    error = {"code": "rate_limit_exceeded", "message": "slow down"}
    body = {"id": "r", "status": "failed", "output": [], "error": error}

    with pytest.raises(UpstreamRefused) as refused:
        parse_response(json.dumps(body).encode())

    assert (refused.value.failure.kind, refused.value.failure.message) == ("rate_limit", "slow down")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"output":[{"type":"function_call"}]}', b'{"output":7}']
)
def test_what_is_no_response_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamMalformed):
        parse_response(body)


def test_fields_that_only_this_dialect_has_come_back_to_it() -> None:
    moved = [{"id": "rs_1", "type": "reasoning", "action": "removed", "reason": "model_mismatch"}]
    body = {"id": "r", "status": "completed", "output": [], "input_transformations": moved}

    response = parse_response(json.dumps(body).encode())

    assert rendered(response)["input_transformations"] == moved
