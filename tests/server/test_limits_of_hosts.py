"""Two hosts of two workers each: the limits of keys and providers in one Redis, the accounts in one Postgres."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.server.hosts import ADMIN, CountingUpstream, ask, both, configure, get
from tests.support.clock import wait_until
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer

KEYS = [f"dm-team-member-{number:04}" for number in range(10)]
CLIENTS, HOSTS = 200, 2


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


def keys(limits: str) -> str:
    return "\n".join(f'[keys.k{number}]\nkey = "{key}"\n{limits}' for number, key in enumerate(KEYS))


def test_ten_keys_at_their_limit_on_two_hosts_and_accounts_equal_to_the_token(
    tmp_path: Path, redis: RedisServer
) -> None:
    with PostgresServer() as postgres, CountingUpstream() as upstream:
        tables = f'[ledger]\nurl = "{postgres.url}"\n[shared]\nredis = "{redis.url}"', keys("max_parallel = 3")
        one, two = (configure(tmp_path / name, upstream, *tables) for name in ("one", "two"))
        with both(one, two) as (first, second):
            hosts = first, second

            def ask_until_answered(number: int) -> int:
                """How often it was refused before."""
                key = number % len(KEYS)
                for refusals in range(2000):
                    status = ask(hosts[number % HOSTS].url, KEYS[key], f"m{key}")
                    if status == 200:
                        return refusals
                    assert status == 429, status
                    time.sleep(0.03)
                raise AssertionError("it was never answered")

            with ThreadPoolExecutor(CLIENTS) as clients:
                refusals = sum(clients.map(ask_until_answered, range(2 * CLIENTS)))
            by_key = "/_/api/usage?by=key"

            def accounted() -> dict[str, int]:
                return {row["key"]: row["fresh"] + row["output"] for row in get(first, by_key)["usage"]}

            own = {f"k{number}": upstream.tokens[f"m{number}"] for number in range(len(KEYS))}
            wait_until(lambda: accounted() == own)
            answered = sum(row["requests"] - row["failed"] for row in get(second, by_key)["usage"])

    assert refusals > 0
    assert max(upstream.maximum[f"m{number}"] for number in range(len(KEYS))) <= 3 + HOSTS
    assert upstream.answers.total() == answered == 2 * CLIENTS


def test_a_provider_is_never_asked_more_at_a_time_than_it_may_be_by_all_hosts(
    tmp_path: Path, redis: RedisServer
) -> None:
    with CountingUpstream() as upstream:
        shared = f'[shared]\nredis = "{redis.url}"'
        one, two = (
            configure(tmp_path / name, upstream, shared, provider="max_parallel = 5") for name in ("one", "two")
        )
        with both(one, two) as (first, second), ThreadPoolExecutor(60) as clients:
            hosts = first, second
            statuses = list(clients.map(lambda number: ask(hosts[number % HOSTS].url, ADMIN), range(240)))

    assert set(statuses) == {200}
    assert 4 <= upstream.maximum[""] <= 5


def test_a_budget_over_two_hosts_ends_with_the_request_that_spends_the_last_of_it(
    tmp_path: Path, redis: RedisServer
) -> None:
    # The n-th answer costs n % 7 + n % 5 + 13 millionths of a dollar.
    costs = [10 + number % 7 + 3 + number % 5 for number in range(1, 30)]
    budget = sum(costs[:11]) + 1
    with CountingUpstream(0) as upstream:
        tables = (
            f'[shared]\nredis = "{redis.url}"',
            "[prices.m]\ninput = 1.0\noutput = 1.0",
            f'[keys.ci]\nkey = "{KEYS[0]}"\nbudget_per_month = {budget / 1e6:.6f}',
        )
        one, two = (configure(tmp_path / name, upstream, *tables) for name in ("one", "two"))
        with both(one, two) as (first, second):
            hosts = first, second
            statuses = [ask(hosts[number % HOSTS].url, KEYS[0]) for number in range(16)]

    assert statuses == [200] * 12 + [429] * 4


def test_hosts_go_on_without_redis_and_say_so_or_refuse_where_limits_fail_closed(
    tmp_path: Path, redis: RedisServer
) -> None:
    with CountingUpstream(0) as upstream:
        limited = f'[keys.ci]\nkey = "{KEYS[0]}"\nrequests_per_hour = 100'
        shared = f'[shared]\nredis = "{redis.url}"'
        one = configure(tmp_path / "one", upstream, shared, limited)
        two = configure(tmp_path / "two", upstream, f"{shared}\nfail_closed = true", limited)
        with both(one, two) as (goes_on, fails_closed):
            before = [ask(host.url, KEYS[0]) for host in (goes_on, fails_closed)]
            redis.kill()
            without = [ask(host.url, KEYS[0]) for host in (goes_on, fails_closed)]
            free = ask(fails_closed.url, ADMIN)
            wait_until(lambda: "each host counts separately" in str(get(goes_on, "/health").get("reasons")))
            redis.start()
            wait_until(lambda: ask(fails_closed.url, KEYS[0]) == 200)
            wait_until(lambda: all("reasons" not in get(goes_on, "/health") for _ in range(8)))

    assert before == [200, 200]
    assert without == [200, 503]
    assert free == 200
