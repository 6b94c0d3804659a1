"""Chaos, measured: many slow streams, clients that leave, upstreams that break, reloads and stops under load.

Not part of `make test`: it takes minutes and both cores. CHAOS_STREAMS and CHAOS_REQUESTS say how much.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hardening.gateway import ANSWER, KEY, PATHS, Attacked, post, question, read_rest
from tests.support.fake_upstream import CUT, FakeUpstream, json_reply, sse

Figure = Callable[[str, object, object], None]

STREAMS = int(os.environ.get("CHAOS_STREAMS", "2000"))
REQUESTS = int(os.environ.get("CHAOS_REQUESTS", "20000"))
DONE = {"openai_chat": b"[DONE]", "anthropic_messages": b"message_stop", "openai_responses": b"response.completed"}


def chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    told = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(told).encode() + b"\n\n"


EVENTS = (chunk("one "), chunk("two "), chunk("three "), chunk("", "stop"), b"data: [DONE]\n\n")


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(json_reply(ANSWER)) as fake:
        yield fake


@pytest.fixture
def gateway(upstream: FakeUpstream, tmp_path: Path) -> Iterator[Attacked]:
    with Attacked(tmp_path, upstream.url, workers=2) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log.read_text()


def begin(gateway: Attacked, dialect: str = "openai_chat") -> socket.socket:
    client = gateway.connect(120)
    client.sendall(post(PATHS[dialect], question(dialect, stream=True)))
    return client


def open_streams(gateway: Attacked, count: int) -> list[socket.socket]:
    return [begin(gateway, list(PATHS)[number % 3]) for number in range(count)]


def count_whole(clients: list[socket.socket]) -> int:
    whole = 0
    for number, client in enumerate(clients):
        with client:
            whole += DONE[list(PATHS)[number % 3]] in read_rest(client)
    return whole


def test_slow_streams_all_end_well(gateway: Attacked, upstream: FakeUpstream, figure: Figure) -> None:
    upstream.script(sse(*[piece for event in EVENTS for piece in (event, 2.0)][:-1]))

    whole = count_whole(open_streams(gateway, STREAMS))

    figure(f"slow streams lost, of {STREAMS} on two workers", STREAMS - whole, 0)
    assert whole == STREAMS


@pytest.mark.parametrize("dialect", list(PATHS))
def test_a_cut_at_any_event_is_never_a_clean_end(
    gateway: Attacked, upstream: FakeUpstream, figure: Figure, dialect: str
) -> None:
    clean = 0

    for cut in range(len(EVENTS) - 1):
        upstream.script(sse(*EVENTS[:cut], 0.02, CUT))
        with begin(gateway, dialect) as client:
            clean += DONE[dialect] in read_rest(client)

    figure(f"cut streams that end like whole ones, {dialect}", clean, 0)
    assert clean == 0


def test_who_leaves_takes_the_upstreams_call_along(gateway: Attacked, upstream: FakeUpstream, figure: Figure) -> None:
    upstream.script(sse(EVENTS[0], 60.0))
    clients = open_streams(gateway, 100)
    upstream.wait_for(100, 30)
    time.sleep(1)

    left = time.monotonic()
    for client in clients:
        client.close()
    slowest = max(upstream.wait_until_left(number, 10) for number in range(100)) - left

    figure("100 leavers are noticed", f"{slowest:.2f} s", "1 s")
    assert slowest < 1


def test_reloads_and_a_stop_cut_nothing(gateway: Attacked, upstream: FakeUpstream, figure: Figure) -> None:
    upstream.script(sse(*[piece for event in EVENTS for piece in (event, 1.5)][:-1]))
    clients = []

    for _ in range(4):
        clients += open_streams(gateway, 30)
        time.sleep(0.4)
        gateway.signal(signal.SIGHUP)
        time.sleep(0.6)
    gateway.signal(signal.SIGTERM)
    # The order of dialects begins anew with each thirty.
    whole = count_whole(clients)

    figure("streams cut by four HUPs and a TERM, of 120", 120 - whole, 0)
    assert whole == 120
    gateway.wait(20)


def test_a_killed_worker_is_replaced_at_once(gateway: Attacked, figure: Figure) -> None:
    pid = _pid(gateway)

    os.kill(pid, signal.SIGKILL)
    begun = time.monotonic()
    while pid in {_pid(gateway) for _ in range(4)}:
        assert time.monotonic() - begun < 5
    took = time.monotonic() - begun

    figure("capacity back after a worker was killed", f"{took:.2f} s", "3 s")
    assert took < 3


def test_mixed_requests_are_all_answered_rightly(gateway: Attacked, upstream: FakeUpstream, figure: Figure) -> None:
    upstream.script(json_reply(ANSWER))
    counts: Counter[bool] = Counter()
    kinds = [
        *((PATHS[dialect], question(dialect), 200) for dialect in PATHS),
        (PATHS["openai_chat"], b"{", 400),
        (PATHS["openai_responses"], b"[]", 400),
        ("/v1/nothing", b"{}", 404),
    ]

    def ask(number: int) -> None:
        draw = random.Random(number)
        for _ in range(REQUESTS // 8):
            path, body, wanted = draw.choice(kinds)
            counts[gateway.ask(path, body)[0] == wanted] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    figure(f"wrong answers, of {sum(counts.values())} mixed requests", counts[False], 0)
    assert counts[False] == 0


def _pid(gateway: Attacked) -> int:
    head = f"GET /health HTTP/1.1\r\nHost: localhost\r\nx-api-key: {KEY}\r\nConnection: close\r\n\r\n"
    try:
        return int(json.loads(gateway.exchange(head.encode()).partition(b"\r\n\r\n")[2])["process"]["pid"])
    except (OSError, ValueError):
        return 0
