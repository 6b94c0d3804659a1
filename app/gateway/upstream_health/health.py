"""The health of all upstreams of one worker, kept across reloads."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from app.errors import DragomanError, UpstreamSpared
from app.gateway.upstream_health.breaker import (
    MAX_MARKS,
    TOLERANCES,
    Breaker,
    BreakerState,
    Fault,
    find_fault,
    shows_life,
)
from app.gateway.upstream_health.liveness import LivenessCheck
from app.gateway.upstream_health.retry_budget import FLOOR, RetryBudget
from app.settings import ProviderSettings
from app.transport import Obtaining
from app.transport.provider_queue import Places, ProviderQueue, Ticket

log = logging.getLogger("dragoman")

# Maximum targets with breakers: clients choose the model names.
MAX_TARGETS = 1024
# Faults that cost a request a whole time limit.
COSTLY: frozenset[Fault] = frozenset({"silent", "gone"})
# Seconds that a probe of a silent target waits for a response head if another target is left.
PROBE_LIMIT = 15.0
# Maximum seconds that a breaker is open, also if another worker reports it.
LONGEST_OPEN = max(tolerance.longest for tolerance in TOLERANCES.values())
# Seconds for which another worker's retries count.
RETRY_LIFETIME = 60.0
# Notes with more requests than this within RETRY_LIFETIME are ignored as impossible.
MAX_ASKED = 10_000_000
# Seconds in `retry-after` if no better value is known.
RETRY_AFTER = 5


class TargetState(msgspec.Struct, frozen=True):
    """A target with faults. It is tried again in `seconds`."""

    target: str
    state: BreakerState
    fault: Fault
    faults: int
    seconds: float


class BreakerNote(msgspec.Struct, frozen=True):
    """An open breaker, or one that closed (without `until`), for other workers. Times are clock times."""

    target: str
    changed: float
    until: float | None = None
    fault: Fault = "failing"
    faults: int = 0
    period: float = 0.0
    opened: int = 0
    tenants: tuple[str, ...] = ()


class RetryNote(msgspec.Struct, frozen=True):
    """One worker's requests and retries to a provider within the minute before `at`, a clock time."""

    provider: str
    worker: str
    at: float
    requests: int
    retries: int


class ProviderLoad(msgspec.Struct, frozen=True):
    """This worker's concurrent requests to one provider, and its retries within a minute. `max_parallel` is the limit
    for all workers, or None; without one `parallel` is not counted."""

    provider: str
    max_parallel: int | None
    parallel: int
    waiting: int
    timeouts: int
    retries: int


class Gate(msgspec.Struct, frozen=True):
    """How a request may use a target: only one `probe` runs at a time; `once` allows no repeats; `head_limit` is the
    longest wait for the response head in seconds, None for the usual limit; `liveness` shows whether a silent provider
    is alive, and is only of use while another target is left."""

    probe: bool = False
    once: bool = False
    head_limit: float | None = None
    liveness: LivenessCheck | None = None


OPEN = Gate()


class UpstreamHealth:
    """Breakers by target, `<provider>/<model>`; budgets and queues by provider. `clock` never goes backwards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.breakers: dict[str, Breaker] = {}
        self.queues: dict[str, ProviderQueue] = {}
        self._closed: dict[str, float] = {}  # when breakers that had been open were closed
        self._budgets: dict[str, RetryBudget] = {}
        self._liveness: dict[str, LivenessCheck] = {}

    def configure(
        self,
        providers: Mapping[str, ProviderSettings],
        workers: int,
        find_places: Callable[[str], Places] | None = None,
    ) -> None:
        """Applies the providers' limits; running requests keep counting. `find_places` makes the places that count a
        provider's requests across all workers; without it each worker gets its share of a limit, rounded down."""
        for name in self.queues.keys() - providers.keys():
            del self.queues[name]
        for name, provider in providers.items():
            if provider.max_parallel is None:
                queue = self.queues.pop(name, None)
                if queue is not None:
                    queue.resize(1 << 31)  # so that waiting requests may go
                continue
            share = provider.max_parallel // workers
            maximum = max(1, share) if find_places is None else provider.max_parallel
            if name in self.queues:
                self.queues[name].resize(maximum, share)
            else:
                self.queues[name] = ProviderQueue(maximum, share, None if find_places is None else find_places(name))

    def forget_provider(self, provider: str) -> None:
        """Drops the breakers and the liveness of a provider, for example because its settings have changed."""
        for target in [target for target in self.breakers if target.startswith(f"{provider}/")]:
            del self.breakers[target]
            self._close(target, self._clock())
        self._liveness.pop(provider, None)

    def _close(self, target: str, now: float) -> None:
        self._closed.pop(target, None)
        if len(self._closed) >= MAX_TARGETS:
            del self._closed[next(iter(self._closed))]
        self._closed[target] = now

    def spares(self, target: str, tenant: str) -> bool:
        """Whether the tenant's requests should go elsewhere for now."""
        breaker = self.breakers.get(target)
        return breaker is not None and breaker.judge(tenant, self._clock()) == "wait"

    def is_costly(self, target: str) -> bool:
        """Whether the target's fault costs a request a whole time limit."""
        breaker = self.breakers.get(target)
        return breaker is not None and breaker.until is not None and breaker.fault in COSTLY

    def describe(self, target: str) -> str:
        """Why the target is spared, and for how long."""
        breaker = self.breakers[target]
        return f"{breaker.count} faults in a row ({breaker.fault}), asked again in {breaker.left(self._clock()):.0f} s"

    def liveness(self, provider: str, ask: Callable[[], bool]) -> LivenessCheck:
        """The liveness check of a provider; `ask` performs it, under the current settings."""
        liveness = self._liveness.get(provider)
        if liveness is None:
            liveness = self._liveness[provider] = LivenessCheck(ask, clock=self._clock)
        liveness.ask = ask
        return liveness

    def enter(
        self, target: str, tenant: str, *, last: bool, followed: bool, liveness: LivenessCheck | None = None
    ) -> Gate | None:
        """How a request may use a target; None if it should go on to the next one.

        A request whose `last` chance this is may go once even if the breaker is open: a quick failure costs nothing. A
        silent target costs the whole time limit, so it is asked only if it is not `followed` by another target; with a
        `liveness` check, no request then has to find out whether a silent target is back.
        """
        usual = OPEN if liveness is None else Gate(liveness=liveness)
        breaker = self.breakers.get(target)
        if breaker is None:
            return usual
        now = self._clock()
        verdict = breaker.judge(tenant, now)
        if verdict == "go":
            return usual
        if verdict == "probe":
            silent = breaker.fault in COSTLY
            if silent and liveness is not None and (liveness.is_gone or not liveness.is_fresh(breaker.until or now)):
                liveness.take()
                return None
            breaker.begin_probe(now)
            head_limit = PROBE_LIMIT if followed and silent else None
            return Gate(probe=True, once=True, head_limit=head_limit, liveness=liveness)
        return Gate(once=True, liveness=liveness) if last and not (followed and breaker.fault in COSTLY) else None

    def succeed(self, target: str) -> None:
        """Notes that the target answered successfully."""
        if self.breakers:
            breaker = self.breakers.pop(target, None)
            if breaker is not None and breaker.until is not None:
                log.info("%s answers again", target)
                self._close(target, self._clock())

    def fail(self, target: str, tenant: str, error: DragomanError, request: bytes, gate: Gate) -> None:
        """Notes that the target failed or refused a request. `request` identifies the request's body."""
        fault = find_fault(error)
        breaker = self.breakers.get(target)
        if fault is None:
            if breaker is not None and gate.probe:
                breaker.end_probe()
            if breaker is not None and breaker.fault != "failing" and shows_life(error):
                self.succeed(target)
            return
        if breaker is None:
            if len(self.breakers) >= MAX_TARGETS:
                del self.breakers[next(iter(self.breakers))]
            breaker = self.breakers[target] = Breaker()
        if breaker.fail(fault, tenant, hash(request), self._clock(), probe=gate.probe):
            log.warning("%s: %s", target, self.describe(target))

    def abandon(self, target: str, gate: Gate) -> None:
        """Notes that the request ended before its target answered."""
        breaker = self.breakers.get(target)
        if gate.probe and breaker is not None:
            breaker.end_probe()

    def budget(self, provider: str) -> RetryBudget:
        budget = self._budgets.get(provider)
        if budget is None:
            budget = self._budgets[provider] = RetryBudget()
        return budget

    def earn(self, provider: str, now: float) -> RetryBudget:
        """The retry budget of a provider, after counting one more request."""
        budget = self._budgets.get(provider) or self.budget(provider)
        budget.earn(now)
        return budget

    def wait_in(
        self, queue: ProviderQueue, provider: str, tenant: str, maximum: float, silence: float
    ) -> Obtaining[Ticket]:
        """Waits up to `maximum` seconds for a place in a queue; yields after each `silence`. Raises UpstreamSpared."""
        ticket = queue.enter(tenant)
        try:
            end = self._clock() + maximum
            while not (ticket.given or ticket.wait(max(0.0, min(silence, end - self._clock())))):
                if self._clock() >= end:
                    queue.timeouts += 1
                    raise UpstreamSpared(
                        f"{provider} is running {queue.maximum} requests, its limit (max_parallel); "
                        f"no slot became free within {maximum:g} s (queue_timeout)",
                        retry_after=RETRY_AFTER,
                    )
                yield
        except BaseException:
            queue.leave(ticket)
            raise
        return ticket

    def notes(self) -> list[BreakerNote]:
        """The open and recently closed breakers, for other workers."""
        opened = [
            BreakerNote(
                target, breaker.changed, breaker.until, breaker.fault, breaker.count, breaker.period, breaker.opened,
                tuple(sorted(breaker.tenants)),
            )
            for target, breaker in list(self.breakers.items())
            if breaker.until is not None
        ]  # fmt: skip
        known = {note.target for note in opened}
        return opened + [BreakerNote(target, at) for target, at in self._closed.items() if target not in known]

    def adopt(self, notes: Iterable[BreakerNote]) -> None:
        """Takes over breaker states of other workers that are newer than this worker's."""
        latest = self._clock() + LONGEST_OPEN
        for note in notes:
            if not note.changed <= latest:
                continue  # an impossible time, than which no note would ever be newer
            breaker = self.breakers.get(note.target)
            own = max(self._closed.get(note.target, -math.inf), -math.inf if breaker is None else breaker.changed)
            if note.changed <= own:
                continue
            if note.until is None:
                self.breakers.pop(note.target, None)
                self._close(note.target, note.changed)
            elif len(self.breakers) < MAX_TARGETS or breaker is not None:
                if breaker is None:
                    breaker = self.breakers[note.target] = Breaker()
                # Another host's clock may be wrong.
                until = min(note.until, self._clock() + LONGEST_OPEN)
                breaker.changed, breaker.until, breaker.fault = note.changed, until, note.fault
                breaker.count, breaker.period, breaker.opened = note.faults, note.period, note.opened
                breaker.tenants.update(note.tenants[:MAX_MARKS])

    def retry_notes(self, worker: str) -> list[RetryNote]:
        """This worker's retries, for other workers."""
        now = self._clock()
        counted = {name: budget.count(now) for name, budget in self._budgets.items()}
        return [RetryNote(name, worker, now, *counts) for name, counts in counted.items() if counts[1]]

    def adopt_retries(self, notes: Iterable[RetryNote], worker: str) -> None:
        """Takes over the retries of all workers except this one."""
        now = self._clock()
        oldest, latest = now - RETRY_LIFETIME, now + RETRY_LIFETIME
        others: dict[str, tuple[int, int]] = {}
        for note in notes:
            possible = 0 <= note.retries <= 10 * note.requests + FLOOR and note.requests <= MAX_ASKED
            if note.worker != worker and oldest < note.at <= latest and possible:
                requests, retries = others.get(note.provider, (0, 0))
                others[note.provider] = requests + note.requests, retries + note.retries
        for name in self._budgets.keys() | others.keys():
            self.budget(name).others = others.get(name, (0, 0))

    def targets(self) -> Iterator[TargetState]:
        """The targets that have failed and not succeeded since."""
        now = self._clock()
        for target, breaker in list(self.breakers.items()):
            yield TargetState(target, breaker.state(now), breaker.fault, breaker.count, breaker.left(now))

    def loads(self) -> Iterator[ProviderLoad]:
        """The current load of each provider that has a limit or has had requests."""
        now = time.monotonic()
        for name in sorted(self.queues.keys() | self._budgets.keys()):
            queue, budget = self.queues.get(name), self._budgets.get(name)
            retries = 0 if budget is None else budget.count(now)[1]
            if queue is None:
                yield ProviderLoad(name, None, 0, 0, 0, retries)
            else:
                yield ProviderLoad(name, queue.maximum, queue.given, queue.waiting, queue.timeouts, retries)
