"""`dragoman requests -f` and `top` follow the gateway's own stream, over restarts, and end without a word."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner, Result

from app.accounts.accounts import Accounts
from app.cli import running_gateway
from app.cli.accounts import following
from app.cli.group import main
from app.settings import AccountsSettings
from tests.accounts.records import record
from tests.cli.machine import Machine
from tests.support.fake_upstream import CUT, STALL, FakeUpstream, Reply, json_reply, sse
from tests.support.gateway_process import BIN, GatewayProcess, bare_environ

Run = Callable[..., Result]
ROW: dict[str, Any] = {
    "received": 1.0, "id": "r0", "key": "", "model": "son\x1b[31mnet", "target": "up/m", "status": 502, "ms": 30,
    "fresh": None, "cache_read": 0, "cache_written": 0, "output": None, "cost": None, "terminal": "error",
    "error": "unreachable",
}  # fmt: skip


def event(name: str, data: object, number: int | None = None) -> bytes:
    mark = "" if number is None else f"id: {number}\n"
    return f"event: {name}\n{mark}data: {json.dumps(data)}\n\n".encode()


def row(number: int) -> bytes:
    return event("request", {**ROW, "id": f"r{number}"}, number)


@pytest.fixture
def run(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command that pauses three times at most, and then is interrupted by its user."""
    left = [3]

    def pause(_seconds: float) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(running_gateway.time, "sleep", pause)
    monkeypatch.setattr(following.time, "sleep", pause)
    return lambda *arguments: CliRunner().invoke(main, [*arguments])


def test_a_connection_that_ends_is_taken_up_where_it_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAGOMAN_API_KEY", "k-1")
    replies = (
        sse(row(1), event("ready", {}, 1), row(2)),
        sse(b": still here\n\n", CUT),
        sse(event("ready", {}), row(3)),
    )
    with FakeUpstream(*replies, json_reply({"error": {"message": "it starts"}}, 503)) as gateway:
        shown = run("requests", "-f", "--failed", "--client", "cli", "-n", "7", "--url", gateway.url)

    assert [line.split()[2] for line in shown.stdout.splitlines()[1:]] == ["r1", "r2", "r3"]
    assert "\x1b" not in shown.stdout
    assert gateway.seen[0].path == "/_/api/live?client=cli&limit=7&failed=1"
    assert gateway.seen[0].headers["authorization"] == "Bearer k-1"
    assert [seen.headers.get("last-event-id") for seen in gateway.seen] == [None, "2", "2", "3"]
    assert "it starts; trying again" in shown.stderr
    assert (shown.exit_code, "Aborted" in shown.stderr) == (130, False)


def test_new_requests_stand_below_the_columns_of_the_first(run: Run) -> None:
    with FakeUpstream(sse(row(1), event("ready", {}, 1), row(2))) as gateway:
        shown = run("requests", "-f", "--url", gateway.url)

    first, second = shown.stdout.splitlines()[1:3]
    assert first.replace("r1", "r2") == second


def test_json_and_csv_are_followed_by_the_line(run: Run) -> None:
    replies = (sse(row(1), event("ready", {}, 1), row(2)), sse(STALL))
    shown = []
    for how in ("--json", "--csv"):
        with FakeUpstream(*replies[:1], json_reply({}, 503)) as gateway:
            shown.append(run("requests", "-f", how, "--url", gateway.url).stdout)

    assert [json.loads(line)["id"] for line in shown[0].splitlines()] == ["r1", "r2"]
    assert [each["id"] for each in csv.DictReader(io.StringIO(shown[1]))] == ["r1", "r2"]


def test_where_no_gateway_runs_the_accounts_are_read_and_that_is_said(run: Run, machine: Machine) -> None:
    url = f"sqlite:///{machine.folder}/ledger.sqlite3"
    machine.write("dragoman.toml", f'[server]\nport = 9\n[ledger]\nurl = "{url}"\n[providers.demo]\n').chmod(0o600)
    accounts = Accounts(AccountsSettings(), url)
    accounts.take([record(1, received=time.time())])
    accounts.close()

    shown = run("requests", "-f", "--json")

    assert "no gateway answers at http://127.0.0.1:9" in shown.stderr
    assert "The accounts are read instead" in shown.stderr
    assert [json.loads(line)["key"] for line in shown.stdout.splitlines()] == ["ana"]
    assert shown.exit_code == 130


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (json_reply({"error": {"message": "a client key is required"}}, 401), "a client key is required"),
        (Reply((b"<html>",), 404, framing="length"), "HTTP 404"),
    ],
)
@pytest.mark.parametrize("command", [("requests", "-f"), ("top",), ("top", "--once")])
def test_a_refusal_ends_it_with_its_message(run: Run, reply: Reply, told: str, command: tuple[str, ...]) -> None:
    with FakeUpstream(reply) as gateway:
        shown = run(*command, "--url", gateway.url)

    assert shown.exit_code == 1
    assert told in shown.stderr
    assert "Traceback" not in shown.output


def test_a_person_sees_requests_end_while_the_gateway_restarts(tmp_path: Path) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    with GatewayProcess(tmp_path) as gateway:
        environ = bare_environ(tmp_path / "home", PYTHONUNBUFFERED="1")
        command = [str(BIN / "dragoman"), "requests", "-f", "--json", "--url", gateway.url]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
        ) as terminal:
            assert terminal.stdout is not None
            assert terminal.stderr is not None
            requests.post(f"{gateway.url}/v1/messages", json=body, timeout=10)
            first = json.loads(terminal.stdout.readline())
            gateway.signal(signal.SIGHUP)
            time.sleep(1.5)
            requests.post(f"{gateway.url}/v1/chat/completions", json=body, timeout=10)
            second = json.loads(terminal.stdout.readline())
            terminal.send_signal(signal.SIGINT)
            status, said = terminal.wait(10), terminal.stderr.read()

    assert [each["path"] for each in (first, second)] == ["/v1/messages", "/v1/chat/completions"]
    assert (status, said) == (130, "")


def test_a_slow_terminal_does_not_fill_memory(tmp_path: Path) -> None:
    large = event("request", {**ROW, "model": "m" * 100_000}, 1)
    with FakeUpstream(sse(event("ready", {}, 0), *(large for _ in range(1500)))) as gateway:
        command = [str(BIN / "dragoman"), "requests", "-f", "--url", gateway.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=bare_environ(tmp_path)) as terminal:
            time.sleep(4)
            status = Path(f"/proc/{terminal.pid}/status").read_text()
            terminal.send_signal(signal.SIGINT)
            terminal.communicate(timeout=10)

    (used,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")]
    assert used < 110_000
