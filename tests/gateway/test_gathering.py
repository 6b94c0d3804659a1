"""A stream whose events follow each other at once is read in larger parts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from app.gateway.delivery import AT_ONCE, GATHERING, LARGE_READ, StartedResponse, deliver_stream
from app.gateway.record import Record

# The part that completes the answer.
LAST = b"the end"


class Upstream:
    """A stream whose parts come after these seconds, and the clock that they pass on."""

    def __init__(self, parts: list[tuple[float, bytes]]) -> None:
        self.now = 0.0
        self.paused: list[float] = []
        self.kept: list[bytes] = []  # that the caller holds while it waits for a part
        self.finished = False
        self.usage = None
        self._parts: Iterator[tuple[float, bytes]] = iter(parts)

    def read_part(self, _wait: float) -> bytes:
        self.kept += [value for value in sys._getframe(1).f_locals.values() if isinstance(value, bytes) and value]
        pause, part = next(self._parts, (1.0, b""))
        self.now += pause
        self.finished = not part or part == LAST
        return part

    def run(self, part: bytes) -> tuple[bytes, bytes]:
        return part, b""

    def close(self) -> bytes:
        return b""


def deliver(monkeypatch: pytest.MonkeyPatch, *parts: tuple[float, bytes]) -> tuple[list[bytes], list[float]]:
    return deliver_from(monkeypatch, upstream := Upstream(list(parts))), upstream.paused


def deliver_from(monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> list[bytes]:
    monkeypatch.setattr("app.gateway.delivery.time.sleep", upstream.paused.append)
    both: Any = upstream  # the exchange and the stream
    started = StartedResponse(both, both, both, b"first", {})
    record = Record("1", "openai_chat")
    return list(deliver_stream(started, record, 15.0, lambda: upstream.now, 1 << 20))


def test_what_follows_at_once_is_delivered_first_and_then_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    delivered, paused = deliver(monkeypatch, (0.1, b"one"), (AT_ONCE / 2, b"two"), (AT_ONCE / 2, b"three"))

    assert delivered == [b"first", b"one", b"two", b"three"]
    assert paused == [GATHERING, GATHERING]


def test_a_stream_at_the_pace_of_a_model_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    _, paused = deliver(monkeypatch, *((AT_ONCE * 2, b"part") for _ in range(20)))

    assert paused == []


def test_reads_that_bring_much_never_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    _, paused = deliver(monkeypatch, *((0.0, b"x" * LARGE_READ) for _ in range(20)))

    assert paused == []


def test_the_end_of_a_burst_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    delivered, paused = deliver(monkeypatch, (0.1, b"one"), (AT_ONCE / 2, LAST))

    assert delivered == [b"first", b"one", LAST]
    assert paused == []


def test_nothing_of_a_stream_is_kept_while_more_of_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = Upstream([(0.1, b"one"), (0.1, b"two")])

    delivered = deliver_from(monkeypatch, upstream)

    assert delivered == [b"first", b"one", b"two"]
    assert upstream.kept == []
