"""`dragoman top` shows what runs, and says plainly why it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli import running_gateway
from app.cli.group import main
from tests.cli.machine import Machine
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

RUNNING: dict[str, Any] = {
    "id": "r1",
    "key": "ana",
    "agent": "claude-cli/2.1",
    "model": "claude\x1b[31m-opus",
    "target": "oca/gpt-4.1",
    "times": {"end": 65_400, "first_token": 1200},
    "bytes_out": 12_345,
    "silent": 3210,
    "attempts": [{}, {}],
}
Run = Callable[..., Result]


def tell(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def stream(*running: dict[str, Any], before: bytes = b"", workers: int = 1, complete: bool = True) -> Reply:
    """What a gateway sends within the first second."""
    return sse(before, tell("running", {"running": running, "workers": workers, "complete": complete}))


@pytest.fixture
def gateway() -> Iterator[FakeUpstream]:
    with FakeUpstream(stream(RUNNING, workers=2)) as server:
        yield server


@pytest.fixture
def run(machine: Machine) -> Run:
    return lambda *arguments: CliRunner().invoke(main, ["top", *arguments])


def test_one_look_shows_each_request_on_a_line(run: Run, gateway: FakeUpstream) -> None:
    shown = run("--once", "--url", gateway.url, "--key", "k-first")

    assert shown.exit_code == 0
    first, headings, line = shown.output.splitlines()
    assert first.endswith("1 running, 2 workers")
    assert headings.split()[0] == "id"
    assert line.split() == [
        "r1",
        "ana",
        "claude-cli/2.1",
        "claude\\u001b[31m-opus",
        "oca/gpt-4.1",
        "65.4",
        "1.2",
        "12,345",
        "3.2",
        "2",
    ]
    seen, *_ = gateway.seen
    assert (seen.path, seen.headers["authorization"]) == ("/_/api/live?running=yes&limit=5", "Bearer k-first")


def test_the_latest_requests_and_the_providers_stand_below(run: Run) -> None:
    row = {
        "received": 1.0, "id": "r0", "key": "", "model": "sonnet", "target": "up/m", "status": 502, "ms": 30,
        "fresh": None, "output": None, "cost": None, "terminal": "error", "error": "unreachable",
    }  # fmt: skip
    down = {"authenticated": False, "problem": "no login", "last_failure": {"time": "then", "message": "it is down"}}
    before = tell("request", row) + tell("ready", {}) + tell("providers", {"up": down})
    with FakeUpstream(stream(before=before)) as gateway:
        shown = run("--once", "--url", gateway.url)

    lines = [line.split() for line in shown.output.splitlines()]
    assert lines[0][1:] == ["0", "running,", "1", "worker"]
    assert lines[-5][2:] == ["r0", "-", "sonnet", "up/m", "502", "30", "-", "-", "-", "error", "unreachable"]
    assert lines[-1] == ["up", "no", "login", "-", "then", "it", "is", "down"]


def test_json_is_what_the_gateway_said(run: Run, gateway: FakeUpstream) -> None:
    shown = run("--json", "--url", gateway.url)

    assert json.loads(shown.output)["running"][0]["target"] == "oca/gpt-4.1"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (json_reply({"error": {"message": "a client key is required"}}, 401), "a client key is required"),
        (sse(tell("running", {"running": "many"})), "the connection to"),
        (Reply((b"<html>",), framing="length"), "the connection to"),
    ],
)
def test_a_gateway_that_does_not_tell_ends_it_with_a_sentence(run: Run, reply: Reply, said: str) -> None:
    with FakeUpstream(reply) as server:
        shown = run("--once", "--url", server.url)

    assert shown.exit_code == 1
    assert said in shown.output
    assert "Traceback" not in shown.output


def test_nobody_there_is_said_with_the_address(run: Run) -> None:
    shown = run("--once", "--url", "http://127.0.0.1:9")

    assert shown.exit_code == 1
    assert "http://127.0.0.1:9" in shown.output


def test_the_screen_is_drawn_anew_each_second_until_its_user_leaves(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running_gateway.time, "sleep", leave)
    twice = stream(RUNNING), stream(RUNNING, workers=2)
    with FakeUpstream(sse(*(piece for each in twice for piece in each.pieces))) as server:
        shown = run("--url", server.url)

    heads = [line.split("  ")[1] for line in shown.output.splitlines() if "running," in line]
    assert heads == ["1 running, 1 worker", "1 running, 2 workers"]
    assert shown.exit_code == 130
