"""Workers tell one another of upstreams in trouble."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UpstreamUnreachable
from app.gateway.failures.learned_facts import COOL_DOWN, LearnedFacts
from app.gateway.upstream_health.health import OPEN, UpstreamHealth
from app.gateway.upstream_health.shared_state import SharedState


class Worker:
    """What one worker knows; `now` is the machine's clock."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.health = UpstreamHealth(lambda: self.now)
        self.facts = LearnedFacts(lambda: self.now)
        self._shared = SharedState(folder)

    def share(self) -> None:
        self._shared.round(self.health, self.facts)

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
