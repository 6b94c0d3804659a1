"""This file shows what a call to an upstream gives, and how it fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.transport import Call, Limits, Transport, TransportSettings
from tests.support.fake_upstream import FakeUpstream, json_reply, sse


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport(TransportSettings())
    yield transport
    transport.close()


def post(url: str, body: bytes = b"{}", limits: Limits = Limits(), **headers: str) -> Call:
    return Call("POST", url, headers, body, limits)


def test_a_reply_with_a_length_is_read_whole(transport: Transport) -> None:
    with FakeUpstream(json_reply({"answer": 42}, 201, {"X-Twice": "a"})) as upstream:
        exchange = transport.send(post(f"{upstream.url}/v1/chat?x=1", b'{"q":1}', authorization="Bearer k"))
        exchange.wait_head()
        body = exchange.read_body()

        assert (exchange.status, exchange.headers["x-twice"], body) == (201, "a", b'{"answer":42}')
        seen = upstream.seen[0]
        assert (seen.method, seen.path, seen.json()) == ("POST", "/v1/chat?x=1", {"q": 1})
        assert seen.headers == {
            "host": f"127.0.0.1:{upstream.port}",
            "accept-encoding": "identity",
            "content-length": "7",
            "authorization": "Bearer k",
        }


def test_a_part_is_what_one_read_delivers_and_the_end_is_empty(transport: Transport) -> None:
    with FakeUpstream(sse(b"data: 1\n\n", 0.1, b"data: 2\n\n", 0.1, b"data: 3\n\n")) as upstream:
        exchange = transport.send(post(upstream.url))
        exchange.wait_head()

        parts = [exchange.read_part() for _ in range(4)]

        assert parts == [b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n", b""]


def test_silence_is_told_without_ending_the_reply(transport: Transport) -> None:
    with FakeUpstream(sse(b"a", 0.2, b"b", delay=0.2)) as upstream:
        exchange = transport.send(post(upstream.url))

        heads = [exchange.wait_head(0.01), exchange.wait_head(0), exchange.wait_head()]
        parts = [exchange.read_part(), exchange.read_part(0.01), exchange.read_part(), exchange.read_part()]

        assert heads == [False, False, True]
        assert parts == [b"a", None, b"b", b""]
