"""Runs the load driver and reads what it saw and what the server used meanwhile."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
from dialects import render_request
from msgspec import Struct
from processes import LOAD_CORE, find_worker, pinned_to, read_cpu_us
from programs import Server
from scenarios import Scenario


class Percentiles(Struct, frozen=True, array_like=True):
    median: int
    p99: int
    highest: int


class Load(Struct, frozen=True):
    """What the driver saw, as `driver.c` prints it."""

    answers: int
    wrong: int
    complaint: str
    pieces: int
    seconds: float
    answer_us: Percentiles
    delay_us: Percentiles


class Driver:
    """Starts the compiled driver with one scenario's request and expectation."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._folder = folder

    def start(self, scenario: Scenario, port: int, seconds: float, clock: int | None = None) -> subprocess.Popen[bytes]:
        """Put the load on a port; with 0 seconds each connection asks once. With a process as the `clock`, the time of
        an answer is how long that process ran meanwhile."""
        answer, dialect = scenario.answer, scenario.client
        request = self._folder / f"{scenario.name}.request"
        text = self._folder / f"{answer.name}.text"
        request.write_bytes(
            render_request(
                dialect,
                scenario.model,
                stream=answer.streamed,
                tool_rounds=scenario.tool_rounds,
                previous=scenario.previous,
            )
        )
        text.write_text("".join(answer.texts))
        closing = dialect.stream_closing if answer.streamed else dialect.unary_closing
        command = [
            str(self._program),
            str(port),
            str(scenario.connections),
            str(seconds),
            str(request),
            dialect.piece_key,
        ]
        command += [closing, str(text), str(len(answer.texts)), str(scenario.pause_us)]
        command += [] if clock is None else [str(clock)]
        with pinned_to(LOAD_CORE):
            return subprocess.Popen(command, stdout=subprocess.PIPE)

    def finish(self, process: subprocess.Popen[bytes]) -> Load:
        """Wait for a started load and read what it saw."""
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit("the load driver failed, as it says above; if it could not connect, is the server gone?")
        return msgspec.json.decode(output, type=Load)

    def run(
        self, scenario: Scenario, server: Server, seconds: float, *, by_server_clock: bool = False
    ) -> tuple[Load, float]:
        """The load, and the CPU time in microseconds that the server took for it."""
        clock = find_worker(server.pid) if by_server_clock else None
        before = read_cpu_us(server.pid)
        load = self.finish(self.start(scenario, server.port, seconds, clock))
        return load, read_cpu_us(server.pid) - before
