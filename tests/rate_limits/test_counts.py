"""Counting, in the file of a host and in Redis alike: never more than the limit, and all of it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.rate_limits.count_file import FILE_NAME, CountFile
from app.rate_limits.count_redis import PREFIX, CountRedis
from app.rate_limits.counts import PARTS, Counts, Demand, Full, Limit, Taken
from app.rate_limits.shared_counts import LimitsUnavailable, SharedCounts
from app.settings import SharedSettings

try:
    from redis import Redis
    from redis.commands.core import Script
except ImportError:  # the fixture of a server skips
    pass

NOW = 1_767_225_600.0  # 2026-01-01 00:00 UTC
MINUTE = Limit("requests", 10, "minute")
TOKENS = Limit("tokens", 1000, "minute")
PARALLEL = Limit("parallel", 3)
DAY = Limit("budget", 1000, "day")


class RedisServer:
    def __init__(self, folder: Path) -> None:
        self.url = f"unix://{folder}/redis.sock"
        self._command = ["redis-server", "--port", "0", "--unixsocket", f"{folder}/redis.sock", "--save", "",
                         "--dir", str(folder)]  # fmt: skip
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        redis = pytest.importorskip("redis").Redis.from_url(self.url)
        deadline = time.monotonic() + 10
        while True:
            try:
                redis.ping()
                break
            except Exception:
                assert time.monotonic() < deadline, "Redis does not start"
                time.sleep(0.02)
        redis.close()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("needs Debian's redis-server")
    pytest.importorskip("redis", reason="needs the extra redis")
    server = RedisServer(tmp_path_factory.mktemp("r"))
    yield server
    server.stop()


@pytest.fixture(params=["file", "redis"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Counts, Counts]]:
    """Two that keep the same count, as two workers or two hosts do."""
    made: list[Any]
    if request.param == "file":
        made = [CountFile(tmp_path), CountFile(tmp_path)]
    else:
        server = request.getfixturevalue("redis")
        made = [CountRedis(server.url), CountRedis(server.url)]
    yield made[0], made[1]
    for each in made:
        each.close()


def take(counts: Counts, *demands: tuple[Limit, int], owner: str = "a", now: float | None = None) -> Taken | Full:
    wanted = [Demand(owner, limit, amount) for limit, amount in demands]
    return counts.take(wanted, time.time() if now is None else now)


def wait_past_midnight() -> None:
    """Waits if the day is about to turn."""
    left = 86_400 - time.time() % 86_400
    if left < 10:
        time.sleep(left + 0.1)


def taken(counts: Counts, *demands: tuple[Limit, int]) -> Taken:
    found = take(counts, *demands)
    assert isinstance(found, Taken), found
    return found


def full(found: Taken | Full) -> Full:
    assert isinstance(found, Full), found
    return found


def test_two_that_count_together_let_exactly_the_limit_in(pair: tuple[Counts, Counts]) -> None:
    let_in = [isinstance(take(pair[number % 2], (MINUTE, 1)), Taken) for number in range(30)]

    assert sum(let_in) == MINUTE.maximum


def test_another_owner_has_a_limit_of_its_own(pair: tuple[Counts, Counts]) -> None:
    for _ in range(MINUTE.maximum):
        take(pair[0], (MINUTE, 1))

    assert isinstance(take(pair[0], (MINUTE, 1)), Full)
    assert isinstance(take(pair[0], (MINUTE, 1), owner="b"), Taken)


def test_a_refused_request_is_counted_nowhere(pair: tuple[Counts, Counts]) -> None:
    for _ in range(PARALLEL.maximum):
        taken(pair[0], (PARALLEL, 1))

    for _ in range(50):
        full(take(pair[1], (MINUTE, 1), (PARALLEL, 1)))

    assert isinstance(take(pair[1], (MINUTE, 10)), Taken)


def test_what_is_over_makes_room_for_another(pair: tuple[Counts, Counts]) -> None:
    running = [taken(pair[number % 2], (PARALLEL, 1)) for number in range(PARALLEL.maximum)]
    full(take(pair[0], (PARALLEL, 1)))

    running[1].counts.settle(running[1], [0], time.time())

    taken(pair[0], (PARALLEL, 1))
    full(take(pair[1], (PARALLEL, 1)))


def test_an_estimate_is_replaced_by_what_was_used(pair: tuple[Counts, Counts]) -> None:
    estimated = taken(pair[0], (TOKENS, 5000))
    refused = full(take(pair[1], (TOKENS, 1)))
    pair[0].settle(estimated, [999], time.time())

    assert refused.used == 5000
    taken(pair[1], (TOKENS, 1))
    assert full(take(pair[1], (TOKENS, 1))).used == 1000


def test_a_budget_ends_with_the_request_that_spends_the_last_of_it(pair: tuple[Counts, Counts]) -> None:
    first = taken(pair[0], (DAY, 700))
    pair[0].settle(first, [990], time.time())

    last = taken(pair[1], (DAY, 700))
    while_it_runs = full(take(pair[0], (DAY, 1)))
    pair[1].settle(last, [30], time.time())

    assert while_it_runs.used == 1690
    assert full(take(pair[0], (DAY, 1))).used == 1020


def test_the_end_of_a_full_window_is_told(pair: tuple[Counts, Counts]) -> None:
    for _ in range(MINUTE.maximum):
        taken(pair[0], (MINUTE, 1))

    assert 55 <= full(take(pair[0], (MINUTE, 1))).seconds <= 61


def test_no_window_ever_holds_more_than_the_limit(tmp_path: Path) -> None:
    counts = CountFile(tmp_path)

    let_in = [
        now for step in range(4000) if isinstance(take(counts, (MINUTE, 1), now=(now := NOW + step * 0.05)), Taken)
    ]

    assert len(let_in) >= 3 * MINUTE.maximum
    for at in let_in:
        assert sum(at <= other < at + 60 for other in let_in) <= MINUTE.maximum


def test_a_bucket_is_full_again_when_it_was_said(tmp_path: Path) -> None:
    counts = CountFile(tmp_path)
    for _ in range(MINUTE.maximum):
        take(counts, (MINUTE, 1), now=NOW)

    seconds = full(take(counts, (MINUTE, 1), now=NOW + 5)).seconds

    full(take(counts, (MINUTE, 1), now=NOW + 5 + seconds - 0.1))
    assert isinstance(take(counts, (MINUTE, 1), now=NOW + 5 + seconds), Taken)


PERIODS = {"day": (NOW + 3600, NOW + 86_400), "month": (NOW + 3600, NOW + 31 * 86_400)}


@pytest.mark.parametrize("period", PERIODS)
def test_a_budget_begins_anew_with_its_day_or_month(tmp_path: Path, period: Any) -> None:
    counts, limit = CountFile(tmp_path), Limit("budget", 10, period)
    now, begins = PERIODS[period]
    spent = take(counts, (limit, 1), now=now)
    assert isinstance(spent, Taken)
    counts.settle(spent, [10], now)

    refused = full(take(counts, (limit, 1), now=now))

    assert now + refused.seconds == begins
    full(take(counts, (limit, 1), now=begins - 1))
    assert isinstance(take(counts, (limit, 1), now=begins), Taken)


@pytest.mark.parametrize("period", PERIODS)
def test_what_runs_while_a_day_or_month_turns_is_spent_when_it_ends(tmp_path: Path, period: Any) -> None:
    counts, limit = CountFile(tmp_path), Limit("budget", 10, period)
    begins = PERIODS[period][1]
    demands = [Demand("a", limit, 6), Demand("a", PARALLEL, 1)]
    running = counts.take(demands, begins - 1)
    assert isinstance(running, Taken)
    assert counts.look(demands, begins) == [6, 1], "it is still under way, and still reserved"

    counts.settle(running, [4, 0], begins + 1)

    assert counts.look(demands, begins + 1) == [4, 0]


def test_a_clock_that_is_set_back_forgets_nothing(tmp_path: Path) -> None:
    counts = CountFile(tmp_path)
    for _ in range(MINUTE.maximum):
        take(counts, (MINUTE, 1), now=NOW)

    full(take(counts, (MINUTE, 1), now=NOW - 3600))


WINDOWS = [
    *((Limit(kind, 10, period), seconds) for kind in ("requests", "tokens") for period, seconds in (
        ("minute", 62), ("hour", 62 * 60), ("day", 62 * 1440))),
    (Limit("budget", 10, "day"), 86_400), (Limit("budget", 10, "month"), 31 * 86_400),
]  # fmt: skip


@pytest.mark.parametrize("jump", [3 * 3600, 40 * 86_400, 10 * 365 * 86_400])
@pytest.mark.parametrize(("limit", "seconds"), WINDOWS, ids=str)
def test_a_clock_that_ran_ahead_for_a_while_blocks_a_limit_no_longer_than_a_window(
    tmp_path: Path, limit: Limit, seconds: int, jump: int
) -> None:
    counts = CountFile(tmp_path)
    wrong = take(counts, (limit, 10), now=NOW + jump)
    assert isinstance(wrong, Taken)
    counts.settle(wrong, [10], NOW + jump)

    full(take(counts, (limit, 1), now=NOW))
    assert counts.look([Demand("a", limit, 0)], NOW + 2 * seconds) == [0]
    assert isinstance(take(counts, (limit, 1), now=NOW + 2 * seconds), Taken)


def test_what_began_before_a_clock_was_set_back_is_settled_once(tmp_path: Path) -> None:
    counts = CountFile(tmp_path)
    running = take(counts, (TOKENS, 900), now=NOW + 7200)
    assert isinstance(running, Taken)

    counts.settle(running, [100], NOW)

    assert 100 <= counts.look([Demand("a", TOKENS, 0)], NOW)[0] <= 1000
    assert counts.look([Demand("a", TOKENS, 0)], NOW + 62) == [0]


PLANTED = {
    "no-numbers": {"0": "abc", "x": "1", "": "7", "-5": "9"},
    "nan-and-infinity": {"{now}": "nan", "{before}": "inf", "w1": "-inf"},
    "huge": {"{now}": "1e300", "{before}": "9" * 400, "w2": "9" * 30},
    "negative": {"{now}": "-1000000", "{before}": "-1"},
    "a-worker-that-never-was": {"wdead": "1000"},
}


@pytest.mark.parametrize("case", PLANTED)
@pytest.mark.parametrize("limit", [MINUTE, Limit("budget", 10, "day"), Limit("budget", 10, "month")], ids=str)
def test_counts_that_are_none_neither_lift_nor_block_a_limit(redis: RedisServer, limit: Limit, case: str) -> None:
    wait_past_midnight()
    counts, client, demand = CountRedis(redis.url), Redis.from_url(redis.url), Demand("a", limit, 1)
    now = limit.number(time.time())
    fields = {name.format(now=now, before=now - 1): value for name, value in PLANTED[case].items()}
    client.hset(PREFIX + demand.place.hex(), mapping=fields)

    found = [take(counts, (limit, 1)) for _ in range(12)]

    assert [isinstance(each, Taken) for each in found] == [True] * 10 + [False] * 2
    settled = next(each for each in found if isinstance(each, Taken))
    counts.settle(settled, [1], time.time())
    assert counts.look([demand], time.time()) == [10]


def test_a_key_of_another_type_does_not_take_a_limit_from_redis(redis: RedisServer) -> None:
    counts, client = CountRedis(redis.url), Redis.from_url(redis.url)
    running = taken(counts, (TOKENS, 900))
    client.set(PREFIX + Demand("a", TOKENS, 1).place.hex(), "text")

    counts.settle(running, [100], time.time())

    assert counts.look([Demand("a", TOKENS, 0)], time.time()) == [100]


@pytest.mark.parametrize("ahead", [200, 10 * 365 * 86_400])
def test_a_redis_whose_clock_was_set_back_forgets_in_time(redis: RedisServer, ahead: int) -> None:
    counts, client = CountRedis(redis.url), Redis.from_url(redis.url)
    key = PREFIX + Demand("a", MINUTE, 1).place.hex()
    client.hset(key, str(int(time.time()) + ahead), 10)

    full(take(counts, (MINUTE, 1)))

    (field,) = client.hkeys(key)
    assert abs(int(field) - time.time()) < 5


def test_days_and_months_follow_the_clock_of_redis(redis: RedisServer) -> None:
    wait_past_midnight()
    ahead, right = CountRedis(redis.url), CountRedis(redis.url)
    limits = Limit("budget", 10, "day"), Limit("budget", 10, "month")
    spent = taken(right, *((limit, 4) for limit in limits))
    right.settle(spent, [4, 4], time.time())

    wrong = take(ahead, *((limit, 1) for limit in limits), now=time.time() + 400 * 86_400)
    assert isinstance(wrong, Taken)
    ahead.settle(wrong, [1, 1], time.time() + 400 * 86_400)

    assert right.look([Demand("a", limit, 0) for limit in limits], time.time()) == [5, 5]


def test_a_redis_that_is_emptied_or_replaced_counts_from_nothing_and_goes_on(redis: RedisServer) -> None:
    counts = CountRedis(redis.url)
    running = taken(counts, (TOKENS, 900), (PARALLEL, 1))

    Redis.from_url(redis.url).flushall()
    counts.settle(running, [100, 0], time.time())

    assert counts.look([Demand("a", TOKENS, 0), Demand("a", PARALLEL, 0)], time.time()) == [100, 0]
    Redis.from_url(redis.url).script_flush()
    redis.stop()
    redis.start()
    taken(counts, (TOKENS, 1))


LIES = [None, b"OK", [], [0], [0, 0], [b"0", b"1", b"2"], [0, 1, 2], [9, 1, 2], [-1, 1, 2], [0, 1, 2, 3.5, 4]]


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_redis_that_answers_something_else_is_one_that_does_not_answer(
    tmp_path: Path, redis: RedisServer, lie: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = SharedCounts(tmp_path, SharedSettings(redis=redis.url))
    monkeypatch.setattr(Script, "__call__", lambda *_, **__: lie)

    assert isinstance(counts.take([Demand("a", MINUTE, 1)]), Taken)

    assert counts.problem is not None
    assert "each host counts separately" in counts.problem
    assert counts.look([Demand("a", MINUTE, 0)]) == [1]


def test_counts_survive_a_restart_in_a_file_of_its_owner_alone(tmp_path: Path) -> None:
    before = CountFile(tmp_path / "data")
    for _ in range(MINUTE.maximum):
        take(before, (MINUTE, 1))
    before.close()

    full(take(CountFile(tmp_path / "data"), (MINUTE, 1)))
    assert (tmp_path / "data" / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_more_limits_than_the_file_had_room_for_keep_their_counts(tmp_path: Path) -> None:
    first, second = CountFile(tmp_path), CountFile(tmp_path)
    take(second, (MINUTE, 1), owner="early")

    for number in range(500):
        take(first, (MINUTE, number % MINUTE.maximum + 1), owner=f"k{number}")

    assert second.look([Demand(f"k{number}", MINUTE, 0) for number in (0, 7, 499)], time.time()) == [1, 8, 10]
    assert first.look([Demand("early", MINUTE, 0)], time.time()) == [1]


def _hold(folder: Path, pipe: Any) -> None:
    counts = CountFile(folder)
    pipe.send([isinstance(take(counts, (PARALLEL, 1), (DAY, 400)), Taken) for _ in range(2)])
    signal.pause()


def test_what_a_killed_worker_had_under_way_counts_no_more(tmp_path: Path) -> None:
    counts = CountFile(tmp_path)
    mine = taken(counts, (PARALLEL, 1), (DAY, 10))
    near, far = multiprocessing.Pipe()
    worker = multiprocessing.get_context("spawn").Process(target=_hold, args=(tmp_path, far))
    worker.start()
    assert near.recv() == [True, True]
    full(take(counts, (PARALLEL, 1)))

    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()

    taken(counts, (PARALLEL, 1))
    assert counts.look([Demand("a", PARALLEL, 0)], time.time()) == [2]
    assert counts.look([Demand("a", DAY, 0)], time.time()) == [10]
    counts.settle(mine, [0, 10], time.time())


def test_a_damaged_file_is_told_and_requests_go_on(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no counts at all")
    counts = SharedCounts(tmp_path, SharedSettings())

    let_in = [isinstance(counts.take([Demand("a", PARALLEL, 1)]), Taken) for _ in range(5)]

    assert let_in == [True, True, True, False, False]
    assert "damaged" in (counts.problem or "")


def test_without_redis_each_host_counts_alone_and_says_so(tmp_path: Path, redis: RedisServer) -> None:
    hosts = [SharedCounts(tmp_path / name, SharedSettings(redis=redis.url)) for name in ("one", "two")]
    running = [host.take([Demand("a", PARALLEL, 1)]) for host in (*hosts, hosts[0])]
    assert isinstance(hosts[1].take([Demand("a", PARALLEL, 1)]), Full)

    redis.stop()
    alone = [[isinstance(host.take([Demand("a", PARALLEL, 1)]), Taken) for _ in range(4)] for host in hosts]
    said = [host.problem for host in hosts]
    assert isinstance(running[0], Taken)
    hosts[0].settle(running[0], [0])
    redis.start()
    for host in hosts:
        host.beat()

    assert alone == [[True, True, True, False]] * 2
    assert all("each host counts separately" in (text or "") for text in said)
    assert [host.problem for host in hosts] == [None, None]
    assert isinstance(hosts[0].take([Demand("a", PARALLEL, 1)]), Taken)
    for host in hosts:
        host.close()


def test_a_redis_that_hangs_holds_up_one_request_and_loses_no_count(tmp_path: Path, redis: RedisServer) -> None:
    counts = SharedCounts(tmp_path, SharedSettings(redis=redis.url))
    demands = [Demand("a", TOKENS, 100), Demand("a", PARALLEL, 1)]
    running = [counts.take(demands) for _ in range(3)]
    redis.process.send_signal(signal.SIGSTOP)

    began = time.monotonic()
    assert isinstance(counts.take(demands), Taken)
    first = time.monotonic() - began
    for each in running:
        assert isinstance(each, Taken)
        counts.settle(each, [7, 0])
        counts.take(demands)
    others = time.monotonic() - began - first
    redis.process.send_signal(signal.SIGCONT)
    counts.beat()

    assert first < 5.0
    assert others < 1.0
    assert counts.look(demands) == [21, 0]


def test_a_redis_that_hung_counts_nothing_that_was_given_up(redis: RedisServer) -> None:
    counts = CountRedis(redis.url)
    running = taken(counts, (TOKENS, 100), (PARALLEL, 1))

    for ask in (
        lambda: take(counts, (TOKENS, 100), (PARALLEL, 1)),
        lambda: counts.settle(running, [7, 0], time.time()),
    ):
        redis.process.send_signal(signal.SIGSTOP)
        with pytest.raises(OSError, match="Redis"):
            ask()
        redis.process.send_signal(signal.SIGCONT)
        time.sleep(0.3)
        assert counts.look([Demand("a", TOKENS, 0), Demand("a", PARALLEL, 0)], time.time()) == [100, 1]
    counts.settle(running, [7, 0], time.time())

    assert counts.look([Demand("a", TOKENS, 0), Demand("a", PARALLEL, 0)], time.time()) == [7, 0]


def test_a_redis_whose_clock_is_set_forward_is_believed_at_the_next_request(redis: RedisServer) -> None:
    counts = CountRedis(redis.url)
    taken(counts, (TOKENS, 100))
    assert counts._ahead is not None
    counts._ahead -= 3_600_000

    with pytest.raises(OSError, match="too late"):
        take(counts, (TOKENS, 100))

    taken(counts, (TOKENS, 100))
    assert counts.look([Demand("a", TOKENS, 0)], time.time()) == [200]


def test_fail_closed_refuses_while_redis_is_gone(tmp_path: Path, redis: RedisServer) -> None:
    counts = SharedCounts(tmp_path, SharedSettings(redis=redis.url, fail_closed=True))
    redis.stop()

    for _ in range(3):
        with pytest.raises(LimitsUnavailable):
            counts.take([Demand("a", PARALLEL, 1)])


def test_counting_a_request_costs_next_to_nothing(tmp_path: Path) -> None:
    counts = CountFile(tmp_path)
    demands = [Demand("a", Limit("tokens", 10**12, "minute"), 5), Demand("a", Limit("parallel", 10**6), 1)]
    began = time.process_time()
    for _ in range(2000):
        found = counts.take(demands, time.time())
        assert isinstance(found, Taken)
        counts.settle(found, [7, 0], time.time())

    assert (time.process_time() - began) / 2000 < 200e-6


def test_a_window_has_as_many_buckets_as_a_slot_has_cells() -> None:
    assert PARTS * Limit("tokens", 1, "day").bucket == 86_400
