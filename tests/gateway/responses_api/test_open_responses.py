"""The cases that Open Responses wants of a server, in our own words, on an upstream that never heard of Responses.

Source: the specification's schema version 2026-04-24, as far as it binds a server over plain HTTP.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.dialects.openai_responses.wire import check_grammar, events_of
from tests.gateway.conftest import Client
from tests.support.answers import chat_answer, chunk
from tests.support.fake_upstream import FakeUpstream, json_reply, sse

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAA"
    "DUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
USER = {"type": "message", "role": "user", "content": "Say hello."}

INPUTS: dict[str, list[dict[str, Any]]] = {
    "one message": [USER],
    "a system prompt": [{"type": "message", "role": "system", "content": "You are a pirate."}, USER],
    "an image": [
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": PIXEL}],
        }
    ],
    "several turns": [
        USER,
        {"type": "message", "role": "assistant", "content": "Hello!"},
        {"type": "message", "role": "user", "content": "Again."},
    ],
}

# What is never null, and what may be; every key is always there.
SURE = {
    "id": str, "object": str, "created_at": int, "status": str, "model": str, "output": list, "tools": list,
    "tool_choice": (str, dict), "truncation": str, "parallel_tool_calls": bool, "text": dict, "top_p": (int, float),
    "presence_penalty": (int, float), "frequency_penalty": (int, float), "top_logprobs": int,
    "temperature": (int, float), "store": bool, "background": bool, "service_tier": str, "metadata": dict,
}  # fmt: skip
MAYBE = ("completed_at", "incomplete_details", "previous_response_id", "instructions", "error", "reasoning", "usage",
         "max_output_tokens", "max_tool_calls", "safety_identifier", "prompt_cache_key")  # fmt: skip


def check_response(response: dict[str, Any]) -> None:
    for name, kind in SURE.items():
        assert isinstance(response[name], kind), f"{name} is {response[name]!r}"
    assert [name for name in MAYBE if name not in response] == []
    assert response["object"] == "response"
    usage = response["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert isinstance(usage["input_tokens_details"]["cached_tokens"], int)
    assert isinstance(usage["output_tokens_details"]["reasoning_tokens"], int)
    for item in response["output"]:
        assert {"id", "type", "status"} <= item.keys()
    for tool in response["tools"]:
        assert {"type", "name", "description", "parameters", "strict"} <= tool.keys()


def call_answer() -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Rome"}'}}
    answer = chat_answer()
    answer["choices"][0] |= {"message": {"role": "assistant", "content": None, "tool_calls": [call]}}
    answer["choices"][0]["finish_reason"] = "tool_calls"
    return answer


@pytest.mark.parametrize("what", list(INPUTS))
def test_a_whole_answer_has_every_field_of_the_schema(client: Client, upstream: FakeUpstream, what: str) -> None:
    upstream.script(json_reply(chat_answer("Hello!")))

    response = client.ask("/v1/responses", {"model": "chat/m", "input": INPUTS[what]})

    assert response.headers["content-type"] == "application/json"
    answer = response.get_json()
    check_response(answer)
    assert answer["status"] == "completed"
    assert answer["output"][0]["content"][0]["text"] == "Hello!"


def test_a_stream_holds_nothing_but_events_of_the_grammar(client: Client, upstream: FakeUpstream) -> None:
    end = (
        chunk({}, "stop", usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}),
        b"data: [DONE]\n\n",
    )
    upstream.script(
        sse(chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}), chunk({"content": "lo"}), *end)
    )

    response = client.ask("/v1/responses", {"model": "chat/m", "input": [USER], "stream": True})

    check_grammar(response.data)
    final = events_of(response.data)[-1]["response"]
    check_response(final)
    assert final["status"] == "completed"
    assert response.text.rstrip().endswith("data: [DONE]")


def test_a_tool_without_a_word_on_strictness_is_called(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(call_answer()))

    answer = client.ask("/v1/responses", {"model": "chat/m", "input": [USER], "tools": [TOOL]}).get_json()

    check_response(answer)
    (item,) = answer["output"]
    assert (item["type"], item["name"], json.loads(item["arguments"])) == (
        "function_call",
        "get_weather",
        {"city": "Rome"},
    )
    assert item["call_id"] != item["id"]


def test_a_streamed_call_has_at_least_one_delta(client: Client, upstream: FakeUpstream) -> None:
    start = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    upstream.script(
        sse(chunk({"role": "assistant", "tool_calls": [start]}), chunk({}, "tool_calls"), b"data: [DONE]\n\n")
    )

    response = client.ask("/v1/responses", {"model": "chat/m", "input": [USER], "tools": [TOOL], "stream": True})

    check_grammar(response.data)
    for event in (
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ):
        assert f"event: response.{event}\n" in response.text


def test_plain_text_is_one_user_message(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer()))

    client.ask("/v1/responses", {"model": "chat/m", "input": "Say hello."})

    assert upstream.seen[0].json()["messages"] == [{"role": "user", "content": "Say hello."}]


def test_an_error_has_the_whole_envelope(client: Client) -> None:
    response = client.ask("/v1/responses", {"model": "chat/m", "input": [{"type": "message", "role": "nobody"}]})

    assert response.status_code == 400
    assert set(response.get_json()["error"]) == {"message", "type", "param", "code"}
