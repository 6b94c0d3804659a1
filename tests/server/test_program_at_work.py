"""A program as upstream of the real server: its greenlets wait for it side by side, and none outlives its request."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.claude_program import Child, ClaudeProgram, answer, began, text_block, wait_until_gone
from tests.support.gateway_process import GatewayProcess


@pytest.fixture
def program(tmp_path: Path) -> ClaudeProgram:
    return ClaudeProgram(tmp_path, Child(), *began(), *text_block(0, "half"), 600.0)


@pytest.fixture
def gateway(tmp_path: Path, program: ClaudeProgram) -> Iterator[GatewayProcess]:
    table = f'[providers.cli]\nkind = "claude_cli"\ncommand = {json.dumps(program.command)}\n'
    (tmp_path / "dragoman.toml").write_text(f"[server]\ngraceful_timeout = 1\n{table}")
    with GatewayProcess(tmp_path) as process:
        yield process


def ask(gateway: GatewayProcess, *, stream: bool) -> socket.socket:
    said = [{"role": "user", "content": "hi"}]
    body = {"model": "cli/claude-sonnet-4-6", "max_tokens": 9, "stream": stream, "messages": said}
    data = json.dumps(body).encode()
    client = socket.create_connection(("127.0.0.1", gateway.port), 20)
    client.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data))
    return client


def read_until(client: socket.socket, end: bytes) -> bytes:
    said = b""
    while end not in said and (part := client.recv(65536)):
        said += part
    return said


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_program_and_its_children(
    gateway: GatewayProcess, program: ClaudeProgram, *, stream: bool
) -> None:
    client = ask(gateway, stream=stream)
    run = program.wait_for_run()

    client.close()

    wait_until_gone(run.pid, run.child)


def test_a_server_that_stops_leaves_no_program(gateway: GatewayProcess, program: ClaudeProgram) -> None:
    with ask(gateway, stream=True) as client:
        said = read_until(client, b"half")
        run = program.wait_for_run()

        gateway.signal(signal.SIGTERM)
        gateway.wait()

    assert b"half" in said
    wait_until_gone(run.pid, run.child, folder=run.environ["TMPDIR"])


def test_slow_programs_answer_side_by_side(gateway: GatewayProcess, program: ClaudeProgram) -> None:
    lines = answer("one", "two")
    program.play(*lines[:6], 1.0, *lines[6:])
    before = time.monotonic()

    clients = [ask(gateway, stream=True) for _ in range(6)]
    answers = [read_until(client, b'"message_stop"}') for client in clients]

    took = time.monotonic() - before
    for client in clients:
        client.close()
    assert all(b"two" in said and b"event: message_stop" in said for said in answers)
    assert took < 4
    wait_until_gone(*(run.pid for run in program.runs()), seconds=5)
