"""A program that was started ahead is told one request, as a whole, and only one of its pool_key."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from app.providers.kinds.claude_cli import early_programs
from app.providers.kinds.claude_cli.early_programs import EarlyPrograms
from app.providers.kinds.claude_cli.order import Order, write_order
from app.providers.kinds.claude_cli.output import Output
from app.transport.process import Process
from tests.support.clock import wait_until

# It says what it is told.
ECHO = ("/bin/sh", "-c", "cat")
GONE = ("/bin/sh", "-c", "exit 1")


def order(program: tuple[str, ...] = ECHO, text: str = "hi", **environ: str) -> Order:
    body = {"messages": [{"role": "user", "content": text}], "system": "Be brief.", "temperature": 0.5}
    return write_order(program, {"PATH": "/usr/bin:/bin", **environ}, "m", msgspec.json.encode(body))


@pytest.fixture
def early() -> Iterator[EarlyPrograms]:
    programs = EarlyPrograms(1)
    yield programs
    programs.end()


def prepare(early: EarlyPrograms, prepared: Order) -> None:
    early.prepare(prepared)
    wait_until(lambda: early._waiting)


def read_all(process: Process) -> list[Any]:
    said = b""
    while part := process.read(5):
        said += part
    process.end()
    return [json.loads(line) for line in said.splitlines()]


def test_it_is_told_the_system_and_the_fields_and_then_the_turn(early: EarlyPrograms) -> None:
    prepare(early, order())
    asked = order(text="a" * 300_000)

    process = early.take(asked)

    assert process is not None
    first, second, turn = read_all(process)
    assert first["request"] == {"subtype": "initialize", "systemPrompt": ["Be brief."]}
    extra = json.loads(second["request"]["settings"]["env"]["CLAUDE_CODE_EXTRA_BODY"])
    assert (extra["temperature"], extra["messages"][0]["content"]) == (0.5, "a" * 300_000)
    assert turn["type"] == "user"


def test_each_is_used_once(early: EarlyPrograms) -> None:
    prepare(early, order())

    first = early.take(order())

    assert first is not None
    first.end()
    assert early.take(order()) is None


@pytest.mark.parametrize("other", [order(TOKEN="another"), order(("/bin/sh", "-c", "cat -"))], ids=["login", "program"])
def test_a_request_of_another_kin_gets_none(early: EarlyPrograms, other: Order) -> None:
    prepare(early, order())

    assert early.take(other) is None
    prepare(early, other)
    wait_until(lambda: early._waiting[0][0] == other.pool_key)
    assert len(early._waiting) == 1


def test_one_that_has_ended_or_waited_for_too_long_is_not_used(
    early: EarlyPrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(early, order(GONE))
    wait_until(lambda: not early._waiting[0][2].runs)
    assert early.take(order(GONE)) is None

    early.prepare(order())
    wait_until(lambda: early._waiting and early._waiting[0][0] == order().pool_key)
    monkeypatch.setattr(early_programs, "LIFETIME", 0.0)
    time.sleep(0.01)
    assert early.take(order()) is None


def test_none_is_started_ahead_unless_wanted() -> None:
    none = EarlyPrograms(0)

    none.prepare(order())

    time.sleep(0.1)
    assert not none._waiting


def test_their_end_leaves_nothing_behind(early: EarlyPrograms) -> None:
    prepare(early, order())
    process = early._waiting[0][2]

    early.end()

    assert not process.runs
    assert not process._folder.exists()


def test_a_program_that_refuses_what_it_is_told_is_heard() -> None:
    output = Output()
    refusal = {"subtype": "error", "request_id": "apply_flag_settings", "error": "Unknown control request"}

    output.feed(json.dumps({"type": "control_response", "response": {"subtype": "success"}}).encode() + b"\n")
    assert output.trouble is None
    output.feed(json.dumps({"type": "control_response", "response": refusal}).encode() + b"\n")

    assert output.trouble is not None
    assert output.trouble.message == "Unknown control request"
