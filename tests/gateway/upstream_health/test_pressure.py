"""Upstreams in trouble, as clients of the gateway meet them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.blueprints.operations.gauges import describe_state
from app.gateway.upstream_health.retry_budget import FLOOR
from app.settings import RouteSettings
from app.settings.tables import CredentialSettings
from tests.gateway.conftest import Client, MakeClient
from tests.support.answers import chat_answer, chat_stream
from tests.support.fake_upstream import STALL, FakeUpstream, Reply, json_reply, raw

ANSWER = json_reply(chat_answer())
BUSY = json_reply({"error": {"message": "busy", "type": "server_error"}}, 503)
BAD = json_reply({"error": {"message": "bad field", "type": "invalid_request_error"}}, 400)
SILENT = raw(STALL)
DEAD = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1"}
ROUTE = {"routes": {"fast": RouteSettings(targets=("first/m", "chat/m"))}}


def first_at(upstream: FakeUpstream, **more: Any) -> dict[str, Any]:
    return {"kind": "openai", "base_url": f"{upstream.url}/v1", "api_key": "sk-first", **more}


def breakers(client: Client) -> list[tuple[str, str]]:
    return [(each.target, each.state) for each in client.app.runtime.services.gateway.health.targets()]


def test_a_dead_first_target_is_asked_a_few_times_by_303_requests(
    make_client: MakeClient, upstream: FakeUpstream, log_lines: Callable[[], list[Any]]
) -> None:
    client = make_client(models=ROUTE, first=DEAD)
    upstream.script(ANSWER)

    statuses = [client.chat("fast").status_code for _ in range(303)]

    assert statuses == [200] * 303
    lines = log_lines()
    asked = sum(line["attempts"] == 2 for line in lines)
    assert 3 <= asked <= 8
    assert lines[-1]["skipped"][0].startswith("first/m: 3 faults in a row (unreachable)")


@pytest.mark.parametrize("reply", [BAD, json_reply({"error": {"message": "limit"}}, 429)], ids=["bad", "limit"])
def test_refusals_of_requests_open_nothing(make_client: MakeClient, upstream: FakeUpstream, reply: Reply) -> None:
    client = make_client()
    upstream.script(reply)

    for number in range(30):
        client.chat(seed=number)

    assert breakers(client) == []


def test_a_silent_first_target_costs_few_requests_their_time(make_client: MakeClient, upstream: FakeUpstream) -> None:
    with FakeUpstream(SILENT) as silent:
        client = make_client(models=ROUTE, first=first_at(silent, first_byte_timeout=0.2))
        upstream.script(ANSWER)

        began = time.monotonic()
        statuses = [client.chat("fast").status_code for _ in range(50)]

    assert statuses == [200] * 50
    assert len(silent.seen) == 5
    assert time.monotonic() - began < 5


TROUBLES = {"silence": SILENT, "a closed connection": raw(b""), "server errors": BUSY}
POOL = (CredentialSettings(name="one", api_key="sk-one"), CredentialSettings(name="two", api_key="sk-two"))
CREDENTIALS: dict[str, dict[str, Any]] = {"one key": {}, "a pool": {"api_key": None, "credentials": POOL}}


@pytest.mark.parametrize("credentials", CREDENTIALS)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_only_target_is_asked_on_once_for_each_request_and_noticed_when_it_is_back(
    make_client: MakeClient, trouble: str, credentials: str
) -> None:
    with FakeUpstream(TROUBLES[trouble]) as only:
        settings = first_at(only, **{"first_byte_timeout": 0.1, **CREDENTIALS[credentials]})
        client = make_client(first=settings, server={"max_attempts": 1})
        for number in range(6):
            assert client.chat("first/m", seed=number).status_code in (502, 503, 504)
        assert breakers(client) == [("first/m", "open")]
        before = len(only.seen)
        for number in range(3):
            client.chat("first/m", seed=number)
        asked = len(only.seen) - before

        only.script(ANSWER)

        assert client.chat("first/m").status_code == 200
    assert asked == 3
    assert breakers(client) == []


def test_a_target_that_cannot_be_reached_is_noticed_when_it_is_back(make_client: MakeClient) -> None:
    with FakeUpstream() as gone:
        url, port = gone.url, int(gone.url.rpartition(":")[2])
    client = make_client(first={"kind": "openai", "base_url": f"{url}/v1", "api_key": "k"}, server={"max_attempts": 1})
    for _ in range(5):
        assert client.chat("first/m").status_code == 502
    assert breakers(client) == [("first/m", "open")]

    with FakeUpstream(ANSWER, port=port):
        assert client.chat("first/m").status_code == 200


def test_of_targets_in_trouble_the_silent_one_is_asked_last_and_no_other_silent_one(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    with FakeUpstream(SILENT) as silent:
        client = make_client(models=ROUTE, first=first_at(silent, first_byte_timeout=0.1), server={"max_attempts": 2})
        for _ in range(5):
            client.chat("first/m")
        upstream.script(BUSY)
        for number in range(6):
            client.chat("chat/m", seed=number)
        before = len(silent.seen), len(upstream.seen)

        silent.script(ANSWER)
        answer = client.chat("fast")

        assert answer.status_code == 200
        assert answer.headers["x-dragoman-upstream"] == "first/m"
        assert (len(silent.seen) - before[0], len(upstream.seen) - before[1]) == (1, 1)


def test_breakers_outlive_a_change_of_the_configuration(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(first=DEAD, server={"max_attempts": 1})
    for _ in range(3):
        client.chat("first/m")
    runtime = client.app.runtime

    runtime.reload(lambda: runtime.services.settings)

    assert breakers(client) == [("first/m", "open")]


def test_an_upstream_that_always_fails_gets_few_retries(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client()
    upstream.script(BUSY)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: client.app.test_client().post(
            "/v1/chat/completions", json={"model": f"chat/m{number}", "messages": [{"role": "user", "content": "hi"}]}
        ), range(200)))  # fmt: skip

    assert len(upstream.seen) <= max(200 + FLOOR, 1.2 * 200)
    assert len(upstream.seen) > 200


def test_never_more_than_max_parallel_requests_are_under_way(make_client: MakeClient) -> None:
    with FakeUpstream(Reply((b"{}",), delay=0)) as counted:
        replies = chat_stream("hi")
        counted.script(Reply((0.05, *replies.pieces), headers=replies.headers))
        client = make_client(first=first_at(counted, max_parallel=3))
        queue = client.app.runtime.services.gateway.health.queues["first"]
        maximum = []

        def ask(_: int) -> bytes:
            with client.app.test_client().post(
                "/v1/chat/completions",
                json={"model": "first/m", "stream": True, "messages": [{"role": "user", "content": "hi"}]},
            ) as answer:
                maximum.append(queue.given)
                return answer.data

        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(ask, range(36)))

    assert all(answer.endswith(b"data: [DONE]\n\n") for answer in answers)
    assert max(maximum) <= 3
    assert (queue.given, queue.waiting) == (0, 0)


def test_who_waits_too_long_in_the_queue_is_told_when_to_come_back(make_client: MakeClient) -> None:
    with FakeUpstream(SILENT) as slow:
        client = make_client(first=first_at(slow, max_parallel=1, queue_timeout=0.1), server={"max_attempts": 1})
        queue = client.app.runtime.services.gateway.health.queues["first"]
        place = queue.enter("somebody")

        refusals = [client.chat("first/m"), client.message("first/m"), client.chat("first/m", stream=True)]
        queue.leave(place)

    assert [(each.status_code, each.headers["retry-after"]) for each in refusals] == [(503, "5")] * 3
    assert "queue_timeout" in refusals[0].get_json()["error"]["message"]
    assert slow.seen == []


def test_a_streaming_client_in_the_queue_gets_pings(make_client: MakeClient) -> None:
    with FakeUpstream(chat_stream("hi")) as quick:
        client = make_client(first=first_at(quick, max_parallel=1), server={"stream_start_timeout": 0.05})
        queue = client.app.runtime.services.gateway.health.queues["first"]
        place = queue.enter("somebody")

        answer = client.message("first/m", stream=True)
        parts: Any = iter(answer.response)
        waiting = [next(parts), next(parts)]
        asked_by_then = len(quick.seen)
        queue.leave(place)
        rest = b"".join(parts)

    assert all(waiting)
    assert asked_by_then == 0
    assert b"message_stop" in rest
    assert queue.given == 0


def test_a_full_queue_leads_to_the_next_target(make_client: MakeClient, upstream: FakeUpstream) -> None:
    with FakeUpstream(ANSWER) as full:
        client = make_client(models=ROUTE, first=first_at(full, max_parallel=1, queue_timeout=0.05))
        client.app.runtime.services.gateway.health.queues["first"].enter("somebody")
        upstream.script(ANSWER)

        answer = client.chat("fast")

    assert (answer.status_code, answer.headers["x-dragoman-upstream"]) == (200, "chat/m")


def test_health_and_metrics_tell_of_breakers_and_queues(make_client: MakeClient) -> None:
    client = make_client(first=DEAD | {"max_parallel": 4}, server={"max_attempts": 1})
    for _ in range(3):
        client.chat("first/m")
    client.app.runtime.services.gateway.health.queues["first"].enter("somebody")

    entry = client.http.get("/health").get_json()["providers"]["first"]
    gauges = {gauge.name: gauge.value for gauge in describe_state(client.app.runtime)}

    (breaker,) = entry["breakers"]
    assert (breaker["model"], breaker["state"], breaker["fault"], breaker["faults"]) == ("m", "open", "unreachable", 3)
    assert entry["queue"] == {"max_parallel": 4, "parallel": 1, "waiting": 0, "timeouts": 0}
    assert (gauges["dragoman_breaker_state"], gauges["dragoman_parallel_requests"]) == (2, 1)
