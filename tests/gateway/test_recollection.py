"""Reasoning that a Chat client does not send back is remembered for upstreams that want it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.conversation.blocks import Reasoning, Text, ToolCall
from app.conversation.request import Request, Turn
from app.gateway import recollection
from app.gateway.recollection import Recollection, key_of
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "SIGNED"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}


def message(*content: Any, stop_reason: str = "tool_use") -> dict[str, Any]:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
    usage = {"input_tokens": 1, "output_tokens": 1}
    return {**head, "content": list(content), "stop_reason": stop_reason, "usage": usage}


def thinking_stream() -> Reply:
    begun = {**message(), "stop_reason": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "SIGNED"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": CALL},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]
    return sse(*(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events))


def ask(
    client: Client, *messages: Any, key: str = "key-a", model: str = "messages/claude-opus-4-5", **more: Any
) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "q"}, *messages], "tools": TOOLS}
    effort = {"reasoning_effort": "high"}
    return client.ask("/v1/chat/completions", {**body, **effort, **more}, authorization=f"Bearer {key}")


def forgetful() -> list[dict[str, Any]]:
    """The next two messages of a client that keeps only what the vendor's own dialect knows."""
    call = {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "r"},
    ]


def replayed(upstream: FakeUpstream) -> list[Any]:
    turn = next(m for m in upstream.seen[-1].json()["messages"] if m["role"] == "assistant")
    return [block for block in turn["content"] if block["type"] == "thinking"]


@pytest.fixture
def keyed(make_client: MakeClient) -> Client:
    return make_client(server={"api_keys": ("key-a", "key-b")})


@pytest.mark.parametrize("stream", [False, True])
def test_the_thinking_before_a_call_goes_back_with_its_result(
    keyed: Client, upstream: FakeUpstream, stream: bool
) -> None:
    answer = message({"type": "text", "text": "done"}, stop_reason="end_turn")
    upstream.script(thinking_stream() if stream else json_reply(message(THOUGHT, CALL)), json_reply(answer))
    ask(keyed, stream=stream).get_data()

    ask(keyed, *forgetful())

    assert replayed(upstream) == [THOUGHT]


@pytest.mark.parametrize(
    "other", [{"key": "key-b"}, {"model": "messages/claude-opus-4-1"}], ids=["another key", "another model"]
)
def test_it_goes_nowhere_else(keyed: Client, upstream: FakeUpstream, other: dict[str, str]) -> None:
    upstream.script(json_reply(message(THOUGHT, CALL)), json_reply(message(stop_reason="end_turn")))
    ask(keyed)

    ask(keyed, *forgetful(), **other)

    assert replayed(upstream) == []


def test_another_conversation_with_the_same_ids_is_told_apart(keyed: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(message(THOUGHT, CALL)), json_reply(message(stop_reason="end_turn")))
    ask(keyed)

    ask(keyed, messages=[{"role": "user", "content": "something else"}, *forgetful()])

    assert replayed(upstream) == []


def asked(text: str) -> Request:
    turns = (Turn("user", (Text(text),)), Turn("assistant", (ToolCall("c1", "f", "{}"),)))
    return Request(dialect="openai_chat", model="m", turns=turns)


def remember(memory: Recollection, text: str, thought: str) -> None:
    turns = asked(text).turns
    calls = [block for block in turns[1].blocks if isinstance(block, ToolCall)]
    memory.remember(key_of("p", turns[0], turns[0], calls), (Reasoning(thought),))


def test_the_oldest_is_forgotten_when_there_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recollection, "MOST_BYTES", 3000)
    memory = Recollection()

    for text in ("one", "two", "three"):
        remember(memory, text, "x" * 600)

    assert memory.recall(asked("one"), "p") == asked("one")
    assert memory.recall(asked("three"), "p").turns[1].blocks[0] == Reasoning("x" * 600)


def test_what_is_too_old_is_forgotten() -> None:
    now = 0.0
    memory = Recollection(lambda: now)
    remember(memory, "one", "x")

    now = recollection.LIFETIME + 1

    assert memory.recall(asked("one"), "p") == asked("one")


def test_a_client_that_sends_its_reasoning_is_believed() -> None:
    memory = Recollection()
    remember(memory, "one", "ours")
    request = asked("one")
    own = Turn("assistant", (Reasoning("its own"), *request.turns[1].blocks))
    request = Request(dialect="openai_chat", model="m", turns=(request.turns[0], own))

    assert memory.recall(request, "p") == request
