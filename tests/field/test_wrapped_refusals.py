"""Refusals that a gateway before the server passes on under a status of its own, and that would last for ever."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.asking import UPSTREAMS, body_of, every_client
from tests.field.pairs import whole_reply
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

TOO_MANY = (
    "Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length 152."
)


def refusal(message: str, status: int) -> Any:
    return json_reply({"error": {"message": message, "type": "api_error", "param": None, "code": None}}, status)


@pytest.mark.parametrize("dialect", ["C", "R"])
@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_too_many_tools_are_fewer_at_the_next_try(
    every: Client, upstream: FakeUpstream, dialect: str, status: int
) -> None:
    """0x4m4/hexstrike-ai#119, HybridAIOne/hybridclaw#1534."""
    path, body = body_of(dialect)
    text = json.dumps(body["tools"][0])
    tools = [json.loads(text.replace('"f"', f'"f{number}"')) for number in range(152)]
    upstream.script(refusal(TOO_MANY, status), json_reply(whole_reply(dialect, "ok")))

    response = every.ask(path, body | {"model": UPSTREAMS[dialect], "tools": tools})

    assert response.status_code == 200
    assert [len(seen.json()["tools"]) for seen in upstream.seen] == [152, 128]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_field_that_is_refused_under_another_status_is_left_out(
    every: Client, upstream: FakeUpstream, status: int
) -> None:
    """musistudio/claude-code-router#1130."""
    inner = '{"error":{"type":"invalid_request_error","message":"context_management: Extra inputs are not permitted"}}'
    upstream.script(refusal(f"Error from provider: {inner}", status), json_reply(whole_reply("A", "ok")))

    response = every.ask("/v1/messages", body_of("A")[1] | {"model": "messages/m", "context_management": {"edits": []}})

    assert response.status_code == 200
    assert ["context_management" in seen.json() for seen in upstream.seen] == [True, False]


@every_client
def test_a_rate_limit_is_still_one(every: Client, upstream: FakeUpstream, dialect: str) -> None:
    upstream.script(*[refusal("Rate limit reached: too many requests with tools", 429)] * 4)
    path, body = body_of(dialect)

    response = every.ask(path, body | {"model": UPSTREAMS[dialect]})

    assert response.status_code == 429
    assert all(seen.json() == upstream.seen[0].json() for seen in upstream.seen)


@pytest.mark.parametrize("dialect", ["A", "R"])
def test_an_image_that_is_refused_in_a_result_goes_into_a_message(
    every: Client, upstream: FakeUpstream, dialect: str
) -> None:
    """NousResearch/hermes-agent#109707, Stack-Cairn/LiveAgent#729."""
    words = ".messages[2].image[0]: You have uploaded an unsupported image. Please make sure your image is valid."
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "shot"}, image]}
    use = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    turns = (("user", "q"), ("assistant", [use]), ("user", [result]))
    messages = [{"role": role, "content": content} for role, content in turns]
    upstream.script(refusal(words, 400), json_reply(whole_reply(dialect, "ok")))

    response = every.ask("/v1/messages", body_of("A")[1] | {"model": UPSTREAMS[dialect], "messages": messages})

    assert response.status_code == 200
    asked = upstream.seen[-1].json()
    last = (asked.get("messages") or asked["input"])[-1]
    assert last["role"] == "user"
    assert "iVBORw0KGgo=" in str(last)
    assert "iVBORw0KGgo=" not in str([part for part in last["content"] if part["type"] == "tool_result"])
