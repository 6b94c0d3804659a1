"""Counts the Python calls of the hot path, and shows where its time goes: `make profile`.

The gateway's own worker code answers on one connection of this process, in front of the bench's fake upstream. Calls do
not depend on what else the machine does, so two counts can be compared to the last one; the times are only for finding
out where to look.
"""

# ruff: noqa: E402
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
from dialects import render_request
from gunicorn.util import http_date
from programs import build_program, free_port, write_answers, write_gateway_config
from scenarios import COSTS, HISTORY, PACED, Scenario

from app.gateway.recording.recorder import MAX_WAITING

APP = str(Path(__file__).parent.parent / "app")


class _Client:
    """A client on one connection, which is served by the worker's own code."""

    def __init__(self, wsgi: Any) -> None:
        from app.server.connections.client_connection import ClientConnection
        from app.server.connections.request_parser import Shared, Site

        self._socket, served = socket.socketpair()
        worker: Any = SimpleNamespace(
            idle={},
            clock=0,
            date=http_date(),
            wsgi=wsgi,
            goes_on=lambda: True,
            cfg=SimpleNamespace(keepalive=75),
            log=None,
        )
        environ = {
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "REMOTE_ADDR": "127.0.0.1",
            "gunicorn.socket": served,
        }
        shared = Shared({"SCRIPT_NAME": "", "wsgi.url_scheme": "http"})
        served.settimeout(75)
        self.connection = ClientConnection(worker, served, Site(environ, shared=shared))
        self.greenlet = gevent.Greenlet(self.connection.serve)
        self.greenlet.start()

    def ask(self, request: bytes, closing: bytes) -> None:
        self._socket.sendall(request)
        seen = b""
        while closing not in seen:
            received = self._socket.recv(1 << 20)
            if not received:
                raise SystemExit(f"the connection ended: {seen[:300]!r}")
            seen += received
        if not seen.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"no good answer: {seen[:300]!r}")


@contextmanager
def started_gateway(folder: Path, log_level: str) -> Iterator[Any]:
    """The application as `serve` runs it, by the bench's configuration, and the fake upstream beside it."""
    from app.application import build_application
    from app.settings import load_settings

    port = free_port()
    command = [str(build_program("upstream", folder)), str(port), *map(str, write_answers(folder))]
    upstream = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        options = {"server": {"log_level": log_level}}
        settings = load_settings(write_gateway_config(folder, port), os.environ, options)
        application = build_application(settings)
        application.runtime.recorder.batched = True  # as where a worker's loop hands records out
        yield application
    finally:
        upstream.terminate()
        upstream.wait(10)


def closing_of(scenario: Scenario) -> bytes:
    dialect = scenario.client
    return (dialect.stream_closing if scenario.answer.streamed else dialect.unary_closing).encode()


def count_calls(wsgi: Any, scenario: Scenario, requests: int) -> Counter[tuple[str, str]]:
    """How often each Python function ran for so many requests, in the greenlet that answers them."""
    request = request_of(scenario)
    client = _Client(wsgi)
    for _ in range(1 if scenario.answer.pause_ms else 20):
        client.ask(request, closing_of(scenario))
    wsgi.runtime.recorder.hand_out()
    calls: Counter[tuple[str, str]] = Counter()

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and gevent.getcurrent() is client.greenlet:
            code = frame.f_code
            calls[code.co_filename, code.co_qualname] += 1

    sys.setprofile(note)
    try:
        for _ in range(requests):
            client.ask(request, closing_of(scenario))
    finally:
        sys.setprofile(None)
    return calls


def request_of(scenario: Scenario) -> bytes:
    return render_request(
        scenario.client, scenario.model, stream=scenario.answer.streamed, tool_rounds=scenario.tool_rounds
    )


def measure_time(wsgi: Any, scenario: Scenario, seconds: float) -> float:
    """CPU microseconds of this process for a request, the asking of it included; the best of several rounds."""
    client, request, closing = _Client(wsgi), request_of(scenario), closing_of(scenario)
    client.ask(request, closing)
    best = float("inf")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        count = 1 if scenario.answer.pause_ms else 5 if scenario is HISTORY else 50
        before = time.process_time()
        for _ in range(count):
            client.ask(request, closing)
        best = min(best, (time.process_time() - before) / count)
    return best * 1e6


def show(calls: Counter[tuple[str, str]], requests: int) -> None:
    for (file, name), count in sorted(calls.items(), key=lambda item: (-item[1], item[0])):
        place = os.path.relpath(file, APP) if file.startswith(APP) else Path(file).name
        print(f"{count / requests:9.1f}  {place}: {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAME", default="", help="scenarios whose name begins so")
    parser.add_argument("--list", action="store_true", help="each function that is called")
    parser.add_argument("--profile", action="store_true", help="where the time goes, by cProfile")
    parser.add_argument("--time", type=float, default=0, metavar="SECONDS", help="CPU time as well")
    parser.add_argument("--log-level", default="warn")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, started_gateway(Path(name), arguments.log_level) as wsgi:
        for scenario in (*COSTS, *PACED):
            if not scenario.name.startswith(arguments.only):
                continue
            requests = 1 if scenario.answer.pause_ms else 3 if scenario is HISTORY else MAX_WAITING
            calls = count_calls(wsgi, scenario, requests)
            total = calls.total() / requests
            told = f"{scenario.name:32} {total:8.1f} calls a request"
            if scenario.answer.streamed:
                told += f", {total / len(scenario.answer.texts):5.2f} an event"
            if arguments.time:
                told += f", {measure_time(wsgi, scenario, arguments.time):8.1f} us"
            print(told, flush=True)
            if arguments.list:
                show(calls, requests)
            if arguments.profile:
                profile(wsgi, scenario)


def profile(wsgi: Any, scenario: Scenario) -> None:
    import cProfile
    import pstats

    client, request, closing = _Client(wsgi), request_of(scenario), closing_of(scenario)
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(1 if scenario.answer.pause_ms else 10 if scenario is HISTORY else 500):
        client.ask(request, closing)
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    main()
