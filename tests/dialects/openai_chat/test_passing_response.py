"""Whole replies on their way from a server of Chat Completions to a client of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.dialects.openai_chat import pass_response
from app.dialects.openai_chat import passing_response as whole_replies
from app.dialects.openai_chat.usage import find_usage
from app.errors import UpstreamMalformed, UpstreamRefused
from tests.dialects.openai_chat.passing import CONTEXT, call, can, repair, whole


def test_a_clean_reply_keeps_every_byte_but_the_models_name() -> None:
    body = whole(
        {"content": "x", "new_field": 1.0}, usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    )

    assert pass_response(body, CONTEXT, can())[0] == body.replace(b'"up"', b'"asked-for"')


def test_a_reply_with_calls_that_says_stop_says_tool_calls() -> None:
    body = whole({"content": None, "tool_calls": [call()]})

    assert repair(body)["choices"][0]["finish_reason"] == "tool_calls"
    assert repair(body, first_party=True)["choices"][0]["finish_reason"] == "stop"


def test_a_reply_without_calls_that_says_tool_calls_says_stop() -> None:
    assert repair(whole({"content": "x"}, "tool_calls"))["choices"][0]["finish_reason"] == "stop"


def test_calls_of_a_reply_get_ids_types_and_textual_arguments() -> None:
    odd = [
        {"function": {"name": "f", "arguments": {"x": 1}}},
        call(id=7),
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}},
    ]

    calls = repair(whole({"content": None, "tool_calls": odd}, "tool_calls"))["choices"][0]["message"]["tool_calls"]

    assert [entry["function"]["arguments"] for entry in calls] == ['{"x": 1}', "{}", "{}"]
    assert [entry["type"] for entry in calls] == ["function"] * 3
    assert calls[0]["id"].startswith("call_")
    assert [entry["id"] for entry in calls[1:]] == ["7", "c"]


def test_what_a_reply_lacks_is_filled_in() -> None:
    body = json.dumps({"id": None, "created": 0.5, "choices": [{"index": 0, "message": {"content": "x"}}]}).encode()

    context = repair(body)

    assert (context["id"], context["object"], context["created"]) == (
        "chatcmpl-abc123",
        "chat.completion",
        CONTEXT.created,
    )
    assert context["model"] == "asked-for"
    assert context["choices"][0]["message"] == {"role": "assistant", "content": "x", "refusal": None}
    assert context["choices"][0]["finish_reason"] == "stop"


def test_content_in_parts_becomes_text() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}

    message = repair(whole({"content": [thinking, {"type": "text", "text": "x"}]}))["choices"][0]["message"]

    assert (message["content"], message["reasoning_content"]) == ("x", "Hm.")


def test_arguments_of_a_reply_that_are_no_object_become_one() -> None:
    calls = [call(function={"name": "f", "arguments": text}) for text in ("null", '"{\\"x\\":1}"', "[1]", '{"x":1}}')]

    message = repair(whole({"content": None, "tool_calls": calls}, "tool_calls"))["choices"][0]["message"]

    sent = [entry["function"]["arguments"] for entry in message["tool_calls"]]
    assert sent == ["{}", '{"x":1}', '{"value":[1]}', '{"x":1}']


def test_a_reply_that_broke_off_or_holds_no_choice_is_a_failure() -> None:
    with pytest.raises(UpstreamRefused):  # another time it may answer
        pass_response(whole({"content": "x"}, "error"), CONTEXT, can())
    with pytest.raises(UpstreamMalformed):
        pass_response(b'{"id":"c","choices":[]}', CONTEXT, can())


@pytest.mark.parametrize(
    "body",
    [b'{"error":{"message":"gone","code":502}}', b'{"error":"gone"}', b'{"choices":[],"error":{"message":"gone"}}'],
)
def test_an_error_in_a_reply_of_status_200_is_a_failure(body: bytes) -> None:
    with pytest.raises(UpstreamRefused, match="gone") as refusal:
        pass_response(body, CONTEXT, can())

    assert refusal.value.failure.http_status == 502


@pytest.mark.parametrize("body", [b"", b"<html><title>Bad gateway</title>", b"{"])
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamMalformed):
        pass_response(body, CONTEXT, can())


@pytest.mark.parametrize("body", [b"[]", b"7", b'{"choices":7}', b'{"choices":[],"usage":{"total_tokens":0}}'])
def test_json_that_is_no_reply_is_quoted(body: bytes) -> None:
    with pytest.raises(UpstreamMalformed) as malformed:
        pass_response(body, CONTEXT, can())

    assert body.decode() in malformed.value.failure.message


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "cached_tokens": "3"}},
        {"error": None},
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": None}, "finish_reason": "length"}]},
        {
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                    },
                    "finish_reason": "tool_calls",
                }
            ]
        },
    ],
)
def test_a_clean_reply_that_is_decoded_at_once_is_what_a_second_look_makes_of_it(changed: dict[str, Any]) -> None:
    whole = {
        "id": "c", "object": "chat.completion", "created": 1, "model": "up",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        **changed,
    }  # fmt: skip
    body = json.dumps(whole).encode()

    assert pass_response(body, CONTEXT, can()) == (whole_replies._mend(body, CONTEXT, can()), find_usage(body))
    assert whole_replies._is_clean(whole_replies._decode_clean(body).choices[0])


@pytest.mark.parametrize("told", [{"content": "x"}, {"role": "assistant"}, {"role": "model", "content": "x"}])
def test_a_message_says_who_speaks_and_what(told: dict[str, Any]) -> None:
    """Typed clients refuse a message without either."""
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    choice = {"index": 0, "message": {**told, "tool_calls": calls}, "finish_reason": "tool_calls"}
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "up", "choices": [choice]}

    message = json.loads(pass_response(json.dumps(whole).encode(), CONTEXT, can())[0])["choices"][0]["message"]

    assert (message["role"], message["content"], message["tool_calls"]) == ("assistant", told.get("content"), calls)
