"""What becomes of a request that asks for no answer, only for a filled prompt cache."""

from __future__ import annotations

import pytest

from tests.gateway.conftest import Client, MakeClient, events_of
from tests.support.answers import chat_answer
from tests.support.fake_upstream import FakeUpstream, json_reply


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses"])
def test_an_upstream_without_such_a_cache_is_not_asked(
    make_client: MakeClient, upstream: FakeUpstream, dialect: str
) -> None:
    client = make_client(chat={"dialect": dialect})

    answer = client.message(max_tokens=0)

    message = answer.get_json()
    assert (answer.status_code, message["content"], message["stop_reason"]) == (200, [], "max_tokens")
    assert (message["model"], message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == ("chat/m", 0, 0)
    assert answer.headers["x-dragoman-dropped"] == "max_tokens"
    assert upstream.seen == []


def test_the_answer_of_nothing_is_a_stream_where_one_is_asked_for(client: Client, upstream: FakeUpstream) -> None:
    answer = client.message(max_tokens=0, stream=True)

    types = [event["type"] for event in events_of(answer)]
    assert types == ["message_start", "message_delta", "message_stop"]
    assert upstream.seen == []


def test_anthropic_fills_its_cache(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer()))

    client.message("messages/claude-opus-4-8", max_tokens=0)

    assert upstream.seen[0].json()["max_tokens"] == 0
