"""Tokens as a client is told them that takes the window to be another than it is.

Sources: ericc-ch/copilot-api#210, jundot/omlx#26, ollama#15316 (clients that compact too late).
"""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.gateway.conftest import MakeClient, data_folder, events_of, make_client, upstream
from tests.support.answers import unnamed
from tests.support.fake_upstream import FakeUpstream, json_reply, sse

__all__ = ["data_folder", "make_client", "upstream"]  # the fixtures of this file

USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 101,
    "total_tokens": 1101,
    "prompt_tokens_details": {"cached_tokens": 600},
}
CHUNK: dict[str, Any] = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
WHOLE = {
    **CHUNK,
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "t"}, "finish_reason": "stop"}],
    "usage": USAGE,
}
CHUNKS = (
    {**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "t"}, "finish_reason": "stop"}]},
    {**CHUNK, "choices": [], "usage": USAGE},
)
HALF = {"context_window": 100_000, "assumed_window": 50_000}
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "messages": ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
    "responses": ("/v1/responses", {"input": "hi", "store": False}),
}


@pytest.mark.parametrize("dialect", BODIES)
@pytest.mark.parametrize("stream", [False, True])
def test_every_client_is_told_the_tokens_in_its_own_measure(
    make_client: MakeClient, upstream: FakeUpstream, dialect: str, stream: bool
) -> None:
    client = make_client(small={"kind": "openai", "base_url": f"{upstream.url}/v1", **HALF})
    upstream.script(sse(*unnamed(*CHUNKS)) if stream else json_reply(WHOLE))
    path, body = BODIES[dialect]
    more = {"stream_options": {"include_usage": True}} if dialect == "chat" and stream else {}

    response = client.ask(path, {"model": "small/m", "stream": stream, **body, **more})

    told = usage_of(response, stream=stream)
    names = ("prompt_tokens", "completion_tokens") if dialect == "chat" else ("input_tokens", "output_tokens")
    cached = told.get("cache_read_input_tokens") or told[f"{names[0]}_details"]["cached_tokens"]
    fresh = 200 if dialect == "messages" else 500
    assert (told[names[0]], cached, told[names[1]]) == (fresh, 300, 51)


def usage_of(response: TestResponse, *, stream: bool) -> dict[str, Any]:
    if not stream:
        whole: dict[str, Any] = response.json["usage"]
        return whole
    events = [event for event in events_of(response) if event != "[DONE]"]
    usages = [event.get("usage") or event.get("response", {}).get("usage") for event in events]
    return next(usage for usage in reversed(usages) if usage)


def test_counted_tokens_are_told_in_the_same_measure(make_client: MakeClient, upstream: FakeUpstream) -> None:
    true = make_client(small={"kind": "openai", "base_url": f"{upstream.url}/v1", "context_window": 100_000})
    scaled = make_client(small={"kind": "openai", "base_url": f"{upstream.url}/v1", **HALF})
    body = {"model": "small/m", "messages": [{"role": "user", "content": "word " * 4000}]}

    counts = [one.ask("/v1/messages/count_tokens", body).json["input_tokens"] for one in (true, scaled)]

    assert counts[1] == -(-counts[0] // 2)
