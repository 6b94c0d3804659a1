"""`dragoman permissions` at a running gateway."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest
import requests

from tests.support.gateway_process import BIN, GatewayProcess, bare_environ

QUESTION = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {
        "name": "check_permission",
        "arguments": {"tool_name": "Bash", "input": {"command": "ls \x1b[2J\x9b1m"}},
    },
}


@pytest.mark.parametrize(("typed", "decision"), [("y\n", "allow"), ("n\n", "deny"), ("\n", "deny")])
def test_a_person_at_a_terminal_decides(tmp_path: Path, typed: str, decision: str) -> None:
    decided: list[str] = []

    with GatewayProcess(tmp_path) as gateway:
        asking = threading.Thread(
            target=lambda: decided.append(requests.post(f"{gateway.url}/mcp", json=QUESTION, timeout=20).text)
        )
        command = [str(BIN / "dragoman"), "permissions", "--url", gateway.url, "--no-reconnect"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=bare_environ(tmp_path / "home")
        ) as terminal:
            assert terminal.stdin is not None
            terminal.stdin.write(typed)
            terminal.stdin.flush()
            asking.start()
            asking.join(20)
            terminal.terminate()
            shown = terminal.stdout.read() if terminal.stdout is not None else ""

    assert f'\\"behavior\\":\\"{decision}\\"' in decided[0]
    assert "Bash" in shown
    assert "\x1b" not in shown
    assert "\x9b" not in shown


def test_a_gateway_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(BIN / "dragoman"), "permissions", "--url", "http://127.0.0.1:9"],
        capture_output=True,
        text=True,
        env=bare_environ(tmp_path),
        timeout=20,
    )

    assert done.returncode == 1
    assert "http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
