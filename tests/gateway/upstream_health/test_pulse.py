"""A first target that is silent: it is asked whether it lives, and no client waits out a time limit."""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.gateway.upstream_health import liveness
from app.gateway.upstream_health.liveness import LivenessCheck
from app.providers import provider
from app.settings import RouteSettings
from app.transport import Limits
from tests.gateway.conftest import Client, MakeClient
from tests.support.answers import chat_answer, chat_stream
from tests.support.clock import wait_until
from tests.support.fake_upstream import STALL, FakeUpstream, json_reply, raw

ANSWER = json_reply(chat_answer())
LIST = json_reply({"data": [{"id": "m"}]})
SILENT = raw(STALL)
THOUGHT = dataclasses.replace(json_reply(chat_answer("thought")), delay=1.0)
ROUTE = {"routes": {"fast": RouteSettings(targets=("first/m", "chat/m"))}}


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """All spans, fifty times as short."""
    monkeypatch.setattr(liveness, "ASK_AFTER", 0.2)
    monkeypatch.setattr(liveness, "LOOK_PERIOD", 0.02)
    monkeypatch.setattr(provider, "CATALOGUE_LIMITS", Limits(connect=0.1, first_byte=0.1, idle=0.1, total=0.2))


def first_at(upstream: FakeUpstream, **more: Any) -> dict[str, Any]:
    return {"kind": "openai", "base_url": f"{upstream.url}/v1", "api_key": "sk-first", **more}


def generated(upstream: FakeUpstream) -> int:
    return sum(request.method == "POST" for request in upstream.seen)


def breakers(client: Client) -> list[tuple[str, str]]:
    return [(each.target, each.fault) for each in client.app.runtime.services.gateway.health.targets()]


def test_a_server_that_answers_nothing_costs_one_request_seconds_and_the_next_nothing(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    upstream.script(ANSWER)
    with FakeUpstream(SILENT) as silent:
        client = make_client(models=ROUTE, first=first_at(silent))
        began = time.monotonic()
        first = client.chat("fast")
        took = time.monotonic() - began
        began = time.monotonic()
        others = [client.chat("fast").status_code for _ in range(30)]

    assert (first.status_code, first.headers["x-dragoman-upstream"]) == (200, "chat/m")
    assert 0.2 < took < 3
    assert others == [200] * 30
    assert time.monotonic() - began < 3
    assert generated(silent) == 1
    assert breakers(client) == [("first/m", "gone")]


def test_many_requests_that_meet_the_silence_together_ask_one_question_at_a_time(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    upstream.script(ANSWER)
    with FakeUpstream(SILENT) as silent:
        client = make_client(models=ROUTE, first=first_at(silent))

        def ask(_: int) -> int:
            body = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}
            return client.app.test_client().post("/v1/chat/completions", json=body).status_code

        with ThreadPoolExecutor(20) as pool:
            statuses = list(pool.map(ask, range(20)))

    assert statuses == [200] * 20
    assert len(silent.seen) - generated(silent) <= 6


def test_a_model_that_thinks_is_left_to_think(make_client: MakeClient, upstream: FakeUpstream) -> None:
    upstream.script(ANSWER)
    with FakeUpstream(THOUGHT) as thinking:
        thinking.listing = LIST
        client = make_client(models=ROUTE, first=first_at(thinking))

        answer = client.chat("fast")

    assert "thought" in answer.text
    assert breakers(client) == []


def test_a_refusal_is_a_sign_of_life(make_client: MakeClient, upstream: FakeUpstream) -> None:
    upstream.script(ANSWER)
    with FakeUpstream(THOUGHT) as thinking:
        thinking.listing = json_reply({"error": {"message": "no such path"}}, 404)
        client = make_client(models=ROUTE, first=first_at(thinking))

        answer = client.chat("fast")

    assert "thought" in answer.text


@pytest.mark.parametrize("alone", ["the only target", "a server that may not be asked"])
def test_nobody_asks_where_there_is_no_other_target_or_the_settings_say_so(
    make_client: MakeClient, upstream: FakeUpstream, alone: str
) -> None:
    upstream.script(ANSWER)
    with FakeUpstream(SILENT) as silent:
        settings = first_at(silent, first_byte_timeout=0.6, health_check=alone == "the only target")
        client = make_client(models=ROUTE, first=settings, server={"max_attempts": 2})

        client.chat("first/m" if alone == "the only target" else "fast")

    assert len(silent.seen) == generated(silent)


def test_no_request_has_to_find_out_whether_a_server_is_back(make_client: MakeClient, upstream: FakeUpstream) -> None:
    upstream.script(ANSWER)
    with FakeUpstream(SILENT) as first:
        client = make_client(models=ROUTE, first=first_at(first))
        health = client.app.runtime.services.gateway.health
        client.chat("fast")
        health.breakers["first/m"].until = time.monotonic()
        began = time.monotonic()
        while_gone = [client.chat("fast").headers["x-dragoman-upstream"] for _ in range(5)]
        took = time.monotonic() - began
        first.script(json_reply(chat_answer("back")))
        first.listing = LIST
        wait_until(lambda: client.chat("fast").headers["x-dragoman-upstream"] == "first/m")

    assert while_gone == ["chat/m"] * 5
    assert took < 1
    assert generated(first) == 2
    assert breakers(client) == []


def test_a_streaming_client_gets_pings_while_a_server_is_asked(make_client: MakeClient, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("hi"))
    with FakeUpstream(SILENT) as silent:
        client = make_client(models=ROUTE, first=first_at(silent), server={"stream_start_timeout": 0.05})

        text = client.message("fast", stream=True).text

    assert text.count(": keep-alive") + text.count("event: ping") >= 3
    assert "message_stop" in text


def test_an_answer_is_believed_for_a_while() -> None:
    now, asked = 100.0, []
    taken = LivenessCheck(lambda: asked.append(now) or True, clock=lambda: now)  # type: ignore[func-returns-value]
    for _ in range(10):
        taken.take()
        wait_until(lambda: not taken._asking, 5)

    assert asked == [100.0]
    assert not taken.is_gone
