"""Failures after a stream was opened and before it said anything: the client gets a status, or an answer after another
try. Upstreams of the Responses dialect always open the stream first (FB-120, FB-126)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.pairs import ask
from tests.gateway.conftest import MakeClient, chunk, events_of
from tests.support.fake_upstream import FakeUpstream, Reply, sse


def events(*payloads: dict[str, Any], pause: float = 0.05) -> Reply:
    """A stream whose events come one by one."""
    pieces: list[Any] = []
    for payload in payloads:
        pieces += [f"event: {payload['type']}\ndata: {json.dumps(payload)}\n\n".encode(), pause]
    return sse(*pieces)


def refused(code: str) -> Reply:
    response = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": []}
    failed = {**response, "status": "failed", "error": {"code": code, "message": "no luck"}}
    return events(
        {"type": "response.created", "sequence_number": 0, "response": {**response, "status": "in_progress"}},
        {"type": "response.failed", "sequence_number": 1, "response": failed},
    )


MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": {}}
BUSY = {"type": "error", "error": {"type": "overloaded_error", "message": "no luck"}}


@pytest.mark.parametrize("dialect", ["A", "C"])
@pytest.mark.parametrize(
    ("code", "status"), [("invalid_prompt", 400), ("context_length_exceeded", 400), ("image_parse_error", 400),
                         ("image_file_not_found", 400), ("model_not_found", 404)]
)  # fmt: skip
def test_a_refusal_behind_the_opening_event_is_a_status(
    make_client: MakeClient, upstream: FakeUpstream, dialect: str, code: str, status: int
) -> None:
    client = make_client(responses={"kind": "openai", "dialect": "openai_responses", "base_url": f"{upstream.url}/v1",
                                    "api_key": "k"})  # fmt: skip
    upstream.script(refused(code))

    told = ask(client, dialect, "responses/gpt-5", stream=True)

    assert (told.status, len(upstream.seen)) == (status, 1), told
    assert "no luck" in told.error


def test_an_overloaded_server_that_says_so_in_its_stream_is_asked_again(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client()
    upstream.script(
        events({"type": "message_start", "message": MESSAGE}, BUSY),
        events(
            {"type": "message_start", "message": MESSAGE},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "fine"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
            {"type": "message_stop"},
        ),
    )

    told = ask(client, "C", "messages/claude-sonnet-4-5", stream=True)

    assert (told.text, len(upstream.seen)) == ("fine", 2), told


def test_the_opening_event_does_not_wait_longer_than_a_ping_would(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(server={"stream_start_timeout": 0.1, "ping_interval": 0.1})
    upstream.script(sse(chunk({"role": "assistant", "content": ""}), 0.4, chunk({"content": "t"}), chunk({}, "stop")))

    kinds = [event["type"] for event in events_of(client.message(stream=True))]

    assert kinds[:2] == ["message_start", "ping"]
    assert kinds[-1] == "message_stop"


def test_an_upstream_that_cannot_be_reached_is_marked_as_our_own_words(make_client: MakeClient) -> None:
    client = make_client(chat={"base_url": "http://127.0.0.1:9/v1"}, server={"max_attempts": 1})

    assert client.chat().headers["x-gateway-error"] == "unreachable"
