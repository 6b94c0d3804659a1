"""Specifies how upstreams are reached by way of a proxy."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from app.errors import UpstreamUnreachable
from app.transport import Transport, TransportSettings
from tests.support.fake_upstream import FakeUpstream, json_reply
from tests.transport.calls import fetch, post


class TunnelProxy:
    """A proxy that opens tunnels, or refuses with `answer`; `asked` are the heads of the requests it got."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = b"HTTP/1.1 200 Connection established\r\n\r\n"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, suppress(OSError):
            head = peer.recv(65536).decode()
            self.asked.append(head)
            peer.sendall(self.answer)
            if head.startswith("CONNECT") and b" 200 " in self.answer:
                host, _, port = head.split()[1].rpartition(":")
                here = "127.0.0.1" if host.endswith(".test") else host
                with socket.create_connection((here, int(port))) as upstream:
                    backward = threading.Thread(target=_pump, args=(upstream, peer), daemon=True)
                    backward.start()
                    _pump(peer, upstream)
                    backward.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy() -> Iterator[TunnelProxy]:
    with closing(TunnelProxy()) as proxy:
        yield proxy


@pytest.mark.parametrize("key", ["https", "all", "https://upstream.test"])
def test_a_tls_upstream_is_reached_through_a_tunnel_that_is_kept(proxy: TunnelProxy, tmp_path: Path, key: str) -> None:
    with FakeUpstream(json_reply({"n": 1}), tls=True) as upstream:
        ca_bundle = upstream.write_ca(str(tmp_path / "ca.pem"))
        settings = TransportSettings(proxies={key: f"http://me:p%40ss@{proxy.address}"}, ca_bundle=ca_bundle)
        with closing(Transport(settings)) as transport:
            bodies = [fetch(transport, f"https://upstream.test:{upstream.port}") for _ in range(2)]

        assert bodies == [b'{"n":1}'] * 2
        assert [head.split("\r\n") for head in proxy.asked] == [
            [
                f"CONNECT upstream.test:{upstream.port} HTTP/1.1",
                f"host: upstream.test:{upstream.port}",
                "proxy-authorization: Basic bWU6cEBzcw==",
                "",
                "",
            ]
        ]


def test_a_proxy_that_refuses_makes_the_upstream_unreachable_and_its_password_stays_secret(proxy: TunnelProxy) -> None:
    proxy.answer = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
    settings = TransportSettings(proxies={"all": f"http://me:secret@{proxy.address}"})

    with closing(Transport(settings)) as transport, pytest.raises(UpstreamUnreachable, match="answered 407") as caught:
        transport.send(post("https://upstream.test/"))

    assert "secret" not in str(caught.value)


def test_an_exempt_host_is_reached_directly(proxy: TunnelProxy) -> None:
    settings = TransportSettings(proxies={"all": f"http://{proxy.address}", "no_proxy": "127.0.0.1,.internal"})
    with FakeUpstream(json_reply(1)) as upstream, closing(Transport(settings)) as transport:
        assert fetch(transport, upstream.url) == b"1"

    assert proxy.asked == []


def test_a_plain_upstream_behind_a_proxy_is_asked_for_by_its_whole_url(proxy: TunnelProxy) -> None:
    proxy.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
    with closing(Transport(TransportSettings(proxies={"http": proxy.address}))) as transport:
        body = fetch(transport, "http://upstream.test/v1/chat")

    assert body == b"ok"
    assert proxy.asked[0].startswith("POST http://upstream.test/v1/chat HTTP/1.1\r\n")
