"""What a request costs by how the gateway is spread: workers, hosts, and what they share.

Run by `make scaling`. The number is CPU time of everything that takes part, as in bench.py: on a machine with few cores
rates say little, and these add up on any.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from dialects import CHAT, MESSAGES
from load import Driver
from msgspec import Struct
from msgspec.structs import replace
from processes import list_tree, read_cpu_us
from programs import (
    DIRECT,
    Server,
    answers_soon,
    build_program,
    free_port,
    started,
    write_answers,
    write_gateway_config,
)
from scenarios import MESSAGES_BURST, SLOW, UNARY_16, Scenario

from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer

HERE = Path(__file__).parent
GATEWAY = "dragoman"
LIMITED = '[keys.bench]\nkey = "sk-bench"\nrequests_per_minute = 100000000\nmax_parallel = 100000\n'
BUDGET = f"{LIMITED}tokens_per_day = 1000000000000\nbudget_per_month = 1000000.0\n"


ONE, TWO = "one worker", "two workers"
# How much more two workers on two cores shall carry than one on one.
CARRIED = 1.9


class Setup(Struct, frozen=True, kw_only=True):
    """How the gateway runs: `settings` for each of `hosts`, with one Redis and one Postgres where they `share`."""

    name: str
    workers: int = 1
    hosts: int = 1
    settings: str = ""
    share: bool = False
    proxy: bool = False


SETUPS = (
    Setup(name=ONE),
    Setup(name="one worker, a key with limits", settings=LIMITED),
    Setup(name="one worker, a key with a budget", settings=BUDGET),
    Setup(name="two workers, a key with a budget", workers=2, settings=BUDGET),
    Setup(name="two workers behind nginx", workers=2, settings=BUDGET, proxy=True),
    Setup(name="two hosts behind nginx, Redis and Postgres", hosts=2, settings=BUDGET, share=True, proxy=True),
)
# As models speak: an event in each read, so many a second on so many streams.
SPOKEN = Scenario(
    name="200 streams, 10 events a second", client=MESSAGES, upstream=CHAT, answer=SLOW, connections=200, per="event"
)
SCENARIOS: tuple[Scenario, ...] = (UNARY_16, MESSAGES_BURST, SPOKEN)


class Cost(Struct, frozen=True):
    """CPU microseconds a request or event of each kind of process, requests or events a second, and MiB of a worker."""

    gateway: float
    nginx: float
    databases: float
    rate: float
    memory: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers-only", action="store_true", help="how much more two workers carry, and nothing else")
    arguments = parser.parse_args()
    if arguments.workers_only:
        return compare_workers(arguments.seconds, arguments.rounds)
    print("| how it runs | load | gateway | nginx | Redis, Postgres | a second | MiB a worker |")
    print("|---|---|---|---|---|---|---|")
    for setup in SETUPS:
        for scenario, costs in measure(setup, arguments.seconds, arguments.rounds):
            middle = [statistics.median(getattr(cost, name) for cost in costs) for name in Cost.__struct_fields__]
            gateway, nginx, databases, rate, memory = middle
            unit = f"µs a{'n' if scenario.per == 'event' else ''} {scenario.per}"
            print(
                f"| {setup.name} | {scenario.name} | {gateway:.1f} {unit} | {nginx:.1f} | {databases:.1f} "
                f"| {rate:,.0f} | {memory:.0f} |",
                flush=True,
            )
    return compare_workers(arguments.seconds, arguments.rounds)


def compare_workers(seconds: float, rounds: int) -> int:
    """Says how much more two workers carry than one; both are asked in turns, and the median of the rounds counts.

    The load and the upstream need cores too, so a rate would say how many the machine has. With a core of its own each,
    two workers carry twice what one does, less what a request costs more at two. They get as many connections each as
    the one has: who has fewer reads less at a time, which costs more.
    """
    missed = 0
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        upstream = stack.enter_context(_start_upstream(folder))
        driver = Driver(build_program("driver", folder), folder)
        one, two = (
            stack.enter_context(_start_host(Setup(name=name, workers=workers), folder / name, upstream, ""))
            for name, workers in ((ONE, 1), (TWO, 2))
        )
        for scenario in (UNARY_16, MESSAGES_BURST):
            ratios = []
            for turn in range(rounds + 1):
                costs = {}
                for host in (one, two) if turn % 2 else (two, one):
                    connections = scenario.connections * (1 if host is one else 2)
                    load, cpu_us = driver.run(replace(scenario, connections=connections), host, seconds)
                    costs[host.port] = cpu_us / (load.answers or 1)
                if turn:  # the first one warms them up
                    ratios.append(2 * costs[one.port] / costs[two.port])
            carried = statistics.median(ratios)
            missed += carried < CARRIED
            print(f"\n{scenario.name}: two workers on two cores carry {carried:.2f} x one (target {CARRIED})")
    return 1 if missed else 0


def measure(setup: Setup, seconds: float, rounds: int) -> Iterator[tuple[Scenario, list[Cost]]]:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        upstream = stack.enter_context(_start_upstream(folder))
        shared, databases = _start_databases(setup, folder, stack)
        hosts = [
            stack.enter_context(_start_host(setup, folder / str(number), upstream, shared))
            for number in range(setup.hosts)
        ]
        nginx = stack.enter_context(_start_nginx(folder, [host.port for host in hosts])) if setup.proxy else None
        entrance = nginx or hosts[0]
        driver = Driver(build_program("driver", folder), folder)
        for scenario in SCENARIOS:
            driver.finish(driver.start(scenario, entrance.port, 1.0))
            yield (
                scenario,
                [
                    _measure_once(driver, scenario, entrance.port, seconds, hosts, nginx, databases)
                    for _ in range(rounds)
                ],
            )


def _measure_once(
    driver: Driver, scenario: Scenario, port: int, seconds: float, hosts: Sequence[Server], nginx: Server | None,
    databases: Sequence[int],
) -> Cost:  # fmt: skip
    def spent() -> tuple[float, float, float]:
        return (
            sum(read_cpu_us(host.pid) for host in hosts),
            read_cpu_us(nginx.pid) if nginx is not None else 0.0,
            sum(read_cpu_us(pid) for pid in databases),
        )

    before = spent()
    load = driver.finish(driver.start(scenario, port, max(seconds, 6.0) if scenario is SPOKEN else seconds))
    after = spent()
    if load.wrong:
        sys.exit(f"{load.wrong} answers were wrong: {load.complaint}")
    done = load.pieces if scenario.per == "event" else load.answers
    gateway, proxy, shared = ((late - early) / done for early, late in zip(before, after, strict=True))
    return Cost(gateway, proxy, shared, done / load.seconds, _read_memory(hosts[0].pid))


def _read_memory(pid: int) -> float:
    pages = int((Path("/proc") / str(list_tree(pid)[-1]) / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@contextmanager
def _start_upstream(folder: Path) -> Iterator[Server]:
    port = free_port()
    command = [str(build_program("upstream", folder)), str(port), *map(str, write_answers(folder))]
    with started(DIRECT, command, port, folder) as server:
        yield server


def _start_databases(setup: Setup, folder: Path, stack: ExitStack) -> tuple[str, list[int]]:
    """The settings that hosts share by them, and their process ids."""
    if not setup.share:
        return "", []
    redis = stack.enter_context(RedisServer(folder))
    postgres = stack.enter_context(PostgresServer())
    pids = [redis.pid, postgres.pid]
    return f'[shared]\nredis = "{redis.url}"\n[ledger]\nurl = "{postgres.url}"\n', pids


@contextmanager
def _start_host(setup: Setup, folder: Path, upstream: Server, shared: str) -> Iterator[Server]:
    folder.mkdir()
    config, port = write_gateway_config(folder, upstream.port), free_port()
    config.write_text(f"{config.read_text()}\n{setup.settings}\n{shared}")
    command = [
        str(Path(sys.executable).with_name("dragoman")),
        *("serve", "--config", str(config), "--port", str(port), "--workers", str(setup.workers)),
        *("--log-level", "error"),
    ]
    log = (folder / "log").open("wb")
    environ = {**os.environ, "XDG_DATA_HOME": str(folder)}
    process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environ)
    try:
        _await_port(process, port)
        yield Server(GATEWAY, port, process.pid)
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(20)
        log.close()


@contextmanager
def _start_nginx(folder: Path, ports: Sequence[int]) -> Iterator[Server]:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if nginx is None:
        sys.exit("The scaling bench wants nginx.")
    port = free_port()
    servers = "".join(f"        server 127.0.0.1:{each};\n" for each in ports)
    text = (HERE / "nginx.conf").read_text().replace("        server 127.0.0.1:UPSTREAM_PORT;\n", servers)
    # The gateway answers to its own names only.
    text = text.replace("proxy_http_version", "proxy_set_header Host 127.0.0.1; proxy_http_version")
    config = folder / "nginx.conf"
    config.write_text(text.replace("PORT", str(port)).replace("FOLDER", str(folder)))
    with started("nginx", [nginx, "-e", "stderr", "-p", str(folder), "-c", str(config)], port, folder) as server:
        yield server


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    if not answers_soon(process, port):
        sys.exit("a host did not start")


if __name__ == "__main__":
    sys.exit(main())
