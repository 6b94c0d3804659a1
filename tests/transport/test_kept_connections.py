"""Specifies when a connection serves another call, and what happens when the upstream has left it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.errors import UpstreamCut
from app.transport import Transport, TransportSettings
from tests.support.fake_upstream import CLOSE, CUT, STALL, Act, FakeUpstream, Piece, Reply, json_reply, raw, sse
from tests.transport.calls import fetch, post

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.mark.parametrize("reply", [json_reply({}), sse(b"data: 1\n\n"), Reply(status=204, pieces=(), framing="length")])
def test_calls_one_after_another_share_a_connection(transport: Transport, reply: Reply) -> None:
    with FakeUpstream(reply) as upstream:
        for _ in range(5):
            fetch(transport, upstream.url)

        assert [seen.connection for seen in upstream.seen] == [1] * 5


def test_calls_at_the_same_time_do_not_share(transport: Transport) -> None:
    with FakeUpstream(sse(b"a", 0.2, b"b")) as upstream:
        exchanges = [transport.send(post(upstream.url)) for _ in range(3)]

        bodies = [exchange.read_body() for exchange in exchanges]

        assert bodies == [b"ab"] * 3
        assert sorted(seen.connection for seen in upstream.seen) == [1, 2, 3]


def test_the_last_used_connection_is_used_first(transport: Transport) -> None:
    with FakeUpstream(sse(b"a")) as upstream:
        exchanges = []
        for count in (1, 2):
            exchanges.append(transport.send(post(upstream.url)))
            upstream.wait_for(count)
        first_started = [seen.connection for seen in upstream.seen]
        for exchange in exchanges:
            exchange.read_body()

        for _ in range(3):
            fetch(transport, upstream.url)

        assert upstream.accepted == 2
        assert {seen.connection for seen in upstream.seen[2:]} == {first_started[-1]}


def test_a_connection_with_an_unread_reply_is_not_used_again(transport: Transport) -> None:
    with FakeUpstream(sse(b"data: 1\n\n", STALL), json_reply({})) as upstream:
        exchange = transport.send(post(upstream.url))
        exchange.wait_head()
        exchange.read_part()
        exchange.close()

        fetch(transport, upstream.url)

        assert [seen.connection for seen in upstream.seen] == [1, 2]


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + b"surplus",
        OK + OK,
    ],
    ids=["close", "HTTP/1.0", "garbage after the reply", "a second reply"],
)
def test_a_connection_that_is_not_clean_is_not_used_again(transport: Transport, wire: bytes) -> None:
    with FakeUpstream(raw(wire)) as upstream:
        bodies = [fetch(transport, upstream.url) for _ in range(2)]

        assert bodies == [b"ok", b"ok"]
        assert [seen.connection for seen in upstream.seen] == [1, 2]


@pytest.mark.parametrize("farewell", [CLOSE, CUT])
@pytest.mark.parametrize("rest", [0.05, 0.35], ids=["used just now", "idle for a while"])
def test_a_call_on_a_stale_connection_is_repeated_on_a_new_one(
    transport: Transport, farewell: Act, rest: float
) -> None:
    with FakeUpstream(raw(OK, farewell), raw(OK)) as upstream:
        first = fetch(transport, upstream.url)
        time.sleep(rest)

        second = fetch(transport, upstream.url)

        assert (first, second) == (b"ok", b"ok")
        assert [seen.connection for seen in upstream.seen] == [1, 2]


@pytest.mark.parametrize("farewell", [CLOSE, CUT])
def test_a_connection_lost_while_waiting_for_the_head_is_replaced_once(transport: Transport, farewell: Act) -> None:
    with FakeUpstream(raw(OK), raw(farewell), raw(farewell), raw(OK)) as upstream:
        fetch(transport, upstream.url)
        exchange = transport.send(post(upstream.url))

        with pytest.raises(UpstreamCut) as caught:
            exchange.wait_head()

        assert caught.value.began is False
        assert [seen.connection for seen in upstream.seen] == [1, 1, 2]


def test_a_reply_that_had_begun_is_not_repeated(transport: Transport) -> None:
    pieces: tuple[Piece, ...] = (b"HTTP/1.1 200 OK\r\n", CLOSE)
    with FakeUpstream(raw(OK), raw(*pieces)) as upstream:
        fetch(transport, upstream.url)
        exchange = transport.send(post(upstream.url))

        with pytest.raises(UpstreamCut):
            exchange.wait_head()

        assert len(upstream.seen) == 2


def test_an_old_connection_is_not_used_again() -> None:
    transport = Transport(TransportSettings(idle_lifetime=0.3))
    with FakeUpstream(json_reply({})) as upstream:
        fetch(transport, upstream.url)
        time.sleep(0.35)

        fetch(transport, upstream.url)

        assert [seen.connection for seen in upstream.seen] == [1, 2]
    transport.close()


def test_no_more_connections_are_kept_than_allowed() -> None:
    transport = Transport(TransportSettings(pool_size=1))
    with FakeUpstream(sse(b"a", 0.1), sse(b"a", 0.1), json_reply({})) as upstream:
        exchanges = [transport.send(post(upstream.url)) for _ in range(2)]
        for exchange in exchanges:
            exchange.read_body()

        exchanges = [transport.send(post(upstream.url)) for _ in range(2)]

        upstream.wait_for(4)
        assert upstream.accepted == 3
        for exchange in exchanges:
            exchange.close()
    transport.close()


def test_origins_do_not_share_connections(transport: Transport) -> None:
    with FakeUpstream(json_reply(1)) as one, FakeUpstream(json_reply(2)) as two:
        bodies = [fetch(transport, one.url), fetch(transport, two.url), fetch(transport, one.url)]

        assert bodies == [b"1", b"2", b"1"]
        assert (one.accepted, two.accepted) == (1, 1)


def test_threads_share_the_connections_without_harm(transport: Transport) -> None:
    with FakeUpstream(sse(b"data: 1\n\n", b"data: 2\n\n")) as upstream, ThreadPoolExecutor(8) as threads:
        bodies = list(threads.map(lambda _: fetch(transport, upstream.url), range(160)))

        assert bodies == [b"data: 1\n\ndata: 2\n\n"] * 160
        assert upstream.accepted <= 8


def test_a_connection_that_comes_back_after_the_end_is_closed() -> None:
    """As that of a background response, whose gateway is no more."""
    transport = Transport(TransportSettings())
    with FakeUpstream(sse(b"a", 0.1, b"b")) as upstream:
        exchange = transport.send(post(upstream.url))
        exchange.wait_head()
        connection = exchange._connection  # type: ignore[attr-defined]
        transport.close()

        assert exchange.read_body() == b"ab"

        assert connection._socket.fileno() == -1
