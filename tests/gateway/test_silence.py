"""Upstreams that keep a client waiting: pings, and an end to patience."""

from __future__ import annotations

import time

from tests.gateway.conftest import Client, MakeClient, events_of
from tests.support.answers import chat_stream, chunk
from tests.support.fake_upstream import FakeUpstream, Reply


def test_a_slow_upstream_is_waited_for_with_pings(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(server={"stream_start_timeout": 0.1, "ping_interval": 0.1})
    late = chat_stream("hello")
    upstream.script(Reply(late.pieces, headers=late.headers, delay=0.5))

    response = client.message(stream=True)

    assert response.status_code == 200
    before, _, _ = response.text.partition("message_start")
    assert before.count(":") >= 2
    assert events_of(response)[-1]["type"] == "message_stop"


def test_comments_of_an_upstream_that_waits_itself_are_silence(make_client: MakeClient, upstream: FakeUpstream) -> None:
    """OpenRouter sends `: OPENROUTER PROCESSING` until the model answers."""
    client = make_client(server={"stream_start_timeout": 0.1, "ping_interval": 0.1})
    late = chat_stream("hello")
    upstream.script(Reply([*[b": OPENROUTER PROCESSING\n\n", 0.05] * 10, *late.pieces], headers=late.headers))

    before, _, _ = client.message(stream=True).text.partition("message_start")

    assert before.count(":") >= 2


def test_a_pause_in_the_middle_of_a_stream_is_filled_with_pings(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(server={"ping_interval": 0.1})
    upstream.script(chat_stream("one", tail=(0.5, chunk({}, "stop"), b"data: [DONE]\n\n")))

    text = client.message(stream=True).text

    assert text.count("event: ping") >= 2


def test_an_upstream_that_is_silent_too_long_is_given_up(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(chat={"first_byte_timeout": 0.2})
    upstream.script(Reply(delay=5))

    response = client.message()

    assert response.status_code == 504
    assert response.get_json()["error"]["type"] == "timeout_error"
    upstream.wait_until_left()


def test_a_stream_whose_finish_was_seen_does_not_wait_for_a_close(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("one", tail=(chunk({}, "stop"), 30.0)))
    began = time.monotonic()

    events = events_of(client.message(stream=True))

    assert events[-1]["type"] == "message_stop"
    assert time.monotonic() - began < 5
