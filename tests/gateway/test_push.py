"""Metrics that are pushed to a Pushgateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from app.gateway.recording.telemetry.push import Push
from app.settings import PushSettings
from tests.gateway.conftest import Client, MakeClient
from tests.support.answers import chat_answer
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply


@pytest.fixture
def receiver() -> Iterator[FakeUpstream]:
    with FakeUpstream(Reply(framing="length")) as fake:
        yield fake


@pytest.fixture
def push_once(make_client: MakeClient, upstream: FakeUpstream) -> Iterator[Callable[[Push], None]]:
    """Pushes what a gateway counts that was asked once."""
    upstream.script(json_reply(chat_answer()))
    client: Client = make_client()
    client.chat()
    session = requests.Session()
    yield lambda push: push.round(client.app.runtime.workers.look, "1.0", lambda: session)
    session.close()


def test_what_is_pushed_is_what_can_be_scraped(push_once: Callable[[Push], None], receiver: FakeUpstream) -> None:
    push = Push(PushSettings(url=f"{receiver.url}/", job="a team/b", instance="host:1"))

    push_once(push)

    (seen,) = receiver.seen
    assert (seen.method, seen.path) == ("PUT", "/metrics/job/a%20team%2Fb/instance/host%3A1")
    assert b"dragoman_requests_total{" in seen.body
    assert seen.headers["content-type"].startswith("text/plain")
    assert push.problem is None


def test_it_is_pushed_once_in_an_interval(push_once: Callable[[Push], None], receiver: FakeUpstream) -> None:
    now = [0.0]
    push = Push(PushSettings(url=receiver.url, interval=30.0), lambda: now[0])
    pushed = []

    for now[0] in (100.0, 105.0, 129.9, 130.1, 140.0):
        push_once(push)
        pushed.append(len(receiver.seen))

    assert pushed == [1, 1, 1, 2, 2]


@pytest.mark.parametrize("fault", [json_reply({}, 503), json_reply({}, 302, {"location": "http://127.0.0.1:9/"}), None])
def test_a_receiver_that_fails_is_said_without_its_address_and_asked_again(
    push_once: Callable[[Push], None], receiver: FakeUpstream, fault: Any
) -> None:
    now = 100.0
    url = receiver.url if fault is not None else "http://user:hunter2@127.0.0.1:9"
    push = Push(PushSettings(url=url), lambda: now)
    receiver.script(fault or Reply(framing="length"))

    push_once(push)
    said = push.problem
    now = 200.0
    receiver.script(Reply(framing="length"))
    push_once(push)

    assert said is not None
    assert said.startswith("cannot push metrics")
    assert "hunter2" not in said
    assert (push.problem is None) == (fault is not None)


def test_nothing_is_pushed_without_an_address(push_once: Callable[[Push], None], receiver: FakeUpstream) -> None:
    push = Push(PushSettings())

    push_once(push)

    assert receiver.seen == []
    assert not push.enabled
