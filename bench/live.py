"""Part of `make growth`: what open pages of the dashboard take from the requests of the same gateway.

One gateway is loaded in slices: without pages, without them once more as the control, and with PAGES; then again in
another order. The ratios within a round count. The time of an answer is how long the worker ran meanwhile, so that
other work on the machine, which swings by far more than the pages cost, is left out.
"""

from __future__ import annotations

import argparse
import http.client
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles

from load import Driver
from msgspec import Struct
from msgspec.structs import replace
from processes import LOAD_CORE
from programs import (
    Server,
    build_program,
    free_port,
    gateway_command,
    started,
    upstream_command,
    write_gateway_config,
)
from scenarios import UNARY_16, Scenario

PAGES = 10
# How many times as much CPU a request may take with pages, and how many times as long 99 of 100 answers.
LIMIT = 1.02
# Seconds after a slice, in which the gateway notices that its readers have left, and writes the last records.
LEAVING = 1.0
LOADS = {
    "at its limit": UNARY_16,
    # Each connection waits for so many microseconds before it asks again.
    "at a third of it": replace(UNARY_16, pause_us=8000),
}
WITHOUT, CONTROL, WITH = "without pages", "without pages, again", f"with {PAGES} pages"
SLICES = (WITHOUT, CONTROL, WITH)


class Cost(Struct, frozen=True):
    """Microseconds: CPU time a request, and within which 50 and 99 of 100 were answered."""

    cpu: float
    half: float
    late: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each slice")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    print("| load | slices | CPU a request | x without | 50 % within | x without | 99 % within | x without |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    over = False
    with tempfile.TemporaryDirectory(prefix="bench-") as name, started_gateway(Path(name)) as (driver, server):
        cookie = sign_in(server.port, Path(name))
        for load, scenario in LOADS.items():
            costs = measure(driver, server, cookie, scenario, arguments.rounds, arguments.seconds)
            over |= report(load, costs)
    return int(over)


@contextmanager
def started_gateway(folder: Path) -> Iterator[tuple[Driver, Server]]:
    upstream, port = free_port(), free_port()
    with ExitStack() as stack:
        stack.enter_context(started("direct", upstream_command(folder, upstream), upstream, folder))
        command = gateway_command(write_gateway_config(folder, upstream), port, "warn")
        server = stack.enter_context(started("gateway", command, port, folder))
        yield Driver(build_program("driver", folder), folder), server


def measure(
    driver: Driver, server: Server, cookie: str, scenario: Scenario, rounds: int, seconds: float
) -> dict[str, list[Cost]]:
    """The costs of each kind of slice, round by round."""
    costs: dict[str, list[Cost]] = {name: [] for name in SLICES}
    driver.run(scenario, server, seconds)
    for number in range(rounds):
        first = number % len(SLICES)
        for name in (*SLICES[first:], *SLICES[:first]):
            with open_pages(server.port, cookie, PAGES if name == WITH else 0):
                load, cpu_us = driver.run(scenario, server, seconds, by_server_clock=True)
            if load.wrong:
                raise SystemExit(f"{name}: {load.complaint}")
            time.sleep(LEAVING)
            costs[name].append(Cost(cpu_us / load.answers, load.answer_us.median, load.answer_us.p99))
    return costs


def report(load: str, costs: dict[str, list[Cost]]) -> bool:
    """Prints the medians of the rounds, and those of the ratios with their middle halves. Returns whether pages cost
    more than they may in more than three quarters of the rounds."""
    over = False
    for name in SLICES:
        cells = []
        for field in Cost.__struct_fields__:
            values, bare = ([getattr(cost, field) for cost in costs[each]] for each in (name, WITHOUT))
            low, middle, high = quantiles((one / other for one, other in zip(values, bare, strict=True)), n=4)
            cells += [f"{median(values):.0f}", "" if name == WITHOUT else f"{middle:.2f} ({low:.2f}-{high:.2f})"]
            over |= name == WITH and field != "half" and low > LIMIT
        print(f"| {load} | {name} | {' | '.join(cells)} |")
    return over


def sign_in(port: int, folder: Path) -> str:
    """The cookie of a visitor to the dashboard of a gateway whose data is in this folder."""
    command = [str(Path(sys.executable).with_name("dragoman")), "dashboard", "--no-browser"]
    environ = os.environ | {"XDG_DATA_HOME": str(folder), "UP_KEY": "sk-bench"}
    address = subprocess.check_output([*command, "--config", "dragoman.toml"], cwd=folder, env=environ, text=True)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", address.strip()[address.index("/_/") :])
    cookie = connection.getresponse().headers["set-cookie"]
    connection.close()
    return str(cookie).partition(";")[0]


@contextmanager
def open_pages(port: int, cookie: str, count: int) -> Iterator[None]:
    """Pages of the dashboard, each reading its stream of news."""
    with ExitStack() as stack, selectors.DefaultSelector() as reading:
        for number in range(count):
            page = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            path = ("/_/live/overview", "/_/live/requests")[number % 2]
            page.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\n\r\n".encode())
            head = page.recv(4096)
            if b" 200 " not in head.partition(b"\r\n")[0] or b"event-stream" not in head:
                raise SystemExit(f"{path} does not open: {head[:200]!r}")
            reading.register(page, selectors.EVENT_READ)
        ended = threading.Event()

        def read() -> None:
            while not ended.is_set():
                for key, _ in reading.select(0.1):
                    key.fileobj.recv(1 << 16)  # type: ignore[union-attr]  # a socket

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            ended.set()
            reader.join()


if __name__ == "__main__":
    raise SystemExit(main())
