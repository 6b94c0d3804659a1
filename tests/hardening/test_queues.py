"""The queue before an upstream with few places: whoever crowds, leaves or changes it, the others get their turn."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hardening.gateway import ANSWER, KEY, PATHS, Attacked, question, read_rest
from tests.support.clock import wait_until
from tests.support.fake_upstream import STALL, FakeUpstream, Reply, json_reply, raw

Figure = Callable[[str, object, object], None]
PATH = PATHS["openai_chat"]
ANA, BOB = "sk-ana-0123456789", "sk-bob-0123456789"
KEYS = f'[keys.ana]\nkey = "{ANA}"\n[keys.bob]\nkey = "{BOB}"\n'
TAKES = 0.15  # seconds that the upstream takes for an answer
SLOW = Reply(json_reply(ANSWER).pieces, headers={"content-type": "application/json"}, framing="length", delay=TAKES)


class Queued(Attacked):
    """A gateway whose upstream takes `places` requests at a time."""

    places = 1
    patience = 30.0

    def write_config(self, more: str = "", **server: object) -> None:
        super().write_config(more or KEYS, **server)
        limits = f'api_key = "sk-up"\nmax_parallel = {self.places}\nqueue_timeout = {self.patience}'
        self.config.write_text(self.config.read_text().replace('api_key = "sk-up"', limits))

    def send(self, key: str, text: str = "hi", *, stream: bool = False) -> socket.socket:
        body = question("openai_chat", text, stream=stream)
        head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nx-api-key: {key}\r\nContent-Length: {len(body)}\r\n"
        client = self.connect(30)
        client.sendall(f"{head}Connection: close\r\n\r\n".encode() + body)
        return client

    def answer(self, key: str) -> tuple[int, float]:
        """The status of one request, and the seconds that it took."""
        begun = time.monotonic()
        with self.send(key) as client:
            return int(read_rest(client)[9:12] or 0), time.monotonic() - begun

    def waiting(self) -> tuple[int, int]:
        """The requests under way and in the queue, of all workers."""
        head = f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nx-api-key: {KEY}\r\nConnection: close\r\n\r\n"
        values = dict(line.rpartition(" ")[::2] for line in self.exchange(head.encode()).decode().splitlines())
        return tuple(
            int(float(values[f'dragoman_{name}_requests{{provider="up"}}'])) for name in ("parallel", "queued")
        )  # type: ignore[return-value]

    def wait_for(self, *states: tuple[int, int]) -> None:
        wait_until(lambda: self.waiting() in states, what=f"one of {states}")


def finish(client: socket.socket) -> bytes:
    with client:
        return read_rest(client)


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(SLOW) as fake:
        yield fake


@contextlib.contextmanager
def crowd(gateway: Queued, count: int) -> Iterator[list[int]]:
    """So many clients of Ana's who ask again and again; the statuses that they get."""
    statuses: list[int] = []
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            statuses.append(gateway.answer(ANA)[0])

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        enough.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(("places", "workers"), [(1, 1), (2, 1), (1, 2)])
def test_a_crowd_of_one_tenant_is_one_turn_for_another(
    places: int, workers: int, upstream: FakeUpstream, tmp_path: Path, figure: Figure
) -> None:
    with Queued(tmp_path, upstream.url, workers=workers, max_attempts=1) as gateway:
        gateway.places = places
        gateway.write_config()
        time.sleep(1.5)
        with crowd(gateway, 16) as statuses:
            time.sleep(4 * TAKES)
            answered = [gateway.answer(BOB) for _ in range(6)]

    waits = sorted(took / TAKES for _, took in answered)
    usual = waits[len(waits) // 2]  # between workers it is chance whose turn is next
    figure(f"wait behind a crowd of 16, {places} places, {workers} workers", f"{usual:.1f} turns", "8 turns")
    assert {status for status, _ in answered} == set(statuses) == {200}
    assert usual < 8


def test_who_leaves_the_queue_leaves_it_at_once_and_is_never_asked_for(upstream: FakeUpstream, tmp_path: Path) -> None:
    upstream.script(raw(STALL))
    with Queued(tmp_path, upstream.url, max_attempts=1) as gateway:
        held = gateway.send(ANA)
        gateway.wait_for((1, 0))
        leavers = [gateway.send(ANA, stream=number % 2 == 0) for number in range(100)]
        gateway.wait_for((1, 100))

        for each in leavers:
            each.close()
        gateway.wait_for((1, 0))
        upstream.script(SLOW)
        held.close()
        status, took = gateway.answer(BOB)

        assert (status, len(upstream.seen)) == (200, 2)
        assert took < 2


def test_a_dead_upstream_keeps_no_place_and_no_client_for_longer_than_is_said(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    upstream.script(raw(STALL))
    Queued.patience, patience = 1.0, Queued.patience
    try:
        with Queued(tmp_path, upstream.url, max_attempts=1) as gateway:
            held = gateway.send(ANA)
            gateway.wait_for((1, 0))
            begun = time.monotonic()
            answers = [finish(each) for each in [gateway.send(ANA, stream=bool(number % 2)) for number in range(6)]]

            assert time.monotonic() - begun < 3
            for answer in answers:
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"retry-after: " in answer.lower()
                assert b"queue_timeout" in answer
            upstream.script(SLOW)
            held.close()
            gateway.wait_for((0, 0))
            assert gateway.answer(BOB)[0] == 200
    finally:
        Queued.patience = patience


def test_changes_of_the_limit_lose_nobody_in_the_queue(upstream: FakeUpstream, tmp_path: Path) -> None:
    with Queued(tmp_path, upstream.url, max_attempts=1) as gateway:
        clients = [gateway.send(ANA if number % 2 else BOB) for number in range(24)]
        for places in (3, 1, 2):
            gateway.places = places
            gateway.write_config()
            time.sleep(0.7)

        answers = [finish(each) for each in clients]

        assert [answer[9:12] for answer in answers] == [b"200"] * 24
        assert len(upstream.seen) == 24
        gateway.wait_for((0, 0))
