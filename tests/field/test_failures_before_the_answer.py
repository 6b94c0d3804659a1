"""Failures after a stream was opened and before it said anything: the client gets a status, or an answer after another
try. Upstreams of the Responses dialect always open the stream first (FB-120, FB-126)."""

from __future__ import annotations

from typing import Any

import pytest

from app.settings.tables import RouteSettings
from tests.field.asking import UPSTREAMS, every_client
from tests.field.pairs import CHAT_HEAD, ask, chat_events, delta, whole_reply
from tests.gateway.conftest import Client, MakeClient, events_of
from tests.support.answers import chunk, named
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse


def events(*payloads: dict[str, Any], pause: float = 0.05) -> Reply:
    """A stream whose events come one by one."""
    return sse(*(piece for event in named(*payloads) for piece in (event, pause)))


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


OPENINGS: dict[str, list[dict[str, Any]]] = {
    "A": [{"type": "message_start", "message": MESSAGE | {"usage": {"input_tokens": 1, "output_tokens": 1}}}],
    "C": [CHAT_HEAD | delta({"role": "assistant", "content": ""})],
    "R": [{"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1", "object": "response",
           "created_at": 1, "model": "m", "status": "in_progress", "output": []}}],
}  # fmt: skip
FAILURES: dict[str, dict[str, Any]] = {
    "A": BUSY,
    "C": {"error": {"message": "no luck", "type": "server_error", "code": 503}},
    "R": {"type": "response.failed", "sequence_number": 1, "response": OPENINGS["R"][0]["response"]
          | {"status": "failed", "error": {"code": "server_error", "message": "no luck"}}},
}  # fmt: skip


def broken_off(dialect: str, pause: float) -> Reply:
    """A stream that opens, pauses and fails."""
    opening = [*OPENINGS[dialect], FAILURES[dialect]]
    return events(*opening, pause=pause) if dialect != "C" else chat_events(*opening)


@every_client
def test_a_stream_that_fails_before_it_says_anything_is_tried_again(
    every: Client, upstream: FakeUpstream, dialect: str
) -> None:
    """manaflow-ai/subrouter#233, router-for-me/CLIProxyAPI#2712, decolua/9router#3232."""
    upstream.script(broken_off(dialect, 0.05), json_reply(whole_reply(dialect, "fine")))

    told = ask(every, dialect, UPSTREAMS[dialect], stream=True)

    assert (told.text, len(upstream.seen)) == ("fine", 2), told


@every_client
def test_another_target_answers_for_one_that_fails_behind_its_opening_event(
    make_client: MakeClient, upstream: FakeUpstream, dialect: str
) -> None:
    """maximhq/bifrost#5395."""
    other = FakeUpstream(json_reply(whole_reply("C", "fine")))
    with other:
        client = make_client(
            models={"routes": {"both": RouteSettings(targets=(UPSTREAMS[dialect], "other/m"))}},
            responses={"kind": "openai", "dialect": "openai_responses", "base_url": f"{upstream.url}/v1"},
            other={"kind": "openai", "base_url": f"{other.url}/v1"},
        )
        upstream.script(broken_off(dialect, 0.05))

        assert ask(client, dialect, "both", stream=True).text == "fine"


def test_a_responses_client_is_told_by_the_event_what_no_other_try_mends(every: Client, upstream: FakeUpstream) -> None:
    """Codex compacts its history after this event, and not after a status of 400."""
    upstream.script(refused("context_length_exceeded"))

    told = ask(every, "R", "responses/m", stream=True)

    assert (told.status, told.code, len(upstream.seen)) == (200, "context_length_exceeded", 1), told


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
