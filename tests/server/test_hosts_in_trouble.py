"""Redis, Postgres and whole hosts that die under load: requests go on, and what is lost is counted."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.server.hosts import ADMIN, CountingUpstream, ask, both, configure, get, read_metric
from tests.support.clock import wait_until
from tests.support.fake_upstream import STALL, FakeUpstream, sse
from tests.support.gateway_process import GatewayProcess
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer

KEY = "dm-team-member-0001"
CLIENTS = 12


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


class Load:
    """Clients that ask both hosts until they are told to end; `statuses` is what they were answered."""

    def __init__(self, *hosts: GatewayProcess) -> None:
        self.statuses: Counter[int] = Counter()
        self._hosts = hosts
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(CLIENTS)

    def __enter__(self) -> Load:
        self._asking = [self._pool.submit(self._ask, number) for number in range(CLIENTS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for each in self._asking:
            self.statuses.update(each.result())
        self._pool.shutdown()

    def _ask(self, number: int) -> Counter[int]:
        statuses: Counter[int] = Counter()
        while not self._ended.is_set():
            statuses[ask(self._hosts[number % len(self._hosts)].url, KEY)] += 1
            time.sleep(0.02)
        return statuses


def test_requests_go_on_while_redis_and_postgres_are_killed_and_started_again(
    tmp_path: Path, redis: RedisServer, postgres: PostgresServer
) -> None:
    tables = (
        f'[ledger]\nurl = "{postgres.url}"\n[shared]\nredis = "{redis.url}"',
        f'[keys.ci]\nkey = "{KEY}"\nrequests_per_hour = 1_000_000\nmax_parallel = 100\nbudget_per_day = 1000.0',
    )
    with CountingUpstream(0.01) as upstream:
        one, two = (configure(tmp_path / name, upstream, *tables) for name in ("one", "two"))
        with both(one, two) as (first, second):
            with Load(first, second) as load:
                for server in (redis, postgres):
                    time.sleep(1)
                    server.kill()
                    time.sleep(2)
                    server.start()
                time.sleep(1)

            def accounted() -> int:
                (row,) = [row for row in get(first, "/_/api/usage?by=key")["usage"] if row["key"] == "ci"]
                return int(row["requests"])

            def lost() -> int:
                return int(read_metric(first, "dragoman_records_lost") + read_metric(second, "dragoman_records_lost"))

            wait_until(lambda: accounted() + lost() >= load.statuses.total(), 40)
            in_all = accounted() + lost()
            (use,) = [each for each in get(second, "/_/api/limits")["limits"] if (each["limit"]) == "max_parallel"]

    assert set(load.statuses) == {200}
    assert in_all == load.statuses.total() == upstream.answers.total()
    assert use["used"] == 0


def test_a_response_in_the_background_whose_host_dies_has_failed_within_thirty_seconds(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    with FakeUpstream(sse(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n', STALL)) as upstream:
        ledger = f'[ledger]\nurl = "{postgres.url}"'
        one, two = (configure(tmp_path / name, upstream, ledger) for name in ("one", "two"))
        with both(one, two) as (first, second):
            made = post(first, "/v1/responses", {"model": "up/m", "input": "hi", "background": True})
            wait_until(lambda: status_of(second, made["id"]) == "in_progress")
            os.killpg(first.process.pid, signal.SIGKILL)
            died = time.monotonic()
            wait_until(lambda: status_of(second, made["id"]) != "in_progress", 40)
            took = time.monotonic() - died
            ended = get(second, f"/v1/responses/{made['id']}")

    assert took <= 30
    assert ended["status"] == "failed"
    assert "the gateway" in ended["error"]["message"]


def post(gateway: GatewayProcess, path: str, body: dict[str, Any]) -> Any:
    headers = {"x-api-key": ADMIN, "content-type": "application/json"}
    request = urllib.request.Request(f"{gateway.url}{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def status_of(gateway: GatewayProcess, response_id: str) -> str:
    return str(get(gateway, f"/v1/responses/{response_id}")["status"])
