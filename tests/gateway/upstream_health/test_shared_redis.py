"""Hosts tell one another of upstreams in trouble, by a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.conversation.capabilities import Capabilities
from app.errors import UpstreamTimeout, UpstreamUnreachable
from app.gateway.failures.learned_facts import COOL_DOWN, FactNote, LearnedFacts
from app.gateway.failures.repairs.change import Change
from app.gateway.upstream_health.health import OPEN, BreakerNote, RetryNote, UpstreamHealth
from app.gateway.upstream_health.shared_redis import KEY, SharedRedis
from app.gateway.upstream_health.shared_state import CooldownNote, SharedNotes, SharedState, Upstreams, encode_notes
from tests.support.redis_server import RedisServer


class Host:
    """One worker of a host whose monotonic clock has a beginning of its own."""

    def __init__(self, folder: Path, url: str, began: float, *, knows_tenants: bool = True) -> None:
        folder.mkdir(exist_ok=True)
        self.now = began
        self.health = UpstreamHealth(lambda: self.now)
        self.facts = LearnedFacts(lambda: self.now)
        self.file = SharedState(folder)
        self.redis = SharedRedis(url, knows_tenants=knows_tenants, clock=lambda: self.now)

    def share(self) -> None:
        upstreams = Upstreams(self.health, self.facts, {})
        heard = self.redis.exchange(self.file.round(upstreams))
        if heard is not None:
            self.file.round(upstreams, heard)

    def fail(self, target: str = "chat/m") -> None:
        for _ in range(3):
            self.health.fail(target, "anna", UpstreamUnreachable("no"), b"", OPEN)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as redis:
        yield redis


def open_hosts(folder: Path, server: RedisServer, *, knows_tenants: bool = True) -> tuple[Host, Host]:
    """Two hosts, the second of which has run for 11 days longer."""
    return (
        Host(folder / "one", server.url, 1000.0, knows_tenants=knows_tenants),
        Host(folder / "two", server.url, 950_000.0, knows_tenants=knows_tenants),
    )


def test_what_one_host_cannot_reach_the_other_does_not_ask_for_as_long(tmp_path: Path, server: RedisServer) -> None:
    one, two = open_hosts(tmp_path, server)
    one.fail()

    one.share()
    two.share()

    (told,), (heard,) = list(one.health.targets()), list(two.health.targets())
    assert (heard.target, heard.state, heard.fault) == (told.target, "open", "unreachable")
    assert heard.seconds == pytest.approx(told.seconds, abs=0.5)


def test_what_one_host_has_learned_and_was_asked_for_the_other_knows(tmp_path: Path, server: RedisServer) -> None:
    one, two = open_hosts(tmp_path, server)
    one.facts.report("chat/m", "anna", "seed", Change({"seed": False}), times=1)
    one.facts.report("chat/m", "anna", COOL_DOWN, times=1, seconds=60)

    one.share()
    two.share()

    assert not two.facts.adapt("chat/m", "anna", Capabilities(dialect="openai_chat")).seed
    assert two.facts.holds("chat/m", "anna", COOL_DOWN)
    two.now += 61
    assert not two.facts.holds("chat/m", "anna", COOL_DOWN)


@pytest.mark.parametrize("jump", [-8 * 3600, -30, 30, 8 * 3600])
def test_a_host_that_was_suspended_and_a_redis_whose_clock_was_set_are_understood(
    tmp_path: Path, server: RedisServer, jump: int
) -> None:
    one, two = open_hosts(tmp_path, server)
    one.share()
    two.share()

    two.now += jump
    one.fail()
    one.facts.report("chat/m", "anna", COOL_DOWN, times=1, seconds=60)
    one.share()
    two.share()

    (told,), (heard,) = list(one.health.targets()), list(two.health.targets())
    assert heard.seconds == pytest.approx(told.seconds, abs=0.5)
    assert two.facts.holds("chat/m", "anna", COOL_DOWN)
    two.now += 61
    assert not two.facts.holds("chat/m", "anna", COOL_DOWN)


def test_a_host_with_a_ledger_of_its_own_tells_nothing_of_tenants(tmp_path: Path, server: RedisServer) -> None:
    one, two = open_hosts(tmp_path, server, knows_tenants=False)
    one.facts.report("chat/m", "anna", "seed", Change({"seed": False}), times=1)
    for _ in range(5):
        one.health.fail("chat/n", "anna", UpstreamTimeout("first_byte", 1.0), b"", OPEN)
    one.fail("chat/o")

    one.share()
    two.share()

    assert [state.target for state in two.health.targets()] == ["chat/o"]
    assert list(two.facts.known()) == []


def test_nothing_is_written_while_nothing_is_new(tmp_path: Path, server: RedisServer) -> None:
    one, two = open_hosts(tmp_path, server)
    one.fail()
    two.facts.report("chat/m", "anna", COOL_DOWN, times=1, seconds=60)
    for _ in range(3):
        one.share()
        two.share()
    before = server.connect().get(KEY)

    for _ in range(5):
        one.now += 0.1
        two.now += 0.1
        one.share()
        two.share()

    assert server.connect().get(KEY) == before


def test_hosts_go_on_without_redis_and_hear_of_each_other_when_it_is_back(tmp_path: Path, server: RedisServer) -> None:
    one, two = open_hosts(tmp_path, server)
    one.fail()
    server.kill()

    one.share()
    two.share()
    problems = [one.redis.problem, two.redis.problem]
    server.start()
    one.share()
    two.share()

    assert all(problem and "no Redis" in problem for problem in problems)
    assert (one.redis.problem, two.redis.problem) == (None, None)
    assert two.health.spares("chat/m", "bert")


@pytest.mark.parametrize("value", [b"", b"nonsense", b"\x81\xa8breakers\xc3", b"\x00" * 5000])
def test_a_value_that_cannot_be_read_is_written_anew(tmp_path: Path, server: RedisServer, value: bytes) -> None:
    one, two = open_hosts(tmp_path, server)
    server.connect().set(KEY, value)
    one.fail()

    one.share()
    two.share()

    assert two.health.spares("chat/m", "anna")


ODD = [float("inf"), float("nan"), 1e308, 1e15]


@pytest.mark.parametrize("moment", ODD)
def test_notes_of_impossible_times_rule_nobody_and_are_no_newest_word(
    moment: float, tmp_path: Path, server: RedisServer
) -> None:
    one, two = open_hosts(tmp_path, server)
    planted = SharedNotes(
        [BreakerNote("chat/m", moment, moment, "gone", 10**9, moment, 10**9, ("x",) * 500)],
        [FactNote("chat/m", "anna", COOL_DOWN, moment), FactNote("chat/m", "bert", COOL_DOWN, moment)],
        [CooldownNote("chat", "a", moment)],
        [RetryNote("chat", "other", moment, 0, 10**12)],
    )
    server.connect().set(KEY, encode_notes(planted))

    one.share()
    assert not one.health.spares("chat/m", "anna")
    assert not one.facts.holds("chat/m", "carl", COOL_DOWN)
    assert one.health.budget("chat").spend(one.now)

    one.fail()
    one.share()
    two.share()
    assert two.health.spares("chat/m", "bert"), "what a host has met is told all the same"
    one.health.adopt(planted.breakers)
    one.health.adopt_retries(planted.retries, "this")
    one.health.succeed("chat/m")
    one.health.adopt(planted.breakers)
    assert not one.health.spares("chat/m", "anna")


@pytest.mark.parametrize(
    "planted",
    [b"", b"\xc1", b"\x90", b"\xff" * 5000, b"\x94" + b"\x91" * 5000, bytes(8 << 20), encode_notes(SharedNotes())[:-1]],
    ids=["nothing", "no code", "an empty list", "bytes", "deep lists", "8 MB", "a part"],
)
def test_a_planted_value_is_no_word_of_a_host(planted: bytes, tmp_path: Path, server: RedisServer) -> None:
    one, two = open_hosts(tmp_path, server)
    server.connect().set(KEY, planted)
    one.fail()

    one.share()
    two.share()

    assert one.redis.problem is None
    assert two.health.spares("chat/m", "bert")


def test_a_value_of_another_type_is_a_problem_that_is_told(tmp_path: Path, server: RedisServer) -> None:
    one, _ = open_hosts(tmp_path, server)
    server.connect().rpush(KEY, b"x")

    one.share()

    assert one.redis.problem is not None
