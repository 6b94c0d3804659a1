"""Specifies what a client sees of our gunicorn worker, with gunicorn's own gevent worker as the measure."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gunicorn_process import WORKER_CLASSES, GunicornProcess, read_all, read_until

STOCK, OURS = WORKER_CLASSES
ECHO = "tests.server.echo:application"
NEXT = b"GET /next HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, GunicornProcess]]:
    with contextlib.ExitStack() as stack:
        yield {
            kind: stack.enter_context(GunicornProcess(ECHO, tmp_path_factory.mktemp("worker"), kind))
            for kind in WORKER_CLASSES
        }


@pytest.fixture(params=WORKER_CLASSES, ids=["stock", "ours"])
def server(request: pytest.FixtureRequest, servers: dict[str, GunicornProcess]) -> GunicornProcess:
    return servers[request.param]


def post(path: str, body: bytes, *fields: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def blur(reply: bytes) -> bytes:
    """Without what differs from one connection to the next."""
    reply = re.sub(rb"Date: [^\r]*", b"Date: now", reply)
    reply = re.sub(rb'"(REMOTE|SERVER)_PORT": "\d+"', rb'"\1_PORT": "0"', reply)
    return re.sub(rb"(?i)content-length: \d+", b"content-length: 0", reply)


def sort_json(reply: bytes) -> list[Any]:
    """The heads, and the bodies as data: an environment has no order."""
    parts = re.split(rb'(\{"[^\n\r]*?\})(?=HTTP/1\.1 |$)', blur(reply))
    return [json.loads(part) if part.startswith(b'{"') else part for part in parts]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/models?limit=3&x=%20 HTTP/1.1\r\nHost: a:80\r\nAccept: */*\r\nX-Two-Words: \xe4 b\t\r\n\r\n",
        b"DELETE /v1/responses/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /a%20b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://localhost/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: https\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: a\r\nX_Forwarded_For: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: a\r\nAccept: b\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        post("/v1/messages", b'{"a": 1}', "Content-Type: application/json"),
        post("/v1/messages", b'{"a": 1}', "Connection: close") + NEXT,
        post("/v1/messages", b"x" * 200_000),
        post("/v1/messages", b"x" * 200_000) + NEXT,
        post("/ignore", b"x" * 200_000) + NEXT,
        post("/ignore", b"GET / HTTP/1.1\r\n\r\n") + NEXT,
        b"POST /c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + NEXT,
        post("/one", b"1") + post("/two", b"22") + post("/three", b"333") + NEXT,
        post("/one", b"1") + b"GET /%32 HTTP/1.1\r\nHost: localhost\r\n\r\n" + post("/three", b"333") + NEXT,
        post("/nothing", b"") + NEXT,
        post("/fail-late", b"") + NEXT,
        post("/v1/messages", b"x" * 100)[:-50],
        b"GET / HTTP/1.1\r\nHost: loc",
        b"",
    ],
)
def test_a_client_is_answered_as_by_gunicorns_own_worker(servers: dict[str, GunicornProcess], sent: bytes) -> None:
    ours, stock = (servers[kind].exchange(sent) for kind in (OURS, STOCK))

    assert sort_json(ours) == sort_json(stock)


@pytest.mark.parametrize(
    "sent",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 0\r\n\r\nGET ",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Folded: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\nX-Api-Key: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: a-lot\r\n\r\n",
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_a_dangerous_request_is_refused_and_nothing_after_it_is_answered(server: GunicornProcess, sent: bytes) -> None:
    with server.connect() as client:
        client.sendall(sent + NEXT)
        reply = read_all(client)

    assert re.findall(rb"HTTP/1\.1 (4..|501)", reply) != []
    assert reply.count(b"HTTP/1.1 ") == 1
    assert b"/next" not in reply


def test_a_fault_of_the_application_is_told_in_a_dialect(servers: dict[str, GunicornProcess]) -> None:
    reply = servers[OURS].exchange(post("/fail", b"") + NEXT)

    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500 ")
    assert "internal error" in json.loads(body)["error"]["message"]


def test_a_body_may_be_announced_before_it_is_wanted(server: GunicornProcess) -> None:
    with server.connect() as client:
        client.sendall(post("/", b"", "Expect: 100-continue", "Connection: close").replace(b"Length: 0", b"Length: 3"))
        allowed = read_until(client, b"\r\n\r\n")
        client.sendall(b"abc")
        reply = read_all(client)

    assert allowed.startswith(b"HTTP/1.1 100 ")
    assert b'"body": "abc"' in reply


def test_a_request_may_come_byte_by_byte(server: GunicornProcess) -> None:
    with server.connect() as client:
        for byte in post("/v1/messages", b"abc", "Connection: close"):
            client.sendall(bytes([byte]))
            time.sleep(0.001)
        reply = read_all(client)

    assert b'"body": "abc"' in reply


def test_a_connection_carries_one_request_after_the_other(server: GunicornProcess) -> None:
    replies = []

    with server.connect() as client:
        for _ in range(3):
            client.sendall(post("/ignore", b"x" * 100_000))
            replies.append(read_until(client, b"\r\n\r\nok"))

    assert [reply[:15] for reply in replies] == [b"HTTP/1.1 200 OK"] * 3


@pytest.mark.parametrize(("path", "body"), [("/fail-late", b"3\r\none\r\n"), ("/end-early", b"one")])
def test_a_broken_response_never_looks_whole(servers: dict[str, GunicornProcess], path: str, body: bytes) -> None:
    with servers[OURS].connect() as client:
        client.sendall(post(path, b""))
        reply = read_all(client)

    assert reply.partition(b"\r\n\r\n")[2] == body
    assert "planted" in servers[OURS].log.read_text()


def test_pieces_arrive_when_they_are_made(server: GunicornProcess) -> None:
    with server.connect() as client:
        client.sendall(post("/count", b"", "Connection: close"))
        began = time.monotonic()
        read_until(client, b"1\r\n0\r\n")
        first = time.monotonic() - began
        rest = read_all(client)

    assert first < 0.5
    assert rest == b"".join(b"1\r\n%d\r\n" % number for number in range(1, 10)) + b"0\r\n\r\n"


def test_a_client_that_reads_late_gets_everything(server: GunicornProcess) -> None:
    with server.connect() as client:
        client.sendall(post("/flood", b"", "Connection: close"))
        time.sleep(0.3)
        reply = read_all(client)

    assert reply.count(b"x") == 6_000_000
    assert reply.endswith(b"\r\n0\r\n\r\n")


def test_a_client_that_sends_without_end_does_not_keep_others_waiting(servers: dict[str, GunicornProcess]) -> None:
    with servers[OURS].connect() as greedy, servers[OURS].connect() as other:
        greedy.sendall(post("/ignore", b"") * 5000)
        began = time.monotonic()
        other.sendall(post("/ignore", b""))
        read_until(other, b"\r\n\r\nok")
        waited = time.monotonic() - began
        greedy.settimeout(1)
        answered = 0
        while answered < 5000:
            answered += greedy.recv(65536).count(b"HTTP/1.1 200")

    assert waited < 0.5


def test_a_client_that_sends_no_request_is_not_waited_for(tmp_path: Path) -> None:
    with (
        GunicornProcess(ECHO, tmp_path, OURS, "--keep-alive", "1") as server,
        server.connect() as silent,
        server.connect() as hesitant,
        server.connect() as served,
    ):
        hesitant.sendall(b"GET / HT")
        served.sendall(post("/ignore", b""))
        read_until(served, b"\r\n\r\nok")

        assert [read_all(client) for client in (silent, hesitant, served)] == [b"", b"", b""]
    assert server.complaints() == []


def test_a_worker_that_stops_ends_its_streams_and_closes_idle_connections(tmp_path: Path) -> None:
    with (
        GunicornProcess(ECHO, tmp_path, OURS, "--graceful-timeout", "20") as server,
        server.connect() as idle,
        server.connect() as busy,
    ):
        idle.sendall(post("/ignore", b""))
        read_until(idle, b"\r\n\r\nok")
        busy.sendall(post("/count", b""))
        read_until(busy, b"1\r\n0\r\n")

        server.stop()
        rest = read_all(busy)

        assert rest.endswith(b"1\r\n9\r\n0\r\n\r\n")
        assert read_all(idle) == b""
        assert server.process.wait(5) == 0
    assert server.complaints() == []


def test_a_worker_is_replaced_after_its_number_of_requests(tmp_path: Path) -> None:
    with GunicornProcess(ECHO, tmp_path, OURS, "--max-requests", "2") as server:
        with server.connect() as client:
            client.sendall(post("/ignore", b"") * 2)
            replies = read_all(client)
        time.sleep(0.1)
        later = server.exchange(post("/ignore", b""))

    assert re.findall(rb"Connection: (\S+)", replies) == [b"keep-alive", b"close"]
    assert later.endswith(b"ok")


@pytest.mark.parametrize("path", ["/count", "/flood"])
def test_a_client_that_leaves_leaves_no_word_in_the_log(tmp_path: Path, path: str) -> None:
    with GunicornProcess(ECHO, tmp_path, OURS) as server:
        with server.connect() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(post(path, b""))
            client.recv(10)
        time.sleep(0.5)

        assert b"200 OK" in server.exchange(post("/ignore", b""))
    assert server.complaints() == []


@pytest.mark.parametrize("option", [["--access-logfile", "-"], ["--limit-request-fields", "5"]])
def test_what_only_gunicorn_can_do_is_left_to_gunicorn(tmp_path: Path, option: list[str]) -> None:
    with GunicornProcess(ECHO, tmp_path, OURS, *option) as server:
        usual = server.exchange(post("/ignore", b""))
        many = server.exchange(post("/ignore", b"", *(f"X-{number}: a" for number in range(6))))

    assert usual.endswith(b"ok")
    refused = b"431" in many
    logged = '"POST /ignore HTTP/1.1" 200' in server.log.read_text()
    assert (refused, logged) == (option[0] == "--limit-request-fields", option[0] == "--access-logfile")
