"""Workers tell one another of upstreams in trouble."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.conversation.capabilities import Capabilities
from app.credentials.pool import CredentialPool, PoolMember
from app.credentials.static import StaticSource
from app.errors import UpstreamUnreachable
from app.gateway.failures.learned_facts import COOL_DOWN, LearnedFacts
from app.gateway.failures.repairs.change import Change
from app.gateway.upstream_health.health import OPEN, UpstreamHealth
from app.gateway.upstream_health.retry_budget import FLOOR
from app.gateway.upstream_health.shared_state import SharedState, Upstreams
from app.providers.health import NEWS_PERIOD, ProviderHealth
from app.providers.quotas import QuotaWindow


class Worker:
    """What one worker knows; `now` is the machine's clock."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.health = UpstreamHealth(lambda: self.now)
        self.facts = LearnedFacts(lambda: self.now)
        self.pool = CredentialPool(
            [PoolMember(name, StaticSource("openai", source=name, api_key=f"sk-{name}")) for name in "ab"],
            lambda: self.now,
        )
        self.outcome = ProviderHealth(lambda: self.now)
        self.upstreams = Upstreams(self.health, self.facts, {"chat": self.pool}, {"chat/1": self.outcome})
        self.shared = SharedState(folder)

    def share(self) -> None:
        self.shared.round(self.upstreams)

    def fail(self, times: int = 3) -> None:
        for _ in range(times):
            self.health.fail("chat/m", "anna", UpstreamUnreachable("no"), b"", OPEN)


@pytest.fixture
def workers(tmp_path: Path) -> tuple[Worker, Worker]:
    return Worker(tmp_path), Worker(tmp_path)


def test_what_one_worker_cannot_reach_the_other_does_not_ask(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.fail()

    one.share()
    other.share()

    assert other.health.spares("chat/m", "bert")
    assert list(other.health.targets()) == list(one.health.targets())


def test_what_answers_one_worker_again_is_asked_by_the_other(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.fail()
    one.share()
    other.share()

    one.now = other.now = 1001.0
    other.health.succeed("chat/m")
    other.share()
    one.share()

    assert not one.health.spares("chat/m", "anna")
    assert list(one.health.targets()) == []


def test_a_pause_that_one_worker_was_asked_for_is_kept_by_the_other(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.facts.report("chat/m", "anna", COOL_DOWN, times=1, seconds=60)

    one.share()
    other.share()

    assert other.facts.holds("chat/m", "anna", COOL_DOWN)
    assert not other.facts.holds("chat/m", "bert", COOL_DOWN)
    other.now = 1061.0
    assert not other.facts.holds("chat/m", "anna", COOL_DOWN)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x81\xa8breakers\xc3", b"\x00" * 5000])
def test_a_file_that_cannot_be_read_is_written_anew(
    workers: tuple[Worker, Worker], tmp_path: Path, content: bytes
) -> None:
    one, other = workers
    (tmp_path / "upstreams").write_bytes(content)
    one.fail()

    one.share()
    other.share()

    assert other.health.spares("chat/m", "anna")


def test_nothing_is_written_while_nothing_is_new(workers: tuple[Worker, Worker], tmp_path: Path) -> None:
    one, other = workers
    one.fail()
    one.share()
    other.share()
    before = (tmp_path / "upstreams").stat()

    for _ in range(5):
        one.share()
        other.share()

    after = (tmp_path / "upstreams").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_one_worker_has_learned_the_other_knows_for_the_same_tenant(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    chat = Capabilities(dialect="openai_chat")
    one.facts.report("chat/m", "anna", "seed", Change({"seed": False}, ("seed",)), times=1)
    one.facts.report("chat/m", "anna", "top_k", Change(refused=("top_k",)), times=2)

    one.share()
    other.share()

    adapted = other.facts.adapt("chat/m", "anna", chat)
    assert (adapted.seed, adapted.refused_fields) == (False, ("seed",))
    assert other.facts.adapt("chat/m", "bert", chat) == chat


def test_a_fact_of_another_version_is_passed_over(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.facts.report("chat/m", "anna", "hologram", Change({"hologram": False}), times=1)

    one.share()
    other.share()

    assert list(other.facts.known()) == []


def test_a_credential_that_rests_at_one_worker_rests_at_the_other(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.pool.switch(one.pool.members[0].snapshot(), "", 60.0, for_all=True)

    one.share()
    other.share()

    assert [member.cooldown for member in other.pool.describe_members()] == [60.0, 0.0]


def test_a_rest_of_one_tenant_is_that_tenants_at_the_other_worker_too(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.pool.switch(one.pool.members[0].snapshot(), "", 60.0, "anna")

    one.share()
    other.share()

    assert {other.pool.choose("", "anna").name for _ in range(4)} == {"b"}
    assert {other.pool.choose("", "bert").name for _ in range(4)} == {"a", "b"}


def test_tenants_apart_may_have_met_it_at_workers_apart(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.pool.switch(one.pool.members[0].snapshot(), "", 60.0, "anna")
    other.pool.switch(other.pool.members[0].snapshot(), "", 60.0, "bert")

    one.share()
    other.share()

    assert {other.pool.choose("", "carl").name for _ in range(4)} == {"b"}


def test_workers_spend_one_budget_of_retries_together(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    other.shared._worker = "other"
    while one.health.budget("chat").spend(one.now):
        pass

    one.share()
    other.share()

    assert one.health.budget("chat").count(one.now) == (0, FLOOR)
    assert not other.health.budget("chat").spend(other.now)
    one.now = other.now = 1061.0
    one.share()
    other.share()
    assert other.health.budget("chat").spend(other.now)


def test_what_one_worker_has_met_the_other_tells_too(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.outcome.succeed()
    one.outcome.quotas = {"": (QuotaWindow("5h", 0.4, None),)}
    other.now = 1001.0
    other.outcome.fail(UpstreamUnreachable("no"))

    for worker in (one, other, one, other):
        worker.share()

    for worker in workers:
        assert worker.outcome.last_success == 1000.0
        assert worker.outcome.failing_since == 1001.0
        assert worker.outcome.problem is not None
        assert worker.outcome.quotas[""][0].used == 0.4


def test_a_success_at_one_worker_ends_the_trouble_at_the_other(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.outcome.succeed()
    one.outcome.fail(UpstreamUnreachable("no"))
    for worker in workers:
        worker.share()
    assert other.outcome.problem is not None

    other.now = 1002.0
    other.outcome.succeed()
    other.share()
    one.share()

    assert one.outcome.problem is None
    assert one.outcome.last_success == 1002.0
    assert one.outcome.last_failure is not None


def test_of_many_successes_the_other_workers_are_told_now_and_then(
    workers: tuple[Worker, Worker], tmp_path: Path
) -> None:
    one, other = workers
    written = set()
    for second in range(int(2 * NEWS_PERIOD)):
        one.now = 1000.0 + second
        one.outcome.succeed()
        one.share()
        written.add((tmp_path / "upstreams").stat().st_mtime_ns)
    other.share()

    assert len(written) == 2
    assert other.outcome.last_success == 1000.0 + NEWS_PERIOD


def test_a_provider_with_another_key_has_no_outcome_yet(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.outcome.fail(UpstreamUnreachable("no"))
    other.upstreams = Upstreams(other.health, other.facts, {}, {"chat/2": other.outcome})

    one.share()
    other.share()

    assert other.outcome.problem is None
