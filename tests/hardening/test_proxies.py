"""SOCKS proxies and client certificates: who looks a name up, what is shown to whom, and what is told when it fails."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trustme

from app.errors import ConfigError, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from app.transport import Call, Limits, Transport, TransportSettings
from app.transport.network.lookup import Resolver
from tests.support.fake_upstream import FakeUpstream, json_reply
from tests.support.socks_server import SocksServer
from tests.transport.calls import fetch

LOGIN = ("me", "p@ss:word")


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(json_reply("through")) as fake:
        yield fake


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Names that our own look-ups know, and the addresses that they give."""
    known: dict[str, str] = {}

    def ask(_self: Resolver, host: str, port: int) -> list[object]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, 1, 6, "", (known[host], port))]

    monkeypatch.setattr(Resolver, "_ask", ask)
    return known


def through(proxy: str, **more: object) -> TransportSettings:
    return TransportSettings(proxies={"all": proxy}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scheme", "resolves_names"), [("socks4", False), ("socks4a", True), ("socks5", False), ("socks5h", True)]
)
def test_a_name_is_looked_up_where_the_proxys_scheme_says(
    scheme: str, resolves_names: bool, upstream: FakeUpstream, names: dict[str, str]
) -> None:
    names |= {} if resolves_names else {"upstream.test": "127.0.0.1"}
    with SocksServer() as proxy, closing(Transport(through(f"{scheme}://127.0.0.1:{proxy.port}"))) as transport:
        for _ in range(2):
            assert fetch(transport, f"http://upstream.test:{upstream.port}/") == b'"through"'

    # One way is kept and used again.
    assert proxy.asked == [("upstream.test" if resolves_names else "127.0.0.1", upstream.port)]


def test_a_user_and_a_password_are_shown_to_the_proxy_alone(upstream: FakeUpstream, names: dict[str, str]) -> None:
    with SocksServer(LOGIN) as proxy:
        address = f"socks5h://me:p%40ss%3Aword@127.0.0.1:{proxy.port}"
        with closing(Transport(through(address))) as transport:
            assert fetch(transport, f"http://upstream.test:{upstream.port}/") == b'"through"'

    assert "p@ss" not in str(upstream.seen[0].headers)
    assert "authorization" not in {name.lower() for name in upstream.seen[0].headers}


@pytest.mark.parametrize("login", ["", "me:wrong@"])
def test_a_proxy_that_takes_no_such_login_is_named_without_the_password(
    login: str, upstream: FakeUpstream, names: dict[str, str]
) -> None:
    with (
        SocksServer(LOGIN) as proxy,
        closing(Transport(through(f"socks5h://{login}127.0.0.1:{proxy.port}"))) as transport,
        pytest.raises(UpstreamUnreachable, match=f"the proxy 127.0.0.1:{proxy.port}") as caught,
    ):
        fetch(transport, f"http://upstream.test:{upstream.port}/")

    assert "wrong" not in str(caught.value)
    assert upstream.accepted == 0


@pytest.mark.parametrize("scheme", ["socks4a", "socks5h"])
def test_a_proxy_that_opens_no_way_is_named(scheme: str, upstream: FakeUpstream, names: dict[str, str]) -> None:
    with (
        SocksServer(refuses=True) as proxy,
        closing(Transport(through(f"{scheme}://127.0.0.1:{proxy.port}"))) as transport,
        pytest.raises(UpstreamUnreachable, match=f"the proxy 127.0.0.1:{proxy.port} did not open the tunnel"),
    ):
        fetch(transport, f"http://upstream.test:{upstream.port}/")


def test_a_silent_proxy_is_waited_for_as_long_as_a_connection_may_take(names: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with closing(Transport(through(f"socks5h://127.0.0.1:{port}"))) as transport:
            began = time.monotonic()
            with pytest.raises(UpstreamTimeout):
                transport.send(Call("POST", "http://upstream.test/", {}, b"{}", Limits(connect=0.3)))

    assert time.monotonic() - began < 2


@pytest.mark.parametrize("scheme", ["socks4a", "socks5", "socks5h"])
def test_what_a_stranger_names_is_checked_before_a_socks_proxy_is_asked(scheme: str, names: dict[str, str]) -> None:
    names["inner.test"] = "10.0.0.7"
    with SocksServer() as proxy:
        settings = through(f"{scheme}://127.0.0.1:{proxy.port}", public_only=True, pool_size=0)
        with closing(Transport(settings)) as transport:
            for url in ("http://inner.test/", "https://inner.test/", "http://10.0.0.1/", "http://unknown.test/"):
                with pytest.raises(UpstreamUnreachable):
                    fetch(transport, url)

    assert proxy.asked == []


def test_a_socks_proxy_leads_to_tls_as_well(names: dict[str, str], tmp_path: Path) -> None:
    with FakeUpstream(json_reply("safe"), tls=True) as upstream, SocksServer() as proxy:
        bundle = upstream.write_ca(str(tmp_path / "ca.pem"))
        with closing(Transport(through(f"socks5h://127.0.0.1:{proxy.port}", ca_bundle=bundle))) as transport:
            assert fetch(transport, f"https://upstream.test:{upstream.port}/") == b'"safe"'


# ---- client certificates


class Demanding:
    """A server that wants a client certificate, and notes whose it got."""

    def __init__(self, authority: trustme.CA) -> None:
        self.shown: list[object] = []
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(self._context)
        authority.configure_trust(self._context)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as client:
                self.shown.append(client.getpeercert())
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def demanding(authority: trustme.CA) -> Iterator[Demanding]:
    with closing(Demanding(authority)) as server:
        yield server


def write(folder: Path, name: str, *blobs: trustme.Blob) -> str:
    path = folder / name
    path.write_bytes(b"".join(blob.bytes() for blob in blobs))
    return str(path)


@pytest.mark.parametrize("together", [True, False], ids=["in one file", "apart"])
def test_a_client_certificate_is_shown_to_who_asks_for_it(
    together: bool, authority: trustme.CA, demanding: Demanding, tmp_path: Path
) -> None:
    own = authority.issue_cert("gateway.test")
    key = write(tmp_path, "key.pem", own.private_key_pem)
    chain = (*([own.private_key_pem] if together else []), *own.cert_chain_pems)
    settings = TransportSettings(
        ca_bundle=write(tmp_path, "ca.pem", authority.cert_pem),
        client_cert=write(tmp_path, "own.pem", *chain),
        client_key=None if together else key,
    )

    with closing(Transport(settings)) as transport:
        assert fetch(transport, demanding.url) == b"ok"

    assert len(demanding.shown) == 1


@pytest.mark.parametrize("shows", ["nothing", "another's"])
def test_who_is_not_known_there_is_told_that_the_certificate_is_not_taken(
    shows: str, authority: trustme.CA, demanding: Demanding, tmp_path: Path
) -> None:
    stranger = trustme.CA().issue_cert("gateway.test")
    chain = (stranger.private_key_pem, *stranger.cert_chain_pems)
    settings = TransportSettings(
        ca_bundle=write(tmp_path, "ca.pem", authority.cert_pem),
        client_cert=write(tmp_path, "own.pem", *chain) if shows != "nothing" else None,
    )

    with (
        closing(Transport(settings)) as transport,
        pytest.raises(UpstreamError, match=r"rejects our certificate \((certificate required|unknown ca)\)"),
    ):
        fetch(transport, demanding.url)

    assert demanding.shown == []


@pytest.mark.parametrize("wrong", ["no file", "no key", "no certificate", "another's key"])
def test_a_certificate_that_cannot_be_used_is_told_at_the_start(
    wrong: str, authority: trustme.CA, tmp_path: Path
) -> None:
    own, other = authority.issue_cert("a.test"), authority.issue_cert("b.test")
    certificate = write(tmp_path, "own.pem", *own.cert_chain_pems)
    files = {
        "no file": (str(tmp_path / "nowhere.pem"), None),
        "no key": (certificate, None),
        "no certificate": (write(tmp_path, "text.pem"), None),
        "another's key": (certificate, write(tmp_path, "key.pem", other.private_key_pem)),
    }[wrong]

    with pytest.raises(ConfigError, match="cannot use the certificate"):
        Transport(TransportSettings(client_cert=files[0], client_key=files[1]))


def test_a_key_with_a_password_is_no_question_on_the_terminal(tmp_path: Path) -> None:
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    own = trustme.CA().issue_cert("a.test")
    key = serialization.load_pem_private_key(own.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "key.pem").write_bytes(locked)

    with pytest.raises(ConfigError, match="cannot use the certificate"):
        Transport(
            TransportSettings(
                client_cert=write(tmp_path, "own.pem", *own.cert_chain_pems), client_key=str(tmp_path / "key.pem")
            )
        )
