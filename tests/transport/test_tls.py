"""Specifies how an upstream's identity is checked, and that TLS changes nothing else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from app.errors import ConfigError, UpstreamCut, UpstreamUnreachable
from app.transport import Transport, TransportSettings
from tests.support.fake_upstream import CLOSE, STALL, FakeUpstream, json_reply, raw, sse
from tests.transport.calls import fetch, post, read_parts

Trusting = Callable[[FakeUpstream], Transport]


@pytest.fixture
def trusting(tmp_path: Path) -> Iterator[Trusting]:
    """Makes a transport that trusts an upstream's authority."""
    with ExitStack() as stack:

        def make(upstream: FakeUpstream) -> Transport:
            settings = TransportSettings(ca_bundle=upstream.write_ca(str(tmp_path / "ca.pem")))
            return stack.enter_context(closing(Transport(settings)))

        yield make


def test_a_known_authority_is_trusted_and_the_connection_kept(trusting: Trusting) -> None:
    with FakeUpstream(json_reply({"n": 1}), tls=True) as upstream:
        transport = trusting(upstream)

        bodies = [fetch(transport, upstream.url) for _ in range(3)]

        assert bodies == [b'{"n":1}'] * 3
        assert upstream.accepted == 1


def test_an_unknown_authority_is_refused(transport: Transport) -> None:
    with FakeUpstream(tls=True) as upstream, pytest.raises(UpstreamUnreachable, match="certificate verify failed"):
        transport.send(post(upstream.url))


def test_a_certificate_for_another_name_is_refused(trusting: Trusting) -> None:
    with FakeUpstream(tls=True) as upstream:
        transport = trusting(upstream)

        with pytest.raises(UpstreamUnreachable, match="certificate verify failed"):
            transport.send(post(upstream.url.replace("localhost", "127.0.0.1")))


def test_an_upstream_without_tls_is_unreachable(transport: Transport) -> None:
    def answer_plainly() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_plainly)
        thread.start()

        with pytest.raises(UpstreamUnreachable):
            transport.send(post(f"https://127.0.0.1:{listener.getsockname()[1]}"))

        thread.join()


def test_a_stream_comes_part_by_part(trusting: Trusting) -> None:
    with FakeUpstream(sse(b"data: 1\n\n", 0.1, b"data: 2\n\n"), tls=True) as upstream:
        exchange = trusting(upstream).send(post(upstream.url))
        exchange.wait_head()

        silence = exchange.read_part(), exchange.read_part(0.02)

        assert silence == (b"data: 1\n\n", None)
        assert read_parts(exchange) == [b"data: 2\n\n"]


def test_long_bodies_pass_both_ways(trusting: Trusting) -> None:
    body = bytes(range(256)) * 8000
    with FakeUpstream(json_reply("x" * 2_000_000), tls=True) as upstream:
        exchange = trusting(upstream).send(post(upstream.url, body))

        reply = exchange.read_body()

        assert len(reply) == 2_000_002
        assert upstream.seen[0].body == body


def test_a_reply_cut_short_is_cut(trusting: Trusting) -> None:
    wire = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"
    with FakeUpstream(raw(wire, CLOSE), tls=True) as upstream:
        exchange = trusting(upstream).send(post(upstream.url))
        exchange.wait_head()

        with pytest.raises(UpstreamCut):
            exchange.read_body()


def test_a_stale_connection_is_replaced(trusting: Trusting) -> None:
    ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    with FakeUpstream(raw(ok, CLOSE), raw(ok), tls=True) as upstream:
        transport = trusting(upstream)

        bodies = [fetch(transport, upstream.url), fetch(transport, upstream.url)]

        assert bodies == [b"ok", b"ok"]
        assert [seen.connection for seen in upstream.seen] == [1, 2]


def test_closing_early_closes_the_connection(trusting: Trusting) -> None:
    with FakeUpstream(sse(b"data: 1\n\n", STALL), tls=True) as upstream:
        exchange = trusting(upstream).send(post(upstream.url))
        exchange.wait_head()

        exchange.close()

        upstream.wait_until_left(seconds=1)


def test_certificates_that_cannot_be_read_are_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read certificates"):
        Transport(TransportSettings(ca_bundle=str(tmp_path / "missing.pem")))


def test_the_end_of_tls_ends_a_reply_without_a_framing(trusting: Trusting) -> None:
    with FakeUpstream(raw(b"HTTP/1.1 200 OK\r\n\r\nhello", 0.05, b" world", CLOSE), tls=True) as upstream:
        exchange = trusting(upstream).send(post(upstream.url))
        exchange.wait_head()

        assert exchange.read_body() == b"hello world"
