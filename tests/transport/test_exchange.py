"""Specifies what a call to an upstream gives, and how it fails."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from app.errors import UpstreamCut, UpstreamMalformed, UpstreamTimeout, UpstreamUnreachable
from app.transport import Limits, Transport
from tests.support.fake_upstream import CLOSE, CUT, STALL, FakeUpstream, Piece, Reply, json_reply, raw, sse
from tests.transport.calls import fetch, post, read_parts


def test_a_reply_with_a_length_is_read_whole(transport: Transport) -> None:
    with FakeUpstream(json_reply({"answer": 42}, 201, {"X-One": " a "})) as upstream:
        exchange = transport.send(
            post(f"{upstream.url}/v1/chat?x=1", b'{"q":1}', headers={"Authorization": "Bearer k"})
        )

        exchange.wait_head()
        body = exchange.read_body()

        assert (exchange.status, exchange.headers["x-one"], body) == (201, "a", b'{"answer":42}')


def test_the_request_has_the_callers_headers_and_the_transports_framing(transport: Transport) -> None:
    with FakeUpstream() as upstream:
        headers = {"Authorization": "Bearer k", "Accept-Encoding": "gzip", "Connection": "close", "Content-Length": "9"}

        transport.send(post(f"{upstream.url}/v1/chat?x=1", b'{"q":1}', headers=headers)).read_body()

        seen = upstream.seen[0]
        assert (seen.method, seen.path, seen.json()) == ("POST", "/v1/chat?x=1", {"q": 1})
        assert seen.headers == {
            "host": f"127.0.0.1:{upstream.port}",
            "accept-encoding": "identity",
            "content-length": "7",
            "authorization": "Bearer k",
        }


def test_a_body_of_megabytes_arrives(transport: Transport) -> None:
    with FakeUpstream() as upstream:
        body = bytes(range(256)) * 20_000

        transport.send(post(upstream.url, body)).read_body()

        assert upstream.seen[0].body == body


def test_a_part_is_what_one_read_delivers_and_the_end_is_empty(transport: Transport) -> None:
    with FakeUpstream(sse(b"data: 1\n\n", 0.1, b"data: 2\n\n", 0.1, b"data: 3\n\n")) as upstream:
        exchange = transport.send(post(upstream.url))
        exchange.wait_head()

        parts = [exchange.read_part() for _ in range(5)]

        assert parts == [b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n", b"", b""]


@pytest.mark.parametrize("comes_whole", [True, False])
def test_a_reply_has_ended_once_nobody_needs_to_wait_for_more(transport: Transport, comes_whole: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    begins, ends = head + b"3\r\none\r\n", b"0\r\n\r\n"
    with FakeUpstream(raw(begins + ends) if comes_whole else raw(begins, 0.1, ends)) as upstream:
        exchange = transport.send(post(upstream.url))

        exchange.wait_head()

        assert exchange.has_ended is comes_whole
        assert (exchange.read_part(), exchange.read_part(), exchange.has_ended) == (b"one", b"", True)


def test_silence_is_told_without_ending_the_reply(transport: Transport) -> None:
    with FakeUpstream(sse(b"a", 0.2, b"b", delay=0.2)) as upstream:
        exchange = transport.send(post(upstream.url))

        heads = [exchange.wait_head(0.01), exchange.wait_head(0), exchange.wait_head()]
        parts = [exchange.read_part(), exchange.read_part(0.01), exchange.read_part(), exchange.read_part()]

        assert heads == [False, False, True]
        assert parts == [b"a", None, b"b", b""]


@pytest.mark.parametrize("framing", ["chunked", "length", "connection"])
def test_every_framing_ends_cleanly(transport: Transport, framing: str) -> None:
    with FakeUpstream(Reply((b"one ", b"two"), framing=framing)) as upstream:  # type: ignore[arg-type]
        assert fetch(transport, upstream.url) == b"one two"


def test_a_gzip_reply_that_nobody_asked_for_is_read_as_it_comes(transport: Transport) -> None:
    with FakeUpstream(sse("data: 🐉\n\n".encode(), 0.1, b"data: 2\n\n", gzip=True)) as upstream:
        exchange = transport.send(post(upstream.url))
        exchange.wait_head()

        parts = read_parts(exchange)

        assert parts == ["data: 🐉\n\n".encode(), b"data: 2\n\n"]
        assert "content-encoding" not in exchange.headers


def test_a_byte_order_mark_is_no_part_of_a_whole_body(transport: Transport) -> None:
    with FakeUpstream(Reply((b"\xef", b"\xbb\xbf{}"))) as upstream:
        exchange = transport.send(post(upstream.url))

        assert exchange.read_body() == b"{}"


def test_a_character_cut_in_half_stays_cut(transport: Transport) -> None:
    dragon = "🐉".encode()
    with FakeUpstream(sse(dragon[:2], 0.1, dragon[2:])) as upstream:
        exchange = transport.send(post(upstream.url))
        exchange.wait_head()

        assert read_parts(exchange) == [dragon[:2], dragon[2:]]


def test_no_connection_means_unreachable(transport: Transport) -> None:
    with FakeUpstream() as upstream:
        url = upstream.url

    with pytest.raises(UpstreamUnreachable, match=r"cannot connect to 127\.0\.0\.1:"):
        transport.send(post(url))


@pytest.mark.parametrize("url", ["", "no-url", "ftp://host/", "http://", "http://host:port/"])
def test_no_url_means_unreachable(transport: Transport, url: str) -> None:
    with pytest.raises(UpstreamUnreachable, match="not a valid"):
        transport.send(post(url))


def test_an_upstream_that_accepts_but_never_shakes_hands_times_out_connecting(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"

        with pytest.raises(UpstreamTimeout) as caught:
            transport.send(post(url, limits=Limits(connect=0.2)))

    assert caught.value.phase == "connect"


def test_an_upstream_that_answers_late_times_out_before_the_first_byte(transport: Transport) -> None:
    with FakeUpstream(sse(delay=30)) as upstream:
        exchange = transport.send(post(upstream.url, limits=Limits(first_byte=0.3)))

        assert exchange.wait_head(0.1) is False
        with pytest.raises(UpstreamTimeout) as caught:
            exchange.wait_head()

        assert caught.value.phase == "first_byte"
        upstream.wait_until_left()


def test_short_waits_add_up_to_the_limit(transport: Transport) -> None:
    with FakeUpstream(sse(STALL)) as upstream:
        exchange = transport.send(post(upstream.url, limits=Limits(idle=0.3)))
        exchange.wait_head()

        silences = [exchange.read_part(0.1), exchange.read_part(0.1)]
        with pytest.raises(UpstreamTimeout) as caught:
            exchange.read_part(0.2)

        assert (silences, caught.value.phase) == ([None, None], "idle")
        upstream.wait_until_left()


def test_a_byte_ends_the_silence(transport: Transport) -> None:
    with FakeUpstream(sse(0.2, b"a", 0.2, b"b", 0.2, b"c", delay=0.2)) as upstream:
        exchange = transport.send(post(upstream.url, limits=Limits(first_byte=0.35, idle=0.35)))
        exchange.wait_head()

        assert read_parts(exchange) == [b"a", b"b", b"c"]


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
CREEPING = {
    "a line of a head": (b"HTTP/1.1 200 OK\r\nx: ", b"a"),
    "lines of a head": (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
    "hints": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "the size of a chunk": (CHUNKED + b"1;", b"a"),
    "trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"a: b\r\n"),
}


@pytest.mark.parametrize("name", CREEPING)
@pytest.mark.parametrize("wait", [None, 0.05])
def test_bytes_that_say_nothing_do_not_end_the_silence(transport: Transport, name: str, wait: float | None) -> None:
    begin, drip = CREEPING[name]
    with FakeUpstream(raw(begin, *[0.1, drip] * 20, CLOSE)) as upstream:
        began = time.monotonic()
        exchange = transport.send(post(upstream.url, limits=Limits(first_byte=0.35, idle=0.35)))
        with pytest.raises(UpstreamTimeout):
            for _ in exchange.gather_body(100, wait):
                pass
        exchange.close()

    assert time.monotonic() - began < 1.2


@pytest.mark.parametrize("name", CREEPING)
def test_who_waits_hears_of_a_silence_that_is_full_of_bytes(transport: Transport, name: str) -> None:
    begin, drip = CREEPING[name]
    with FakeUpstream(raw(begin, *[0.05, drip] * 20, CLOSE)) as upstream:
        exchange = transport.send(post(upstream.url, limits=Limits(first_byte=5, idle=5)))
        silences = 0
        with contextlib.suppress(UpstreamCut):
            for _ in exchange.gather_body(100, 0.2):
                silences += 1
        exchange.close()

    assert silences >= 3


def test_time_that_the_consumer_takes_is_no_silence(transport: Transport) -> None:
    with FakeUpstream(sse(b"a", b"b")) as upstream:
        exchange = transport.send(post(upstream.url, limits=Limits(first_byte=0.1, idle=0.1)))
        upstream.wait_for()

        time.sleep(0.3)
        exchange.wait_head()

        assert exchange.read_body() == b"ab"


def test_the_total_limit_ends_a_lively_reply_too(transport: Transport) -> None:
    with FakeUpstream(sse(*[0.05, b"a"] * 100)) as upstream:
        exchange = transport.send(post(upstream.url, limits=Limits(total=0.3)))
        exchange.wait_head()

        with pytest.raises(UpstreamTimeout) as caught:
            read_parts(exchange)

        assert caught.value.phase == "total"
        upstream.wait_until_left()


def test_the_total_limit_ends_silence_too(transport: Transport) -> None:
    with FakeUpstream(sse(STALL)) as upstream:
        exchange = transport.send(post(upstream.url, limits=Limits(total=0.2)))
        exchange.wait_head()

        with pytest.raises(UpstreamTimeout) as caught:
            exchange.read_part()

        assert caught.value.phase == "total"


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", CLOSE),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", 0.1, CUT),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhello", CLOSE),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", CLOSE),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", 0.1, CUT),
    ],
    ids=["between chunks", "reset between chunks", "inside a chunk", "short of its length", "reset without a framing"],
)
def test_a_body_that_breaks_off_is_cut_after_its_last_bytes(transport: Transport, pieces: tuple[Piece, ...]) -> None:
    with FakeUpstream(raw(*pieces)) as upstream:
        exchange = transport.send(post(upstream.url))
        exchange.wait_head()
        part = exchange.read_part()

        with pytest.raises(UpstreamCut) as caught:
            exchange.read_part()

        assert (part, caught.value.began) == (b"hello", True)


@pytest.mark.parametrize(
    ("pieces", "began"),
    [((CLOSE,), False), ((CUT,), False), ((b"HTTP/1.1 200 OK\r\ncont", CLOSE), True)],
    ids=["closed before the reply", "reset before the reply", "closed in the head"],
)
def test_a_head_that_breaks_off_is_cut(transport: Transport, pieces: tuple[Piece, ...], began: bool) -> None:
    with FakeUpstream(raw(*pieces)) as upstream:
        exchange = transport.send(post(upstream.url))

        with pytest.raises(UpstreamCut) as caught:
            exchange.wait_head()

        assert (caught.value.began, len(upstream.seen)) == (began, 1)


def test_a_reply_that_is_not_http_is_malformed(transport: Transport) -> None:
    with FakeUpstream(raw(b"SSH-2.0-OpenSSH_9.2\r\n", STALL)) as upstream:
        exchange = transport.send(post(upstream.url))

        with pytest.raises(UpstreamMalformed, match="not valid HTTP"):
            exchange.wait_head()

        upstream.wait_until_left()


def test_a_body_beyond_the_limit_is_refused(transport: Transport) -> None:
    with FakeUpstream(Reply((b"x" * 1000, 0.05, b"x" * 1000, STALL))) as upstream:
        exchange = transport.send(post(upstream.url))
        exchange.wait_head()

        with pytest.raises(UpstreamMalformed, match="larger than 1500 bytes"):
            exchange.read_body(limit=1500)

        upstream.wait_until_left()


@pytest.mark.parametrize("reply", [sse(delay=30), sse(b"data: 1\n\n", STALL)], ids=["before the head", "mid-stream"])
def test_closing_early_closes_the_connection_at_once(transport: Transport, reply: Reply) -> None:
    with FakeUpstream(reply) as upstream:
        exchange = transport.send(post(upstream.url))
        upstream.wait_for()
        closed_at = time.monotonic()

        exchange.close()
        exchange.close()

        assert upstream.wait_until_left() - closed_at < 0.2


def test_an_upstream_is_not_read_ahead_of_the_consumer(transport: Transport) -> None:
    block = b"x" * 1_000_000
    with FakeUpstream(Reply((*[block] * 40, STALL))) as upstream:
        exchange = transport.send(post(upstream.url))
        exchange.wait_head()

        parts = [exchange.read_part() for _ in range(3)]
        time.sleep(0.2)

        assert all(part is not None and 0 < len(part) <= 64 * 1024 for part in parts)
        assert upstream.seen[0].peer_left is None
        exchange.close()
        upstream.wait_until_left()


def test_an_answer_that_comes_before_the_request_was_read_is_heard(transport: Transport) -> None:
    reply = b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(reply)
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(65536):
                    pass

        thread = threading.Thread(target=refuse)
        thread.start()
        exchange = transport.send(post(f"http://127.0.0.1:{listener.getsockname()[1]}", b"x" * 8_000_000))
        exchange.wait_head()
        body = exchange.read_body()
        thread.join()

    assert (exchange.status, body) == (413, b"big")
