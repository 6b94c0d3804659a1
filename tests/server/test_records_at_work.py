"""Metrics and accounts of a real server with several workers agree with what its upstream has counted."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.answers import chat_answer
from tests.support.clock import wait_until
from tests.support.fake_upstream import FakeUpstream, json_reply
from tests.support.gateway_process import GatewayProcess

REQUESTS = 40
ANSWER = chat_answer("Hi.")


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(json_reply(ANSWER)) as server:
        yield server


@pytest.fixture
def gateway(tmp_path: Path, upstream: FakeUpstream) -> Iterator[GatewayProcess]:
    (tmp_path / "dragoman.toml").write_text(
        "[server]\nworkers = 2\n"
        f'[providers.up]\nkind = "openai"\nbase_url = "{upstream.url}"\napi_key = "none-at-all"\n'
    )
    (tmp_path / "run").mkdir(mode=0o700)
    with GatewayProcess(tmp_path, XDG_RUNTIME_DIR=str(tmp_path / "run")) as process:
        yield process


def ask(gateway: GatewayProcess) -> int:
    body = json.dumps({"model": "up/gpt-4.1", "messages": [{"role": "user", "content": "hi"}]}).encode()
    request = urllib.request.Request(f"{gateway.url}/v1/chat/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as reply:
        return int(reply.status)


def get(gateway: GatewayProcess, path: str) -> str:
    """On a connection of its own, so that any worker may answer."""
    with urllib.request.urlopen(f"{gateway.url}{path}", timeout=20) as reply:
        text: str = reply.read().decode()
        return text


def count(gateway: GatewayProcess) -> tuple[float, float]:
    """Requests and tokens of one scrape."""
    samples = [
        sample for family in text_string_to_metric_families(get(gateway, "/metrics")) for sample in family.samples
    ]
    requests = sum(each.value for each in samples if each.name == "dragoman_requests_total" and each.labels["provider"])
    tokens = sum(each.value for each in samples if each.name == "dragoman_tokens_total")
    return requests, tokens


def ask_many(gateway: GatewayProcess) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: ask(gateway), range(REQUESTS))) == {200}


def sum_accounts(gateway: GatewayProcess) -> dict[str, Any]:
    rows = json.loads(get(gateway, "/_/api/usage?by=provider&provider=up"))["usage"]
    return rows[0] if rows else {"requests": 0}


def test_every_scrape_and_the_accounts_count_what_the_upstream_counted(
    gateway: GatewayProcess, upstream: FakeUpstream
) -> None:
    ask_many(gateway)

    scrapes = {count(gateway) for _ in range(6)}
    wait_until(lambda: sum_accounts(gateway)["requests"] >= REQUESTS, 15)
    row = sum_accounts(gateway)

    assert len(upstream.seen) == REQUESTS
    assert scrapes == {(REQUESTS, REQUESTS * 18)}
    assert (row["requests"], row["fresh"], row["output"]) == (REQUESTS, REQUESTS * 11, REQUESTS * 7)
    assert row["cost"] == REQUESTS * (11 * 2000 + 7 * 8000)


def test_a_worker_that_is_killed_takes_no_count_with_it(gateway: GatewayProcess, tmp_path: Path) -> None:
    ask_many(gateway)
    assert count(gateway)[0] == REQUESTS
    told = [int(path.stem) for path in (tmp_path / "run").glob("dragoman-*/*/*.worker")]

    os.kill(told[0], signal.SIGKILL)
    wait_until(lambda: len(list((tmp_path / "run").glob("dragoman-*/*/*.alive"))) >= 2, 15)

    assert len(told) == 2
    assert {count(gateway)[0] for _ in range(4)} == {REQUESTS}


def test_nothing_is_left_of_a_server_that_has_ended(gateway: GatewayProcess, tmp_path: Path) -> None:
    ask(gateway)
    folders = list((tmp_path / "run").glob("dragoman-*/*"))

    gateway.signal(signal.SIGTERM)
    gateway.wait()

    assert len(folders) == 1
    assert list((tmp_path / "run").glob("dragoman-*/*")) == []
