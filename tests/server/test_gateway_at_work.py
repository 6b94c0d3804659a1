"""The real server with real connections: many streams at once, and clients who leave in every phase of a request."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from tests.support.answers import chat_stream, chunk
from tests.support.fake_upstream import STALL, FakeUpstream, Reply, json_reply, sse
from tests.support.gateway_process import GatewayProcess

LIMIT = 0.5 + 0.3  # seconds: what is promised, and what a busy machine may add

PHASES = {
    "before the head": Reply(delay=30),
    "before the first event": sse(STALL),
    "in the middle": chat_stream("one", tail=(STALL,)),
    "in a whole answer": Reply((b"{", STALL), headers={"content-type": "application/json"}),
}


@pytest.fixture(scope="module")
def first() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def second() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, first: FakeUpstream, second: FakeUpstream
) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    (folder / "dragoman.toml").write_text(
        f'[providers.a]\nkind = "openai"\nbase_url = "{first.url}/v1"\n'
        f'[providers.b]\nkind = "openai"\nbase_url = "{second.url}/v1"\n'
        '[models.routes]\nm = ["a/m", "b/m"]\n'
    )
    with GatewayProcess(folder) as process:
        yield process


@pytest.fixture(autouse=True)
def nothing_seen(first: FakeUpstream, second: FakeUpstream) -> None:
    first.seen.clear()
    second.seen.clear()


def ask(gateway: GatewayProcess, model: str = "m", *, stream: bool) -> socket.socket:
    body = {"model": model, "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    data = json.dumps(body).encode()
    client = socket.create_connection(("127.0.0.1", gateway.port), 20)
    client.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data))
    return client


def read_to_stop(client: socket.socket) -> bytes:
    answer = b""
    while b"message_stop" not in answer and (part := client.recv(65536)):
        answer += part
    client.close()
    return answer


def test_a_hundred_slow_streams_take_the_time_of_one(gateway: GatewayProcess, first: FakeUpstream) -> None:
    end = (0.5, chunk({"content": "two"}), 0.5, chunk({}, "stop"), b"data: [DONE]\n\n")
    first.script(chat_stream("one", tail=end))
    began = time.monotonic()

    clients = [ask(gateway, stream=True) for _ in range(100)]
    answers = [read_to_stop(client) for client in clients]

    assert time.monotonic() - began < 3
    assert all(b'"two"' in answer and b"message_stop" in answer for answer in answers)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_an_open_stream_takes_little_memory_whatever_head_it_came_with(
    gateway: GatewayProcess, first: FakeUpstream
) -> None:
    head = {"content-type": "text/event-stream", **{f"x-part-{number}": "x" * 200 for number in range(25)}}
    first.script(replace(chat_stream("one", "two", tail=(STALL,)), headers=head))

    def open_stream() -> socket.socket:
        client = ask(gateway, "a/m", stream=True)
        while b'"two"' not in client.recv(65536):
            pass
        return client

    few = [open_stream() for _ in range(50)]  # loads what is loaded late
    before = resident(gateway)
    many = [open_stream() for _ in range(300)]
    taken = resident(gateway) - before
    for client in (*few, *many):
        client.close()

    assert taken / len(many) < 20 * 1024


def resident(gateway: GatewayProcess) -> int:
    """The bytes of the youngest process in the gateway's group, which is its worker."""
    pid = gateway.process.pid
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(Path(f"/proc/{workers[-1]}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("phase", PHASES)
def test_an_upstream_is_left_with_the_client_and_no_other_is_asked(
    gateway: GatewayProcess, first: FakeUpstream, second: FakeUpstream, phase: str, stream: bool
) -> None:
    first.script(PHASES[phase])
    client = ask(gateway, stream=stream)
    first.wait_for(1)

    left = time.monotonic()
    client.close()

    assert first.wait_until_left() - left < LIMIT
    assert second.seen == []


@pytest.mark.parametrize("stream", [True, False])
def test_nothing_is_tried_again_for_a_client_that_left(
    gateway: GatewayProcess, first: FakeUpstream, stream: bool
) -> None:
    first.script(json_reply({"error": {"message": "busy"}}, 503, {"retry-after": "1.5"}), Reply())
    client = ask(gateway, "a/m", stream=stream)
    first.wait_for(1)

    client.close()

    with pytest.raises(AssertionError, match="1 of 2 requests"):
        first.wait_for(2, seconds=2.5)


def test_a_response_in_the_background_outlasts_the_order_to_stop(tmp_path: Path, first: FakeUpstream) -> None:
    (tmp_path / "dragoman.toml").write_text(f'[providers.a]\nkind = "openai"\nbase_url = "{first.url}/v1"\n')
    first.script(sse(1.0, *chat_stream("done").pieces))
    body = {"model": "a/m", "input": "hi", "background": True}

    with GatewayProcess(tmp_path) as gateway:
        queued = requests.post(f"{gateway.url}/v1/responses", json=body, timeout=5).json()
        first.wait_for()
        gateway.signal(signal.SIGTERM)
        gateway.wait()
    with GatewayProcess(tmp_path) as gateway:
        found = requests.get(f"{gateway.url}/v1/responses/{queued['id']}", timeout=5).json()

    assert queued["status"] == "queued"
    assert found["status"] == "completed"
