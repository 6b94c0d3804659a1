"""Specifies that a client who leaves takes its upstream call along, under both worker classes."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest
import requests

from tests.support.fake_upstream import STALL, FakeUpstream, Reply, sse
from tests.support.gunicorn_process import WORKER_CLASSES, GunicornProcess, read_until

WITHIN = 0.5


class Relay(GunicornProcess):
    """The running relay."""

    def ask(self, path: str) -> socket.socket:
        client = self.connect()
        client.sendall(f"POST {path} HTTP/1.1\r\nhost: relay\r\ncontent-length: 0\r\n\r\n".encode())
        return client

    def count_running(self) -> int:
        return int(requests.get(f"http://127.0.0.1:{self.address[1]}/running", timeout=5).text)


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module", params=WORKER_CLASSES, ids=["stock", "ours"])
def relay(
    request: pytest.FixtureRequest, upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Relay]:
    folder = tmp_path_factory.mktemp("relay")
    options = ("-c", "tests/server/relay_config.py")
    with Relay("tests.server.relay:application", folder, request.param, *options, UPSTREAM_URL=upstream.url) as relay:
        yield relay


@pytest.fixture(autouse=True)
def _clean_slate(upstream: FakeUpstream) -> None:
    upstream.seen.clear()


@pytest.mark.parametrize("path", ["/whole", "/stream"])
@pytest.mark.parametrize(
    "reply",
    [sse(delay=30), sse(STALL), sse(b"data: 1\n\n", STALL)],
    ids=["before the head", "before the first event", "in the middle"],
)
@pytest.mark.parametrize("farewell", ["closed", "reset"])
def test_the_upstream_is_left_soon_after_the_client_left(
    relay: Relay, upstream: FakeUpstream, path: str, reply: Reply, farewell: str
) -> None:
    upstream.script(reply)
    client = relay.ask(path)
    upstream.wait_for()
    time.sleep(0.05)

    if farewell == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    left_at = time.monotonic()

    assert upstream.wait_until_left() - left_at < WITHIN
    assert relay.count_running() == 0
    assert relay.complaints() == []


def test_many_clients_leave_at_once(relay: Relay, upstream: FakeUpstream) -> None:
    upstream.script(sse(b"data: 1\n\n", STALL))
    clients = [relay.ask("/stream") for _ in range(30)]
    upstream.wait_for(30)

    for client in clients:
        client.close()
    left_at = time.monotonic()

    assert max(upstream.wait_until_left(index) for index in range(30)) - left_at < WITHIN
    assert relay.count_running() == 0
    assert relay.complaints() == []


def test_clients_who_stay_get_their_reply(relay: Relay, upstream: FakeUpstream) -> None:
    upstream.script(sse(b"data: 1\n\n", 0.7, b"data: 2\n\n"))

    with relay.ask("/stream") as stayer:
        relay.ask("/stream").close()
        reply = read_until(stayer, b"0\r\n\r\n")

    assert reply.endswith(b"9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n")
    assert relay.complaints() == []
