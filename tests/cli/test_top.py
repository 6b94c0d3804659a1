"""`dragoman top` shows what runs, and says plainly why it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli.group import main
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply

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


@pytest.fixture
def gateway() -> Iterator[FakeUpstream]:
    with FakeUpstream(json_reply({"running": [RUNNING], "workers": 2, "complete": True})) as server:
        yield server


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("DRAGOMAN_CONFIG", "DRAGOMAN_API_KEY", "PROXY_API_KEY"):
        monkeypatch.delenv(name, raising=False)
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
        "claude?[31m-opus",
        "oca/gpt-4.1",
        "65.4",
        "1.2",
        "12,345",
        "3.2",
        "2",
    ]
    seen, *_ = gateway.seen
    assert (seen.path, seen.headers["authorization"]) == ("/_/api/running", "Bearer k-first")


def test_the_latest_requests_and_the_providers_stand_below(run: Run) -> None:
    row = {
        "received": 1.0, "id": "r0", "key": "", "model": "sonnet", "target": "up/m", "status": 502, "ms": 30,
        "fresh": None, "output": None, "cost": None, "terminal": "error", "error": "unreachable",
    }  # fmt: skip
    down = {"authenticated": False, "problem": "no login", "last_failure": {"time": "then", "message": "it is down"}}
    running = json_reply({"running": [], "workers": 1, "complete": True})
    with FakeUpstream(running, json_reply({"requests": [row]}), json_reply({"providers": {"up": down}})) as gateway:
        shown = run("--once", "--url", gateway.url)

    lines = [line.split() for line in shown.output.splitlines()]
    assert lines[0][1:] == ["0", "running,", "1", "worker"]
    assert lines[-5][2:] == ["r0", "-", "sonnet", "up/m", "502", "30", "-", "-", "-", "error", "unreachable"]
    assert lines[-1] == ["up", "no", "login", "-", "then", "it", "is", "down"]
    assert [seen.path for seen in gateway.seen][1:] == ["/_/api/requests?limit=5", "/health"]


def test_json_is_what_the_gateway_said(run: Run, gateway: FakeUpstream) -> None:
    shown = run("--json", "--url", gateway.url)

    assert json.loads(shown.output)["running"][0]["target"] == "oca/gpt-4.1"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (json_reply({"error": {"message": "a client key is required"}}, 401), "a client key is required"),
        (json_reply({"running": "many"}), "is not a gateway of this version"),
        (Reply((b"<html>",), framing="length"), "no gateway answers"),
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
