"""What signs a call at Gemini goes back with the call, whatever its client keeps.

Sources: Gemini API, "Thought signatures"; anomalyco/opencode and litellm reports of 400 "missing thought_signature".
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.conftest import Client, MakeClient
from tests.support.answers import chunk
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

SIGNATURE = {"google": {"thought_signature": "SIG"}}
PLACEHOLDER = {"google": {"thought_signature": "skip_thought_signature_validator"}}
SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}


def signed_call(*, stream: bool) -> Reply:
    function = {"name": "f", "arguments": "{}"}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function, "extra_content": SIGNATURE}
    if stream:
        return sse(chunk({"role": "assistant", "tool_calls": [call]}), chunk({}, "tool_calls"), b"data: [DONE]\n\n")
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return json_reply({"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})


def request(path: str, *, again: bool) -> dict[str, Any]:
    """The first request of a client, or the next one of a client that kept of the answer only what it knows."""
    user = {"role": "user", "content": "q"}
    if path == "/v1/responses":
        call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
        output = {"type": "function_call_output", "call_id": "call_1", "output": "r"}
        tools = [{"type": "function", "name": "f", "parameters": SCHEMA}]
        return {"input": [user, call, output] if again else [user], "tools": tools, "store": False}
    if path == "/v1/messages":
        use = {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "f", "input": {}}]}
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "r"}]}
        tools = [{"name": "f", "input_schema": SCHEMA}]
        return {"messages": [user, use, result] if again else [user], "tools": tools, "max_tokens": 10}
    function = {"name": "f", "arguments": "{}"}
    asked = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
    }
    result = {"role": "tool", "tool_call_id": "call_1", "content": "r"}
    tools = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    return {"messages": [user, asked, result] if again else [user], "tools": tools}


def sent_signature(upstream: FakeUpstream) -> Any:
    turn = next(message for message in upstream.seen[-1].json()["messages"] if message["role"] == "assistant")
    return turn["tool_calls"][0]["extra_content"]


def gemini(make_client: MakeClient, upstream: FakeUpstream) -> Client:
    return make_client(chat={"profile": "gemini"})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_a_signature_that_its_client_dropped_goes_back_with_the_call(
    make_client: MakeClient, upstream: FakeUpstream, path: str, stream: bool
) -> None:
    client = gemini(make_client, upstream)
    upstream.script(signed_call(stream=stream), signed_call(stream=False))
    client.ask(path, {"model": "chat/m", "stream": stream, **request(path, again=False)}).get_data()

    client.ask(path, {"model": "chat/m", **request(path, again=True)})

    assert sent_signature(upstream) == SIGNATURE


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_a_signature_that_nobody_has_is_replaced_by_the_vendor_s_placeholder(
    make_client: MakeClient, upstream: FakeUpstream, path: str
) -> None:
    client = gemini(make_client, upstream)
    upstream.script(signed_call(stream=False))

    client.ask(path, {"model": "chat/m", **request(path, again=True)})

    assert sent_signature(upstream) == PLACEHOLDER
