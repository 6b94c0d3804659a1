"""Servers that take no system prompt, or take it only as one text: it precedes the user's first words there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.asking import CLIENTS, UPSTREAMS, body_of
from tests.field.pairs import chat_reply, whole_reply
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

ANSWERS: dict[str, dict[str, Any]] = {"A": whole_reply("A", "t"), "C": chat_reply({"content": "t"})}
REFUSALS = {
    "A": (
        "system: Input should be a valid string",
        "system: expected string, got array",
        "Failed to deserialize the JSON body into the target type: system: invalid type: sequence, expected a string",
        "system must be a string",
        "json: cannot unmarshal array into Go struct field AnthropicRequest.system of type string",
        "System prompts are not supported by this model",
        "system: Extra inputs are not permitted",
        "unknown field `system`",
        "Unrecognized request argument supplied: system",
        "system is not supported",
    ),
    "C": (
        "Only user and assistant roles are supported!",
        "System messages are not supported. Pass it in the user message",
    ),
}
SAID: dict[str, dict[str, Any]] = {
    "A": {"system": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
    "C": {},
    "R": {"instructions": "one", "input": [{"role": "developer", "content": "two"}, {"role": "user", "content": "hi"}]},
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(("dialect", "refusal"), [(one, words) for one in REFUSALS for words in REFUSALS[one]])
def test_a_refused_system_prompt_precedes_the_users_words(
    every: Client, upstream: FakeUpstream, dialect: str, refusal: str, client: str
) -> None:
    error = {"type": "invalid_request_error", "message": refusal}
    upstream.script(json_reply({"type": "error", "error": error}, 400), json_reply(ANSWERS[dialect]))
    path, body = body_of(client)
    if client == "C":
        body["messages"] = [{"role": "system", "content": text} for text in ("one", "two")] + body["messages"]

    response = every.ask(path, body | SAID[client] | {"model": UPSTREAMS[dialect]})

    assert response.status_code == 200
    asked = upstream.seen[-1].json()
    assert "system" not in asked
    assert {turn["role"] for turn in asked["messages"]} == {"user"}
    words = json.dumps(asked["messages"])
    assert -1 < words.find("one") < words.find("two") < words.find("hi")
