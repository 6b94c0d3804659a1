"""Where the gateway connects to: what a stranger names leads to no private place, and a proxy is no way around that."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from app.conversation.blocks import Image, Url
from app.conversation.capabilities import Capabilities
from app.conversation.request import Request, Turn
from app.errors import ConfigError, InvalidRequest, NotFound, UpstreamCut, UpstreamTimeout, UpstreamUnreachable
from app.gateway.fetching import MAX_URLS, Fetcher
from app.settings import load_settings
from app.settings.network import check_url, split_login
from app.transport import Call, Limits, Transport, TransportSettings
from app.transport.connections.addresses import is_public
from tests.support.fake_upstream import CLOSE, FakeUpstream, Reply, json_reply, raw
from tests.transport.calls import fetch, post

PRIVATE = (
    "127.0.0.1", "127.8.9.10", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "169.254.1.1", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.1", "192.0.2.1",
    "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255", "::", "::1", "::7f00:1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:10.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::1", "2001:db8::1",
    "2002:7f00:1::1", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0",
    "fec0::1", "ff02::1", "ff0e::1", "no address",
)  # fmt: skip
PUBLIC = ("8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e")
# How else loopback and a cloud's metadata can be written.
SPELLINGS = (
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "LOCALHOST", "localhost.", "[::1]",
    "[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::]", "0.0.0.0", "0",
    "user@127.0.0.1", "127.0.0.1%00", "①②⑦.⓪.⓪.①",
    "127.0.0.1.", "127.0.1", "0x7f.1", "0177.1", "00000000000000000177.0.0.1", "%31%32%37.0.0.1", "127。0。0。1",
    "127.0.0.1%2e",
    "1.1.1.1@127.0.0.1", "1.1.1.1:80@127.0.0.1", "127.0.0.1#@1.1.1.1", "127.0.0.1\\@1.1.1.1", "ip6-localhost",
    "[::127.0.0.1]", "[0::1]", "[::1%25lo]", "[::ffff:169.254.169.254]", "2852039166", "0xa9fea9fe",
    "0251.0376.0251.0376", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a9fe:a9fe]", "[2002:a9fe:a9fe::]", "[fd00:ec2::254]",
    "[2606:4700::1%25eth0]", "[2606:4700::1%2599999999999]", "[2606:4700::1%25" + "9" * 5000 + "]", "[fe80::1%251]",
    "[v1.x]", "300.300.300.300", "4294967296", "a" * 300, "a." * 200 + "test", "xn--", "-", "..", "_", "*", "[::1",
    "127.0.0.1:80:80", "127.0.0.1:-1", "127.0.0.1:" + "9" * 5000, "127.0.0.1\r\nX: y", "\ud83d", "localhost\u200b",
)  # fmt: skip


@pytest.fixture
def canary() -> Iterator[FakeUpstream]:
    """What must never be asked."""
    with FakeUpstream(Reply((b"secret",))) as fake:
        yield fake


class Proxy:
    """Notes what it is asked for, and answers it itself."""

    def __init__(
        self, answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nsecret"
    ) -> None:
        self.asked: list[bytes] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                with peer:
                    self.asked.append(peer.recv(65536))
                    peer.sendall(self._answer)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with closing(Proxy()) as proxy:
        yield proxy


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names and the addresses that a name server gives for them; a number is the seconds that it takes to fail."""
    known: dict[str, Any] = {}
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *args: Any, **options: Any) -> Any:
        match known.get(host):
            case None:
                return real(host, port, *args, **options)
            case float(seconds):
                time.sleep(seconds)
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            case addresses:
                return [
                    (socket.AF_INET6 if ":" in each else socket.AF_INET, 1, 6, "", (each, port)) for each in addresses
                ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that somebody connects to; none answers."""
    tried: list[str] = []

    def connect(_self: socket.socket, address: Any) -> None:
        tried.append(address[0])
        raise ConnectionRefusedError("nobody is there")

    monkeypatch.setattr(socket.socket, "connect", connect)
    return tried


def bring(transport: Transport, *urls: str) -> None:
    picky = Capabilities(dialect="openai_chat", image_urls=False)
    blocks = tuple(Image(Url(url)) for url in urls)
    Fetcher(transport).bring(Request(dialect="openai_chat", model="m", turns=(Turn("user", blocks),)), picky)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_or_leads_to_a_private_one_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


def test_no_spelling_of_a_private_address_is_fetched(
    canary: FakeUpstream, names: dict[str, Any], figure: Callable[..., None]
) -> None:
    names |= {f"n{number}.test": [address] for number, address in enumerate(PRIVATE[:-1])}
    hosts = [*SPELLINGS, *names]
    with closing(Transport(TransportSettings(public_only=True, pool_size=0))) as transport:
        for host in hosts:
            for scheme in ("http", "https"):
                with pytest.raises(InvalidRequest, match="cannot be fetched"):
                    bring(transport, f"{scheme}://{host}:{canary.port}/x")

    figure("SSRF targets tried", 2 * len(hosts), "-")
    figure("SSRF targets reached", len(canary.seen), 0)
    assert canary.accepted == 0


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x", "https://10.0.0.1/x", "https://inner.test/x", "http://outer.test/x"]
)
def test_a_proxy_is_not_asked_for_what_it_might_find_in_its_own_network(
    url: str, proxy: Proxy, names: dict[str, Any]
) -> None:
    names |= {"inner.test": ["10.0.0.7"], "outer.test": ["8.8.8.8"]}
    settings = TransportSettings(public_only=True, pool_size=0, proxies={"all": proxy.url})
    with closing(Transport(settings)) as transport, pytest.raises(InvalidRequest, match="cannot be fetched"):
        bring(transport, url)

    assert proxy.asked == []


def test_a_proxy_is_told_the_address_that_was_checked(names: dict[str, Any]) -> None:
    names["outer.test"] = ["8.8.8.8"]
    with closing(Proxy(b"HTTP/1.1 403 Forbidden\r\n\r\n")) as proxy:
        settings = TransportSettings(public_only=True, pool_size=0, proxies={"all": proxy.url})
        with closing(Transport(settings)) as transport, pytest.raises(InvalidRequest, match="answered 403"):
            bring(transport, "https://outer.test/x")

        assert proxy.asked[0].startswith(b"CONNECT 8.8.8.8:443 HTTP/1.1\r\n")


@pytest.mark.parametrize("private", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254"])
@pytest.mark.parametrize("first", [True, False])
def test_of_several_addresses_of_a_name_only_public_ones_are_connected_to(
    private: str, first: bool, canary: FakeUpstream, names: dict[str, Any], tried: list[str]
) -> None:
    names["mixed.test"] = [private, "8.8.8.8"] if first else ["8.8.8.8", private]
    with (
        closing(Transport(TransportSettings(public_only=True, pool_size=0))) as transport,
        pytest.raises(InvalidRequest, match="cannot be fetched"),
    ):
        bring(transport, f"http://mixed.test:{canary.port}/x")

    assert tried == ["8.8.8.8"]
    assert canary.accepted == 0


def test_a_name_that_leads_elsewhere_at_every_look_up_leads_to_nothing_private(
    canary: FakeUpstream, names: dict[str, Any], tried: list[str]
) -> None:
    with closing(Transport(TransportSettings(public_only=True, pool_size=0))) as transport:
        for address in ("8.8.8.8", "127.0.0.1", "8.8.4.4", "::1", "::ffff:127.0.0.1"):
            names["turns.test"] = [address]
            with pytest.raises(InvalidRequest, match="cannot be fetched"):
                bring(transport, f"http://turns.test:{canary.port}/x")

    assert tried == ["8.8.8.8", "8.8.4.4"]
    assert canary.accepted == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://127.0.0.1:CANARY/", "//[::1]:CANARY/", "/x"])
def test_no_redirect_is_followed_to_a_file_or_to_the_gateway_itself(
    status: int, target: str, canary: FakeUpstream
) -> None:
    to = target.replace("CANARY", str(canary.port))
    redirect = json_reply({"secret": 1}, status, {"location": to})
    with FakeUpstream(redirect) as host, closing(Transport(TransportSettings(pool_size=0))) as transport:
        with pytest.raises(InvalidRequest, match="is not followed"):
            bring(transport, f"{host.url}/x")

        assert len(host.seen) == 1
    assert canary.accepted == 0


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "FILE:/etc/passwd", "ftp://8.8.8.8/x", "gopher://8.8.8.8/", "//8.8.8.8/x", "data:,x",
     "unix:/run/x.sock", "http+unix://%2Frun%2Fx/", "jar:http://8.8.8.8!/", ""],
)  # fmt: skip
def test_only_the_web_is_fetched_from(url: str, tried: list[str]) -> None:
    with (
        closing(Transport(TransportSettings(public_only=True, pool_size=0))) as transport,
        pytest.raises(InvalidRequest, match="cannot be fetched"),
    ):
        bring(transport, url)

    assert tried == []


def test_one_request_fetches_so_many_urls_and_no_more(canary: FakeUpstream) -> None:
    with closing(Transport(TransportSettings(pool_size=0))) as transport:
        bring(transport, *[f"{canary.url}/{number % 5}" for number in range(50)])
        with pytest.raises(InvalidRequest, match=f"more than {MAX_URLS}"):
            bring(transport, *[f"{canary.url}/more/{number}" for number in range(MAX_URLS + 1)])

    assert len(canary.seen) == 5 + MAX_URLS


@pytest.mark.parametrize(("different", "fetched"), [(9, 3), (1, 1)])
def test_one_request_fetches_so_many_bytes_and_no_more(different: int, fetched: int) -> None:
    with (
        FakeUpstream(Reply((bytes(15 << 20),))) as host,
        closing(Transport(TransportSettings(pool_size=0))) as transport,
    ):
        with pytest.raises(InvalidRequest, match="larger"):
            bring(transport, *[f"{host.url}/{number % different}" for number in range(9)])

        assert len(host.seen) == fetched


def test_a_dead_name_holds_up_nobody_and_counts_in_the_connect_timeout(names: dict[str, Any]) -> None:
    names |= {f"dead{number}.test": 20.0 for number in range(40)}
    limits = Limits(connect=0.5)
    with FakeUpstream(json_reply({})) as upstream, closing(Transport(TransportSettings())) as transport:
        names["alive.test"] = ["127.0.0.1"]

        def ask_the_dead(number: int) -> None:
            with suppress(UpstreamTimeout):
                transport.send(Call("POST", f"http://dead{number}.test/", {}, b"{}", limits))

        waiting = [threading.Thread(target=ask_the_dead, args=(number,), daemon=True) for number in range(40)]
        started = time.monotonic()
        for thread in waiting:
            thread.start()
        fetch(transport, f"http://alive.test:{upstream.port}")
        answered = time.monotonic() - started
        for thread in waiting:
            thread.join()
        ended = time.monotonic() - started

    assert answered < 2.0
    assert ended < 4.0


def test_a_failed_look_up_is_remembered_for_a_moment(names: dict[str, Any]) -> None:
    names["dead.test"] = 0.3
    with closing(Transport(TransportSettings())) as transport:
        for _ in range(2):
            started = time.monotonic()
            with pytest.raises(UpstreamUnreachable, match="cannot be resolved"):
                transport.send(post("http://dead.test/"))

    assert time.monotonic() - started < 0.2


def test_a_reply_that_nobody_asked_for_never_becomes_another_clients_answer(figure: Callable[..., None]) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d"
    crossed = 0
    with closing(Transport(TransportSettings())) as transport:
        for delay in (0.0, 0.001, 0.01, 0.05, 0.3):
            pieces = (answer % 1, delay, answer % 9, 5.0) if delay else (answer % 1 + answer % 9, 5.0)
            with FakeUpstream(raw(*pieces), raw(answer % 2), raw(answer % 3)) as upstream:
                fetch(transport, upstream.url)
                time.sleep(delay + 0.1)
                crossed += [fetch(transport, upstream.url) for _ in range(2)] != [b"2", b"3"]

    figure("late replies that reached another call", crossed, 0)
    assert crossed == 0


def test_a_kept_connection_that_ends_late_is_not_asked_again_for_nothing() -> None:
    ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    with (
        FakeUpstream(raw(ok), raw(1.2, CLOSE), raw(ok)) as upstream,
        closing(Transport(TransportSettings())) as transport,
    ):
        fetch(transport, upstream.url)
        exchange = transport.send(post(upstream.url))

        with pytest.raises(UpstreamCut) as caught:
            exchange.wait_head()

        assert caught.value.began is False
        assert len(upstream.seen) == 2


def test_this_machine_is_never_reached_through_a_proxy(proxy: Proxy) -> None:
    settings = TransportSettings(proxies={"all": proxy.url})
    with FakeUpstream(json_reply(1)) as upstream, closing(Transport(settings)) as transport:
        for host in ("127.0.0.1", "localhost"):
            assert fetch(transport, f"http://{host}:{upstream.port}") == b"1"

    assert proxy.asked == []


ENVIRONMENT = {"HTTPS_PROXY": " http://p:1\n", "no_proxy": ".internal", "ALL_PROXY": "socks5h://s:2"}


def test_the_environments_proxies_are_read_at_the_start(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}

    settings = load_settings(None, ENVIRONMENT | home, {})

    assert settings.server.proxies == {"https": "http://p:1", "no_proxy": ".internal", "all": "socks5h://s:2"}


@pytest.mark.parametrize("own", [{}, {"http": "http://mine:3"}])
def test_the_settings_replace_the_environments_proxies_as_a_whole(own: dict[str, str], tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}

    settings = load_settings(None, ENVIRONMENT | home, {"server": {"proxies": own}})

    assert settings.server.proxies == own


@pytest.mark.parametrize(
    "wrong", ["ftp://p:1", "http://", "http://p:99999", "http://[::1", "http://a b:1", "socks9://p"]
)
def test_a_proxy_that_cannot_be_is_named_at_the_start_without_its_value(wrong: str, tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}

    with pytest.raises(ConfigError, match="HTTPS_PROXY"):
        load_settings(None, {"HTTPS_PROXY": wrong} | home, {})


@pytest.mark.parametrize(
    "url",
    ["", "example.com", "localhost:1234", "ftp://x/", "http://", "http:///v1", "http://[::1/v1", "http://::1/v1",
     "http://x:port/v1", "http://x:0/v1", "http://x:70000/v1", "http://a b/v1", "http://x/v1\n", "http://x/#y",
     "http://x\\y/", "//x/v1", "http://[bad]/"],
)  # fmt: skip
def test_what_is_no_url_of_an_upstream_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        check_url(url, "providers.x.base_url")


@pytest.mark.parametrize(
    "url", ["http://x", "https://x/v1/", "http://[::1]:8000/v1", "http://user:p%40ss@x/v1", "HTTP://X"]
)
def test_what_is_one_is_taken(url: str) -> None:
    check_url(url, "providers.x.base_url")


def test_a_user_and_password_in_a_url_become_a_header() -> None:
    assert split_login("https://me:p%40ss@x:1/v1") == ("https://x:1/v1", "Basic bWU6cEBzcw==")
    assert split_login("https://x/v1") == ("https://x/v1", None)


@pytest.mark.parametrize("path", ["/..", "/.", "/../models", "/x/../../y"])
def test_no_id_climbs_out_of_its_collection(path: str) -> None:
    from app.providers.kinds.openai import OpenAIProvider
    from app.settings import ProviderSettings

    with FakeUpstream() as upstream, closing(Transport(TransportSettings())) as transport:
        settings = ProviderSettings(kind="openai", dialect="openai_responses", base_url=f"{upstream.url}/v1")
        with pytest.raises(NotFound):
            OpenAIProvider("up", settings, None, transport).reach("GET", path, "")

        assert upstream.seen == []
