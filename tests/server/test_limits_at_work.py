"""Limits and made keys with two workers of a real server: exact across them, through restarts and killed workers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.answers import chat_answer
from tests.support.clock import wait_until
from tests.support.fake_upstream import STALL, FakeUpstream, json_reply, sse
from tests.support.gateway_process import BIN, GatewayProcess, bare_environ

KEY = "dm-limited-0123456789"
CLIENTS = 200
ANSWER = chat_answer("ok")


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(json_reply(ANSWER)) as fake:
        yield fake


def configure(folder: Path, upstream: FakeUpstream, key: str) -> None:
    text = f"""
[server]
workers = 2
[providers.up]
kind = "openai"
base_url = "{upstream.url}/v1"
api_key = "sk-up"
[keys.other]
key = "dm-other-0123456789"
[prices."up/m"]
input = 1.0
output = 1.0
{key}
"""
    fresh = folder / "dragoman.new"
    fresh.write_text(text)
    fresh.replace(folder / "dragoman.toml")


def limited(**limits: Any) -> str:
    return "\n".join(["[keys.ci]", f'key = "{KEY}"', *(f"{name} = {value}" for name, value in limits.items())])


def ask(gateway: GatewayProcess, key: str = KEY, **more: Any) -> int:
    body = {"model": "up/m", "messages": [{"role": "user", "content": "hi"}], **more}
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{gateway.url}/v1/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            reply.read()
            return int(reply.status)
    except urllib.error.HTTPError as error:
        error.read()
        error.close()
        return error.code


def ask_all(gateway: GatewayProcess, times: int = CLIENTS) -> Counter[int]:
    with ThreadPoolExecutor(CLIENTS) as clients:
        return Counter(clients.map(lambda _: ask(gateway), range(times)))


def test_two_workers_let_exactly_the_limit_of_two_hundred_clients_in(tmp_path: Path, upstream: FakeUpstream) -> None:
    configure(tmp_path, upstream, limited(requests_per_hour=70))

    with GatewayProcess(tmp_path) as gateway:
        answers = ask_all(gateway)

    assert answers == {200: 70, 429: 130}
    assert len(upstream.seen) == 70


def test_a_budget_holds_across_workers_and_a_restart(tmp_path: Path, upstream: FakeUpstream) -> None:
    # Room for ten answers of 18 tokens, and for the one that spends the rest.
    configure(tmp_path, upstream, limited(budget_per_day=185 / 1e6, max_parallel=150))

    with GatewayProcess(tmp_path) as gateway:
        before = [ask(gateway) for _ in range(6)]
    with GatewayProcess(tmp_path) as gateway:
        after = [ask(gateway) for _ in range(8)]

    assert before == [200] * 6
    assert after == [200] * 5 + [429] * 3


def test_a_changed_limit_is_in_force_within_seconds(tmp_path: Path, upstream: FakeUpstream) -> None:
    configure(tmp_path, upstream, limited(requests_per_hour=2))

    with GatewayProcess(tmp_path) as gateway:
        before = [ask(gateway) for _ in range(3)]
        configure(tmp_path, upstream, limited(requests_per_hour=3))
        wait_until(lambda: ask(gateway) == 200)
        after = [ask(gateway) for _ in range(4)]

    assert before == [200, 200, 429]
    assert after == [429] * 4


def test_a_killed_worker_frees_what_it_had_under_way(tmp_path: Path, upstream: FakeUpstream) -> None:
    upstream.script(sse(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n', STALL))
    configure(tmp_path, upstream, limited(max_parallel=8))

    with GatewayProcess(tmp_path) as gateway, ThreadPoolExecutor(8) as clients:
        running = [clients.submit(_ask_lost, gateway) for _ in range(8)]
        upstream.wait_for(8, 20)
        upstream.script(json_reply(ANSWER))
        full = ask(gateway)
        for worker in _workers(gateway):
            os.kill(worker, signal.SIGKILL)
        for each in running:
            each.result()
        wait_until(gateway.healthy)
        again = ask(gateway)

    assert (full, again) == (429, 200)


def test_a_key_that_a_command_makes_works_and_ends_while_the_server_runs(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    configure(tmp_path, upstream, "")

    with GatewayProcess(tmp_path) as gateway:
        made = _run(tmp_path, "keys", "create", "anna", "--requests-per-day", "1000").strip()
        wait_until(lambda: _asked_often(gateway, made) == {200})
        fresh = _run(tmp_path, "keys", "rotate", "anna").strip()
        wait_until(lambda: _asked_often(gateway, fresh) == {200})
        overlapping = ask(gateway, made)
        listed = _run(tmp_path, "keys", "list")
        _run(tmp_path, "keys", "disable", "anna")
        wait_until(lambda: _asked_often(gateway, fresh) == {401})

    assert made != fresh
    assert overlapping == 200
    assert made not in listed
    assert fresh not in listed
    files = b"".join(path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file())
    assert made.encode() not in files


@pytest.mark.parametrize("ending", [("rotate", "anna", "--overlap", "0s"), ("disable", "anna")], ids=str)
def test_a_stream_outlives_its_key_and_is_settled(
    tmp_path: Path, upstream: FakeUpstream, ending: tuple[str, ...]
) -> None:
    configure(tmp_path, upstream, "")
    head = b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    begin, end = head + b'[{"index":0,"delta":{"content":"a"}}]}\n\n', b"data: [DONE]\n\n"
    counted = head + b'[],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}\n\n'
    stop = head + b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'

    with GatewayProcess(tmp_path) as gateway, ThreadPoolExecutor(1) as clients:
        made = _run(tmp_path, "keys", "create", "anna", "--tokens-per-day", "100000", "--max-parallel", "2").strip()
        wait_until(lambda: _asked_often(gateway, made) == {200})
        seen = len(upstream.seen)
        upstream.script(sse(begin, 6.0, stop, counted, end))
        running = clients.submit(ask, gateway, made, stream=True)
        upstream.wait_for(seen + 1, 20)
        upstream.script(json_reply(ANSWER))
        _run(tmp_path, "keys", *ending)
        wait_until(lambda: _asked_often(gateway, made) == {401})
        is_under_way = not running.done()
        answer = running.result()
        used = {row["limit"]: row["used"] for row in json.loads(_run(tmp_path, "usage", "--limits", "--json"))}
        wait_until(lambda: _sum_tokens(tmp_path) == 18 * len(upstream.seen))

    assert (is_under_way, answer) == (True, 200)
    if ending[0] == "rotate":  # a name whose keys are all disabled has no limits in force
        assert used == {"max_parallel": 0, "tokens_per_day": 18 * len(upstream.seen)}


def _sum_tokens(folder: Path) -> int:
    return sum(row["fresh"] + row["output"] for row in json.loads(_run(folder, "usage", "--json")))


def _asked_often(gateway: GatewayProcess, key: str) -> set[int]:
    """What both workers say, as far as chance leads to both."""
    return {ask(gateway, key) for _ in range(6)}


def _ask_lost(gateway: GatewayProcess) -> None:
    """A stream whose worker dies."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        ask(gateway, stream=True)


def _workers(gateway: GatewayProcess) -> list[int]:
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


def _run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [str(BIN / "dragoman"), *arguments],
        cwd=folder,
        env=bare_environ(folder / "home"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
