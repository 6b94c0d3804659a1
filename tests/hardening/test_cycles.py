"""Requests leave no cycles behind: what only the collector finds stays until it runs, and it runs seldom."""

from __future__ import annotations

import collections
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hardening.gateway import PATHS, PROVIDERS, Attacked, post, question, read_reply
from tests.hardening.test_connections import worker_of
from tests.hardening.upstreams import ANSWERS
from tests.support.fake_upstream import CLOSE, FakeUpstream, json_reply, raw, sse

Figure = Callable[[str, object, object], None]

REQUESTS = 200
# Found by one collection after so many requests: the page that the test asks and the loops leave some; one a request
# would be several hundred.
MAX_FOUND = REQUESTS // 2

# Runs in the gateway's worker: collects at the signal, keeps the collector off from then on, and tells what it found.
COLLECTOR = """
import collections, gc, json, os, signal

def collect(*_):
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    found = collections.Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
    gc.garbage.clear()
    gc.set_debug(0)
    gc.collect()
    with open(os.environ["FOUND"] + ".new", "w") as file:
        json.dump(found, file)
    os.replace(os.environ["FOUND"] + ".new", os.environ["FOUND"])

signal.signal(signal.SIGRTMIN, collect)
"""


# What upstreams of each dialect stream: reasoning, text and calls.
STREAMS = {
    "anthropic_messages": "thinking-text-and-call",
    "openai_chat": "reasoning-text-and-call",
    "openai_responses": "reasoning-text-and-parallel-calls",
}
WIRE = Path(__file__).parents[1] / "wire"


@pytest.fixture(scope="module")
def gateway(lasting_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    folder: Path = tmp_path_factory.mktemp("cycles")
    (folder / "sitecustomize.py").write_text(COLLECTOR)
    environ = {"PYTHONPATH": str(folder), "FOUND": str(folder / "found.json")}
    with Attacked(folder, lasting_upstream.url, environ=environ, max_attempts=1) as process:
        yield process


def collect(gateway: Attacked) -> collections.Counter[str]:
    """What the collector finds in the worker now, by type."""
    told = gateway.config.parent / "found.json"
    told.unlink(missing_ok=True)
    os.kill(worker_of(gateway), signal.SIGRTMIN)
    deadline = time.monotonic() + 20
    while not told.exists():
        assert time.monotonic() < deadline
        gateway.ask("/v1/messages/count_tokens", b"{}")  # whatever wakes the loop
    return collections.Counter(json.loads(told.read_text()))


def ask_often(gateway: Attacked, body: bytes, dialect: str, count: int = REQUESTS) -> None:
    """Over one connection, as clients do."""
    with gateway.connect(30) as client:
        for _ in range(count):
            client.sendall(post(PATHS[dialect], body, close=False))
            read_reply(client) if b'"stream"' not in body else read_stream(client)


def read_stream(client: object) -> None:
    received = b""
    while not received.endswith(b"0\r\n\r\n"):
        data = client.recv(65536)  # type: ignore[attr-defined]
        assert data
        received += data


@pytest.mark.parametrize("speaks", PATHS)
@pytest.mark.parametrize("client", PATHS)
def test_answered_requests_leave_no_cycles(
    client: str, speaks: str, gateway: Attacked, upstream: FakeUpstream, figure: Figure
) -> None:
    upstream.script(json_reply(ANSWERS[speaks]))
    body = question(client, model=f"{PROVIDERS[speaks]}/m")
    ask_often(gateway, body, client, 20)  # what is loaded or cached late
    collect(gateway)

    ask_often(gateway, body, client)
    found = collect(gateway)

    figure("cyclic garbage of a whole answer, worst pair", f"{found.total() / REQUESTS:.2f} objects", "0.5 objects")
    assert found.total() <= MAX_FOUND, found.most_common(12)


@pytest.mark.parametrize("speaks", PATHS)
@pytest.mark.parametrize("client", PATHS)
def test_streams_leave_no_cycles(
    client: str, speaks: str, gateway: Attacked, upstream: FakeUpstream, figure: Figure
) -> None:
    upstream.script(sse((WIRE / speaks / "streams" / f"{STREAMS[speaks]}.sse").read_bytes()))
    body = question(client, model=f"{PROVIDERS[speaks]}/m", stream=True)
    ask_often(gateway, body, client, 20)
    collect(gateway)

    ask_often(gateway, body, client)
    found = collect(gateway)

    figure("cyclic garbage of a stream, worst pair", f"{found.total() / REQUESTS:.2f} objects", "0.5 objects")
    assert found.total() <= MAX_FOUND, found.most_common(12)


@pytest.mark.parametrize("client", PATHS)
def test_refused_requests_leave_no_cycles(client: str, gateway: Attacked, figure: Figure) -> None:
    body = b'{"model":"nobody/knows","messages":[],"input":"q"}'
    ask_often(gateway, body, client, 20)
    collect(gateway)

    ask_often(gateway, body, client)
    found = collect(gateway)

    figure("cyclic garbage of an error, worst dialect", f"{found.total() / REQUESTS:.2f} objects", "0.5 objects")
    assert found.total() <= MAX_FOUND, found.most_common(12)


FAILURES = {
    "refused": json_reply({"error": {"message": "temperature: too high", "type": "invalid_request_error"}}, 400),
    "down": json_reply({"error": {"message": "try later", "type": "api_error"}}, 503),
    "no answer": json_reply(["nothing", "known"]),
    "packed": raw(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnone", CLOSE),
    "cut": raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{", CLOSE),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("failure", FAILURES)
def test_failures_of_upstreams_leave_no_cycles(
    failure: str, stream: bool, gateway: Attacked, upstream: FakeUpstream, figure: Figure
) -> None:
    """A cycle through an error's traceback would keep all that was read of the reply."""
    upstream.script(FAILURES[failure])
    body = question("openai_chat", model=f"{PROVIDERS['anthropic_messages']}/m", **({"stream": True} if stream else {}))

    def ask(count: int) -> None:
        for _ in range(count):
            gateway.ask(PATHS["openai_chat"], body)

    ask(20)
    collect(gateway)

    ask(REQUESTS // 2)
    found = collect(gateway)

    figure("cyclic garbage of a failure, worst kind", f"{found.total() * 2 / REQUESTS:.2f} objects", "0.5 objects")
    assert found.total() <= MAX_FOUND, found.most_common(12)
