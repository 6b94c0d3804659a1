"""Complaints of an upstream about a field, told to clients that call it otherwise.

The vendor's SDKs and agents look at `param`: OpenAI, "Error codes".
"""

from __future__ import annotations

import pytest

from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

# What the upstream calls a field, and what clients of Responses and of Chat call it.
NAMES = [
    ("messages", "input", "messages"),
    ("messages[3].content", "input", "messages[3].content"),
    ("max_tokens", "max_output_tokens", "max_tokens"),
    ("max_completion_tokens", "max_output_tokens", "max_completion_tokens"),
    ("response_format.json_schema", "text.format", "response_format.json_schema"),
    ("reasoning_effort", "reasoning.effort", "reasoning_effort"),
    ("input[2].content", "input[2].content", "messages"),
    ("max_output_tokens", "max_output_tokens", "max_tokens"),
    ("system", "instructions", "messages"),
    ("stop_sequences", "stop_sequences", "stop"),
    ("tools[0].function.name", "tools[0].function.name", "tools[0].function.name"),
    ("temperature", "temperature", "temperature"),
]


@pytest.mark.parametrize(("named", "responses", "chat"), NAMES)
def test_a_field_is_named_as_the_client_calls_it(
    every: Client, upstream: FakeUpstream, named: str, responses: str, chat: str
) -> None:
    refusal = {"error": {"message": "Bad value.", "type": "invalid_request_error", "param": named, "code": None}}
    upstream.script(json_reply(refusal, 400))

    to_responses = every.ask("/v1/responses", {"model": "chat/m", "input": "hi", "store": False})
    to_chat = every.chat("responses/m")

    assert to_responses.json["error"]["param"] == responses
    assert to_chat.json["error"]["param"] == chat


@pytest.mark.parametrize("named", ["input", "input[0]", "dimensions"])
def test_a_field_of_an_embedding_keeps_its_name(client: Client, upstream: FakeUpstream, named: str) -> None:
    refusal = {"error": {"message": "Bad value.", "type": "invalid_request_error", "param": named, "code": None}}
    upstream.script(json_reply(refusal, 400))

    told = client.ask("/v1/embeddings", {"model": "chat/m", "input": "hi", "dimensions": 3})

    assert (told.status_code, told.json["error"]["param"]) == (400, named)
