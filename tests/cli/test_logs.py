"""`dragoman logs` shows what a gateway logs, for people or as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import running_gateway as module
from app.cli.group import main
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

OLD = '{"time":"2026-02-03T10:20:30.123Z","level":"INFO","message":"the first"}'
NEW = '{"time":"2026-02-03T10:20:31.123Z","level":"WARNING","message":"the \\u001b[31msecond"}'
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.chdir(tmp_path)
    for name in ("DRAGOMAN_CONFIG", "DRAGOMAN_API_KEY", "PROXY_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments: CliRunner().invoke(main, ["logs", *arguments])


def events(*lines: str) -> Reply:
    return sse(b"retry: 2000\n\n", *(f"data: {line}\n\n".encode() for line in lines))


def test_the_last_lines_are_shown_for_people(run: Run) -> None:
    with FakeUpstream(events(OLD, NEW)) as gateway:
        shown = run("-n", "1", "--level", "info", "--text", "the", "--key", "k-1", "--url", gateway.url)

    assert shown.exit_code == 0
    assert shown.output.splitlines() == ["10:20:31 warn  the \\u001b[31msecond"]
    (seen,) = gateway.seen
    assert seen.path == "/api/logs/stream?level=info&text=the&follow=no"
    assert seen.headers["authorization"] == "Bearer k-1"


def test_json_is_what_was_logged(run: Run) -> None:
    with FakeUpstream(events(OLD)) as gateway:
        shown = run("--json", "--url", gateway.url)

    assert json.loads(shown.output)["message"] == "the first"


def test_following_repeats_nothing_and_outlives_a_connection(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", pause)
    with FakeUpstream(events(OLD), events(OLD), events(OLD, NEW)) as gateway:
        shown = run("-f", "--url", gateway.url)

    assert [line[:8] for line in shown.output.splitlines() if line.startswith("10:")] == ["10:20:30", "10:20:31"]


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (json_reply({"error": {"message": "only an admin may see the log"}}, 403), "only an admin may see the log"),
        (json_reply({}, 404), "HTTP 404"),
    ],
)
def test_a_refusal_ends_it_with_its_message(run: Run, reply: Reply, told: str) -> None:
    with FakeUpstream(reply) as gateway:
        shown = run("--url", gateway.url)

    assert shown.exit_code == 1
    assert told in shown.output


def test_nobody_there_is_said_with_the_address(run: Run) -> None:
    shown = run("--url", "http://127.0.0.1:9")

    assert shown.exit_code == 1
    assert "no gateway answers at http://127.0.0.1:9" in shown.output
