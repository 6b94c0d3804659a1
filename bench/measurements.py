"""Does the measuring: each method of the bench measures one kind of thing and notes it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence

from findings import Findings
from load import Driver, Load
from msgspec import Struct
from peers import SMG, SWITCHYARD
from processes import read_cpu_us, read_worker_memory
from programs import DIRECT, NGINX, NODE, OURS, Server
from scenarios import (
    ADDED_DELAY,
    ALONE,
    BYSTANDERS,
    CHAT_BURST,
    COSTS,
    HISTORY,
    HISTORY_CPU,
    LOST,
    PARALLEL,
    RESPONSES_BURST,
    RESPONSES_RATIO,
    SLOW_PASS,
    SLOW_TRANSLATED,
    STALL,
    START,
    START_CPU,
    STREAM_MEMORY,
    TOGETHER,
    UNARY_16,
    WORKER_MEMORY,
    Scenario,
)

# What the first records make a worker load, and write, comes a moment after their requests.
SETTLE_S = 1.5
WARM_UP_S = 0.3
COMPILE_S = 1.0
# Within this time all streams of a slow scenario are open, and none has ended yet.
ALL_OPEN_S = 3.5


class Effort(Struct, frozen=True, kw_only=True):
    """How long to measure: rounds of each kind, seconds of one load, and who is measured on slow streams."""

    cost_rounds: int
    cost_seconds: float
    slow_rounds: int
    slow_peers: tuple[str, ...]
    stall_rounds: int
    starts: int


FULL = Effort(cost_rounds=5, cost_seconds=0.6, slow_rounds=2, slow_peers=(NGINX, NODE), stall_rounds=3, starts=5)
QUICK = Effort(cost_rounds=2, cost_seconds=0.2, slow_rounds=1, slow_peers=(), stall_rounds=1, starts=2)


class Bench:
    """One run over started servers."""

    def __init__(
        self,
        driver: Driver,
        servers: Mapping[str, Server],
        start: Callable[[], tuple[float, float]],
        effort: Effort,
        findings: Findings,
    ) -> None:
        """`start` starts one more gateway, for a moment: seconds to its first answer, and microseconds of CPU time."""
        self._driver = driver
        self._start = start
        self._servers = servers
        self._effort = effort
        self._findings = findings

    def measure(self, only: str) -> None:
        """Measure everything, or what has a name that begins with `only`."""
        kinds = {
            "start": self.measure_start,
            "memory": self.measure_idle_memory,
            "slow": self.measure_slow_streams,
            "parallel": self.measure_parallel_streams,
            "stall": self.measure_stall,
        }
        for name, measure in kinds.items():
            if name.startswith(only):
                measure()
        self.measure_costs([scenario for scenario in COSTS if scenario.name.startswith(only)])

    def measure_start(self) -> None:
        """Further gateways, from the command to the answer of a first request."""
        for _ in range(self._effort.starts):
            seconds, cpu_us = self._start()
            self._findings.note(START, seconds)
            self._findings.note(START_CPU, cpu_us / 1e6)
            _show_progress()

    def measure_idle_memory(self) -> None:
        """What the worker holds once a first request has loaded what is loaded late."""
        self._findings.note(WORKER_MEMORY, self._read_idle_memory() / 1e6)

    def _read_idle_memory(self) -> int:
        self._run(UNARY_16, OURS, WARM_UP_S)
        time.sleep(SETTLE_S)
        return read_worker_memory(self._servers[OURS].pid)

    def measure_slow_streams(self) -> None:
        """500 streams at once: none may be lost, and little be added to the way of an event or to the memory."""
        peers = [name for name in self._effort.slow_peers if name in self._servers]
        # What the first streams took, Python keeps for the next ones: there is only one true look at it before.
        memory_before = self._read_idle_memory()
        for _ in range(self._effort.slow_rounds):
            for name in peers:
                self._note_cost(SLOW_PASS, name, *self._run(SLOW_PASS, name, 0))
            direct, _ = self._run(SLOW_PASS, DIRECT, 0)
            for scenario in (SLOW_PASS, SLOW_TRANSLATED):
                load = self._run_slow(scenario, memory_before)
                self._findings.note(LOST, load.wrong)
                self._findings.note(ADDED_DELAY[scenario], (load.delay_us.p99 - direct.delay_us.p99) / 1e3)

    def measure_parallel_streams(self) -> None:
        alone, together = (self._run(scenario, OURS, 0)[0] for scenario in (ALONE, TOGETHER))
        # The driver starts the hundred within one second, so the longest answer counts and not the whole run.
        self._findings.note(PARALLEL, together.answer_us.highest / alone.answer_us.highest)

    def measure_stall(self) -> None:
        """Streams go on while one connection has histories translated, one after the other."""
        port = self._servers[OURS].port
        self._run(HISTORY, OURS, WARM_UP_S)
        for _ in range(self._effort.stall_rounds):
            bystanders = self._driver.start(BYSTANDERS, port, 0)
            histories = self._driver.start(HISTORY, port, 1.5)
            self._check(HISTORY, OURS, self._driver.finish(histories))
            load = self._check(BYSTANDERS, OURS, self._driver.finish(bystanders))
            self._findings.note(STALL, load.delay_us.highest / 1e3)
            _show_progress()

    def measure_costs(self, scenarios: Sequence[Scenario]) -> None:
        """CPU time of one request or event, in interleaved rounds of the gateway and its peers."""
        if not scenarios:
            return
        names = [name for name in (OURS, NGINX, NODE, SMG, SWITCHYARD) if name in self._servers]
        for name in names:
            # Node compiles what runs often, and is three times dearer until it has.
            self._driver.run(UNARY_16, self._servers[name], COMPILE_S)
        good = [(scenario, name) for scenario in scenarios for name in names if self._warm_up(scenario, name)]
        for turn in range(self._effort.cost_rounds):
            # Every other round goes backwards, so that no one always follows the same neighbour.
            for scenario, name in reversed(good) if turn % 2 else good:
                self._note_cost(scenario, name, *self._run(scenario, name, self._effort.cost_seconds))
        if history_us := self._findings.find_cost(HISTORY, OURS):
            self._findings.note(HISTORY_CPU, history_us / 1e3)
        responses_us, chat_us = (self._findings.find_cost(each, OURS) for each in (RESPONSES_BURST, CHAT_BURST))
        if responses_us and chat_us:
            self._findings.note(RESPONSES_RATIO, responses_us / chat_us)

    def _warm_up(self, scenario: Scenario, name: str) -> bool:
        """Whether the answers are right. A compiled peer that does not do what a scenario asks is left out of it."""
        if name in (SMG, SWITCHYARD):
            load, _ = self._driver.run(scenario, self._servers[name], WARM_UP_S)
            if load.wrong or not load.answers:
                print(f"\n{name} is left out of {scenario.name}: {load.complaint}", file=sys.stderr)
        else:
            load, _ = self._run(scenario, name, WARM_UP_S)
        return not load.wrong and load.answers > 0

    def _run_slow(self, scenario: Scenario, memory_before: int) -> Load:
        """The gateway's slow streams, with a look at its memory while all are open."""
        ours = self._servers[OURS]
        cpu_us = read_cpu_us(ours.pid)
        process = self._driver.start(scenario, ours.port, 0)
        time.sleep(ALL_OPEN_S)
        memory = read_worker_memory(ours.pid) - memory_before
        load = self._check(scenario, OURS, self._driver.finish(process))
        self._findings.note(STREAM_MEMORY, memory / scenario.connections / 1e3)
        self._note_cost(scenario, OURS, load, read_cpu_us(ours.pid) - cpu_us)
        _show_progress()
        return load

    def _note_cost(self, scenario: Scenario, name: str, load: Load, cpu_us: float) -> None:
        self._findings.note_cost(scenario, name, cpu_us / (load.pieces if scenario.per == "event" else load.answers))

    def _run(self, scenario: Scenario, name: str, seconds: float) -> tuple[Load, float]:
        load, cpu_us = self._driver.run(scenario, self._servers[name], seconds)
        _show_progress()
        return self._check(scenario, name, load), cpu_us

    def _check(self, scenario: Scenario, name: str, load: Load) -> Load:
        if load.wrong:
            self._findings.faults.append(
                f"{scenario.name} by {name}: {load.wrong} of {load.answers} wrong, first {load.complaint}"
            )
        return load


def _show_progress() -> None:
    print(".", end="", file=sys.stderr, flush=True)
