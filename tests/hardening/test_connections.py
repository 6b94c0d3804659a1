"""Nobody without a key holds a connection, and nobody at all holds one without making progress."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.gateway.large_bodies.body_budget import BodyBudget, NoRoom
from tests.hardening.gateway import ANSWER, KEY, PATHS, Attacked, post, question, read_reply, read_rest
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

Figure = Callable[[str, object, object], None]

CHAT = PATHS["openai_chat"]
TIMEOUT = 1.0
LIMITED = ("sh", "-c", 'ulimit -n 256; exec dragoman serve "$@"', "sh")
CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'  # noqa: E501


@pytest.fixture(scope="module")
def gateway(lasting_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with Attacked(
        tmp_path_factory.mktemp("held"), lasting_upstream.url, client_timeout=TIMEOUT, max_body_mb=8
    ) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log.read_text()


def hold(client: socket.socket, drip: bytes, pause: float, maximum: float) -> float:
    """How long the gateway kept a connection on which nothing but a byte now and then comes."""
    begun = time.monotonic()
    client.settimeout(pause)
    while time.monotonic() - begun < maximum:
        with contextlib.suppress(TimeoutError):
            try:
                if not client.recv(65536):
                    break
            except ConnectionError:
                break
        with contextlib.suppress(OSError):
            client.sendall(drip)
    return time.monotonic() - begun


HELD = {
    "says nothing": (b"", b""),
    "half a head": (b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n", b""),
    "dripping head": (b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nA: ", b"a"),
    "dripping lines": (b"GET / HTTP/1.1\r\n", b"A: b\r\n"),
    "silent after a request": (b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n", b""),
    "half a body without a key": (b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{", b""),
    "half a body with a key": (post(CHAT, question("openai_chat"))[:-5], b""),
    "dripping body with a key": (post(CHAT, b"x" * 9000)[:-8990], b"x"),
    "half a form": (b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nprovider=", b""),
    "dripping form": (b"POST /callback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\npasted=", b"a"),
    "half a chunk": (f"POST {CHAT} HTTP/1.1\r\nHost: a.localhost\r\nx-api-key: {KEY}\r\n".encode().replace(b"a.", b"")
                     + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", b""),
    "dripping chunks": (f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nx-api-key: {KEY}\r\n".encode()
                        + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "silent after an odd request": (b"GET /%70ing HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\n\r\n", b""),
    "half a head after an odd request": (b"GET /%70ing HTTP/1.1\r\nHost: localhost\r\n\r\nGET /", b""),
    "telemetry": (b"POST /api/event_logging/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n", b"x"),
}  # fmt: skip


def test_no_connection_is_held_without_progress(gateway: Attacked, figure: Figure) -> None:
    longest = 0.0

    for name, (begin, drip) in HELD.items():
        with gateway.connect() as client:
            client.sendall(begin)
            held = hold(client, drip, 0.2, 12)
        assert held < 4 * TIMEOUT + 3, name
        longest = max(longest, held)

    figure("longest hold of a connection, with a time limit of 1 s", f"{longest:.1f} s", f"{4 * TIMEOUT + 3:.0f} s")


def test_a_client_that_does_not_read_is_left(gateway: Attacked, upstream: FakeUpstream) -> None:
    upstream.script(sse(*[CHUNK * 500] * 400))
    with gateway.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(post(CHAT, question("openai_chat", stream=True)))

        upstream.wait_for()
        upstream.wait_until_left(seconds=10)


def test_a_slow_reader_and_a_slow_sender_are_served(gateway: Attacked, upstream: FakeUpstream) -> None:
    sent = post(CHAT, question("openai_chat", "x" * 60_000))

    with gateway.connect() as client:
        for start in range(0, len(sent), 8_000):
            client.sendall(sent[start : start + 8_000])
            time.sleep(0.25)
        slow = read_rest(client)

    assert slow.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/login", "/callback", "/logout"])
@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\nk\r\n--b--',
            415,
        ),
        ("application/json", b"{}", 415),
        ("application/x-www-form-urlencoded", b"key=" + b"a" * 20_000, 413),
        ("application/x-www-form-urlencoded", b"a=b&" * 1000, 400),
        ("application/x-www-form-urlencoded", b"provider=%ff%fe&key=%00", 400),
    ],
)
def test_a_form_is_small_and_plain(gateway: Attacked, path: str, kind: str, body: bytes, status: int) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"

    answer = gateway.exchange(head.encode() + b"Connection: close\r\n\r\n" + body)

    assert answer.startswith((b"HTTP/1.1 %d" % status, b"HTTP/1.1 401", b"HTTP/1.1 403"))
    assert int(answer[9:12]) == status or status == 400


def test_a_form_from_elsewhere_is_refused_before_it_is_read(gateway: Attacked) -> None:
    head = (
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nContent-Length: 300000000\r\n\r\n"
    )

    with gateway.connect() as client:
        client.sendall(head)
        answer = client.recv(65536)

    assert answer.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("name", ["10.0.0.7:8080", "evil.example", "[fe80::1]", ""])
@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/ping"])
def test_probes_are_answered_under_any_name_without_detail(gateway: Attacked, path: str, name: str) -> None:
    answer = gateway.exchange(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert set(json.loads(body)) <= {"status", "service", "timestamp"}


def test_idle_connections_make_room_for_requests(upstream: FakeUpstream, tmp_path: Path, figure: Figure) -> None:
    with Attacked(tmp_path, upstream.url, command=LIMITED) as gateway, contextlib.ExitStack() as stack:
        upstream.script(sse(CHUNK, 8.0, CHUNK, b"data: [DONE]\n\n"))
        stream = stack.enter_context(gateway.connect())
        stream.sendall(post(CHAT, question("openai_chat", stream=True)))
        stream.recv(100)
        upstream.script(json_reply(ANSWER))
        strangers = [b"", b"GET / HT", b"POST /v1/messages HTTP/1.1\r\nContent-Length: 99\r\n\r\n"]
        waits = []

        for number in range(300):
            stranger = stack.enter_context(gateway.connect())
            stranger.sendall(strangers[number % 3])
            if number % 10 == 0:
                begun = time.monotonic()
                status, _ = gateway.ask(CHAT, question("openai_chat"))
                alive = gateway.exchange(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                waits.append(time.monotonic() - begun)
                assert status == 200
                assert alive.startswith(b"HTTP/1.1 200 ")
        rest = read_rest(stream)

        said = gateway.log.read_text()
        assert b"[DONE]" in rest
        assert "only 256 file descriptors" in said
        assert "Traceback" not in said
        figure("a request and a /ping among 300 idle connections, 256 descriptors", f"{max(waits):.2f} s", "1 s")
        assert max(waits) < 1


def test_at_the_limit_of_requests_a_newcomer_is_asked_to_come_again(upstream: FakeUpstream, tmp_path: Path) -> None:
    upstream.script(Reply(delay=30))
    with Attacked(tmp_path, upstream.url, command=LIMITED) as gateway, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(gateway.connect()) for _ in range(1)]
        while len(clients) < 90:
            clients[-1].sendall(post(CHAT, question("openai_chat")))
            time.sleep(0.005)
            clients.append(stack.enter_context(gateway.connect()))
        answers = []
        for client in clients:
            client.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                answers.append(read_reply(client))

        said = gateway.log.read_text()
        assert 0 < len(answers) < 90
        assert all(answer.startswith(b"HTTP/1.1 503 ") and b"retry-after" in answer for answer in answers)
        assert said.count("new clients get 503") == 1
        assert "Traceback" not in said


def test_descriptors_are_raised_to_what_is_allowed(upstream: FakeUpstream, tmp_path: Path) -> None:
    soft = ("sh", "-c", 'ulimit -Sn 200; exec dragoman serve "$@"', "sh")
    with Attacked(tmp_path, upstream.url, command=soft) as gateway:
        limits = Path(f"/proc/{gateway.process.pid}/limits").read_text()

    row = next(line.split() for line in limits.splitlines() if line.startswith("Max open files"))
    assert int(row[3]) == int(row[4]) == resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def test_bodies_beyond_the_budget_are_asked_to_come_again(
    upstream: FakeUpstream, tmp_path: Path, figure: Figure
) -> None:
    upstream.script(Reply(ANSWER_PIECES, headers={"content-type": "application/json"}, delay=1.0))
    body = question("openai_chat", "x" * (30 << 20))
    with Attacked(tmp_path, upstream.url, bodies_mb=100) as gateway, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(gateway.connect(60)) for _ in range(10)]
        for client in clients:
            client.sendall(post(CHAT, body)[:20_000])
        for client in clients:
            with contextlib.suppress(OSError):
                client.sendall(post(CHAT, body)[20_000:])
        answers = [read_rest(client) for client in clients]

    statuses = [int(answer[9:12]) for answer in answers if answer]
    figure(
        "30 MiB bodies at once, of ten, with a budget of 100 MiB", f"{statuses.count(200)} served", "2 served, 8 503"
    )
    assert set(statuses) == {200, 503}
    assert all(b"retry-after" in answer for answer in answers if answer[9:12] == b"503")


def test_bodies_that_one_key_sends_slowly_leave_room_for_another(upstream: FakeUpstream, tmp_path: Path) -> None:
    other = "sk-other-0123456789"
    body = question("openai_chat", "x" * (20 << 20))
    with (
        Attacked(tmp_path, upstream.url, bodies_mb=100, api_keys=[KEY, other]) as gateway,
        contextlib.ExitStack() as stack,
    ):
        slow = [stack.enter_context(gateway.connect(60)) for _ in range(12)]
        for client in slow:
            client.sendall(post(CHAT, body)[:200_000])
        time.sleep(0.5)

        answer = gateway.exchange(post(CHAT, body).replace(KEY.encode(), other.encode(), 1), 30)

    assert answer[9:12] == b"200", answer[:300]


def test_however_many_tenants_take_room_the_next_one_finds_some() -> None:
    budget = BodyBudget(1000 << 20)
    held = []
    for tenant in ("ana", "bob", "carl"):
        with contextlib.suppress(NoRoom):
            for _ in range(2000):
                hold = budget.hold(tenant)
                hold.take(1 << 20)
                held.append(hold)
    assert [budget.tenants[tenant] >> 20 for tenant in ("ana", "bob", "carl")] == [750, 187, 47]

    budget.hold("dora").take(10 << 20)
    for hold in held:
        hold.release()

    assert budget.taken == budget.tenants["dora"] == 10 << 20
    assert set(budget.tenants) == {"dora"}


ANSWER_PIECES = (json.dumps(ANSWER).encode(),)


def peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def worker_of(gateway: Attacked) -> int:
    head = f"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nx-api-key: {KEY}\r\n\r\n"
    told = gateway.exchange(head.encode())
    return int(json.loads(told.partition(b"\r\n\r\n")[2])["process"]["pid"])


@pytest.mark.parametrize("dialect", PATHS)
def test_a_request_takes_no_more_memory_than_its_limit_allows(
    upstream: FakeUpstream, tmp_path: Path, figure: Figure, dialect: str
) -> None:
    limit = 40
    with Attacked(tmp_path, upstream.url, max_body_mb=limit) as gateway:
        pid = worker_of(gateway)
        gateway.ask(PATHS[dialect], question(dialect))
        before = peak_mb(pid)

        status, _ = gateway.ask(PATHS[dialect], question(dialect, "x" * ((limit - 1) << 20)), seconds=60)
        grown = peak_mb(pid) - before

    # The body as it came goes once it was parsed; then there are its text and what goes upstream.
    allowed = 2.5
    figure(f"peak memory of a request at its limit, {dialect}", f"{grown / limit:.2f} x", f"{allowed} x")
    assert status == 200
    assert grown < allowed * limit


LARGE = 10 << 20


def test_large_answers_that_nobody_reads_take_room(upstream: FakeUpstream, tmp_path: Path, figure: Figure) -> None:
    budget, readers = 64, 20
    with Attacked(tmp_path, upstream.url, bodies_mb=budget) as gateway, contextlib.ExitStack() as stack:
        pid = worker_of(gateway)
        items = {"items": [{"role": "user", "content": "ab c" * (LARGE // 8)}] * 2}
        _, made = gateway.ask("/v1/conversations", json.dumps(items).encode())
        place = f"/v1/conversations/{json.loads(made)['id']}/items"
        before = peak_mb(pid)
        clients = [stack.enter_context(gateway.connect()) for _ in range(readers)]
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(f"GET {place} HTTP/1.1\r\nHost: localhost\r\nx-api-key: {KEY}\r\n\r\n".encode())
        answers = [client.recv(12) for client in clients]
        grown = peak_mb(pid) - before
        for client in clients:
            client.close()
        time.sleep(0.5)
        afterwards = gateway.exchange(f"GET {place}?limit=1 HTTP/1.1\r\nHost: localhost\r\nx-api-key: {KEY}\r\n"
                                      "Connection: close\r\n\r\n".encode())  # fmt: skip

    figure(f"memory for {readers} answers of 10 MiB that nobody reads", f"{grown:.0f} MiB", f"{3 * budget} MiB")
    assert {answer[9:12] for answer in answers} == {b"200", b"503"}
    assert grown < 3 * budget
    assert afterwards[9:12] == b"200"
