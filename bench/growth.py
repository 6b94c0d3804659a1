"""Is `make growth`: what a request costs as users run the gateway, and whether that grows with what it holds.

The same passed request goes to several gateways in turn: one with nothing but its providers, one with all that a team
switches on, and one each with many routes, keys, providers and open streams. The ratio to the first one is what counts.
The time of an answer is told too, but swings with whatever else the machine does.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median

from dialects import CHAT, RESPONSES
from load import Driver
from msgspec import Struct
from msgspec.structs import replace
from processes import LOAD_CORE, read_cpu_us
from programs import Server, build_program, free_port, gateway_command, started, upstream_command, write_gateway_config
from scenarios import FEW, IDLE, UNARY_16, Scenario

ROUTES, KEYS, PROVIDERS, STREAMS, STORED = 10_000, 10_000, 100, 2000, 1_000_000
# The key that the bench shows; a gateway that asks for none takes no notice of it.
KEY = "bench-client-key-0000"
BARE = "nothing but its providers"
ONE_STORED = "from the only stored response"


class Case(Struct, frozen=True):
    """A gateway: what it is called in the table, what is added to its settings, and by how much a request may cost more
    than at the one called `base`. So many `streams` are open meanwhile. With `stored` responses each request continues
    one of them."""

    name: str
    settings: str = ""
    log_level: str = "warn"
    limit: float | None = None
    streams: int = 0
    stored: int = 0
    base: str = BARE


def list_cases() -> list[Case]:
    limited = (
        f'\n[keys.team]\nkey = "{KEY}"\nrequests_per_minute = 100000000\n[keys.other]\nkey = "bench-other-key-0000"\n'
    )
    routes = "\n[models.routes]\n" + "".join(f'"name-{number}" = "chat/unary"\n' for number in range(ROUTES))
    keys = f'\n[keys.team]\nkey = "{KEY}"\n' + "".join(
        f'[keys.k{number}]\nkey = "bench-client-key-{number:05}-more"\n' for number in range(1, KEYS)
    )
    providers = "".join(
        f'\n[providers.more-{number}]\nkind = "openai"\napi_key = "sk-bench"\nbase_url = "http://127.0.0.1:9/{number}"'
        for number in range(PROVIDERS)
    )
    return [
        Case(BARE),
        Case("log at info, two keys, one limit, accounts", limited, "info", 1.25),
        Case(f"{ROUTES:,} routes", routes, limit=1.1),
        Case(f"{KEYS:,} keys", keys, limit=1.1),
        Case(f"{PROVIDERS} more providers", providers, limit=1.1),
        Case(f"{STREAMS:,} open streams", limit=1.1, streams=STREAMS),
        Case(ONE_STORED, stored=1),
        Case(f"from one of {STORED:,} stored", limit=1.1, stored=STORED, base=ONE_STORED),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each load")
    parser.add_argument("--only", metavar="WORD", default="", help="cases with this word in their names")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    began = time.monotonic()
    costs: dict[str, list[tuple[float, int]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        driver = Driver(build_program("driver", folder), folder)
        cases = [case for case in list_cases() if arguments.only in case.name]
        bases = [case for case in list_cases() if case.name in {each.base for each in cases} and case not in cases]
        cases = [*bases, *cases]
        with started_cases(folder, cases) as servers:
            scenario = replace(UNARY_16, client=replace(CHAT, headers=f"Authorization: Bearer {KEY}\r\n"))
            measures = [
                (case, measure(driver, server, case, store(case, folder, number, server) or scenario))
                for number, (case, server) in enumerate(servers)
            ]
            for _ in range(arguments.rounds):
                for case, ask in measures:
                    costs.setdefault(case.name, []).append(ask(arguments.seconds))
    print(f"\n{time.monotonic() - began:.0f} s. Microseconds, median of rounds.\n")
    print(
        "| gateway | CPU a request | x bare | target | | 99 % answered within | x bare |\n|---|--:|--:|--:|---|--:|--:|"
    )
    missed = 0
    for case in cases:
        cpu, late = zip(*costs[case.name], strict=True)
        bare_cpu, bare_late = zip(*costs[case.base], strict=True)
        ratio = median(one / bare for one, bare in zip(cpu, bare_cpu, strict=True))
        over = case.limit is not None and ratio > case.limit
        missed += over
        verdict = "" if case.limit is None else "over" if over else "ok"
        late_ratio = median(one / bare for one, bare in zip(late, bare_late, strict=True))
        print(
            f"| {case.name} | {median(cpu):.1f} | {ratio:.2f} | {case.limit or '-'} | {verdict} "
            f"| {median(late):.0f} | {late_ratio:.2f} |"
        )
    return 1 if missed else 0


@contextmanager
def started_cases(folder: Path, cases: list[Case]) -> Iterator[list[tuple[Case, Server]]]:
    upstream = free_port()
    with ExitStack() as stack:
        stack.enter_context(started("direct", upstream_command(folder, upstream), upstream, folder))
        servers = []
        for number, case in enumerate(cases):
            own = folder / f"case-{number}"
            own.mkdir()
            config = write_gateway_config(own, upstream)
            config.write_text(config.read_text() + case.settings)
            port = free_port()
            command = gateway_command(config, port, case.log_level)
            servers.append((case, stack.enter_context(started(f"case-{number}", command, port, own))))
        yield servers


def store(case: Case, folder: Path, number: int, server: Server) -> Scenario | None:
    """Fills the ledger of a gateway; the request that goes on from one response of it."""
    if not case.stored:
        return None
    asked = {"model": "chat/unary", "input": "Say what a dragoman was."}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/v1/responses", json.dumps(asked), {"Content-Type": "application/json"})
    previous = json.loads(connection.getresponse().read())["id"]
    connection.close()
    with closing(sqlite3.connect(folder / f"case-{number}" / "dragoman" / "ledger.sqlite3")) as ledger, ledger:
        ledger.execute("CREATE TEMP TABLE one AS SELECT * FROM records LIMIT 1")
        ledger.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT INTO records SELECT kind, tenant, printf('resp_%032x', i * 7919), created - i % 86400, size, value "
            "FROM n, one WHERE i < ?",
            (case.stored, case.stored),
        )
    return Scenario(name="stored", client=RESPONSES, upstream=CHAT, answer=FEW, connections=16, previous=previous)


def measure(driver: Driver, server: Server, case: Case, scenario: Scenario) -> Callable[[float], tuple[float, int]]:
    """Measures one case: CPU microseconds a request, and those within which 99 of 100 were answered. Streams are opened
    for each measurement."""

    def ask(seconds: float) -> tuple[float, int]:
        streams = None
        if case.streams:
            streams = driver.start(
                replace(scenario, name="idle", answer=IDLE, connections=case.streams), server.port, 0
            )
            wait_until_calm(server)  # all are open then; their next event is far away
        load, cpu_us = driver.run(scenario, server, seconds)
        if streams is not None:
            streams.kill()
            streams.wait()
        if load.wrong:
            raise SystemExit(f"{case.name}: {load.complaint}")
        return cpu_us / load.answers, load.answer_us.p99

    ask(0.3)
    return ask


def wait_until_calm(server: Server) -> None:
    """Until a second passes in which the gateway uses next to nothing of its core."""
    for _ in range(60):
        before = read_cpu_us(server.pid)
        time.sleep(1)
        if read_cpu_us(server.pid) - before < 4e4:
            return


if __name__ == "__main__":
    raise SystemExit(main())
