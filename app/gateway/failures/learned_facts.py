"""Remembers what was learned from upstreams' refusals: unsupported fields and operations, pauses.

A fact first holds only for the tenant whose requests showed it: what one client can make an upstream say must not
change the requests of another. It holds for all tenants once several have shown it independently. Facts expire, since
servers are updated, and each tenant may have only so many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import msgspec

from app.conversation.capabilities import Capabilities
from app.gateway.failures.repairs.change import Change

# One refusal may be a quirk of one server behind a name; three are its usual behaviour.
REFUSALS_TO_LEARN = 3
# Tenants that must have shown a fact before it holds for all.
CONFIRMING_TENANTS = 2
# Seconds that a fact holds after it was last shown; also the longest pause that an upstream may ask for.
LIFETIME = 3600.0
# Clients choose the model names, so without a limit the facts would grow forever.
MAX_FACTS_PER_TENANT = 128

COOL_DOWN = "cool_down"


class _Report(msgspec.Struct):
    """How often one tenant's requests have shown a fact, and until when (clock time) that counts."""

    times: int
    until: float
    holds: bool = False


class _Fact(msgspec.Struct):
    change: Change | None
    reports: dict[str, _Report] = {}

    def holds_for(self, tenant: str, now: float) -> bool:
        own = self.reports.get(tenant)
        if own is not None and own.holds and own.until > now:
            return True
        if len(self.reports) < CONFIRMING_TENANTS:
            return False
        return sum(report.holds and report.until > now for report in self.reports.values()) >= CONFIRMING_TENANTS


class KnownFact(msgspec.Struct, frozen=True):
    """A fact that holds, for display. `tenant` is None if it holds for all; it expires in `seconds`."""

    upstream: str
    name: str
    tenant: str | None
    seconds: float


class FactNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fact that holds for a tenant, for other workers; `until` is a clock time."""

    upstream: str
    tenant: str
    name: str
    until: float
    change: Change | None = None


class LearnedFacts:
    """The facts of one worker. An upstream is named by its label, `<provider>/<model>`; a tenant by its mark.

    `clock` counts seconds and never goes backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._facts: dict[str, dict[str, _Fact]] = {}
        self.any = False  # whether there may be facts
        self._shares: dict[str, dict[tuple[str, str], None]] = {}

    def report(
        self,
        upstream: str,
        tenant: str,
        name: str,
        change: Change | None = None,
        *,
        times: int = REFUSALS_TO_LEARN,
        seconds: float = LIFETIME,
    ) -> None:
        """Notes that a request of `tenant` has shown the fact `name`, which holds for the tenant after so many `times`.

        `change` is how the fact changes the upstream's capabilities. Only the upstream's own statements count: a field
        named in its structured error, or words that do not come from the client (`own_words`).
        """
        self.any = True
        now = self._clock()
        fact = self._facts.setdefault(upstream, {}).setdefault(name, _Fact(change))
        report = fact.reports.get(tenant)
        if report is None or report.until <= now:
            report = fact.reports[tenant] = _Report(0, now)
        report.times += 1
        report.until = max(report.until, now + min(seconds, LIFETIME))
        report.holds = report.holds or report.times >= times
        self._charge(tenant, upstream, name)

    def holds(self, upstream: str, tenant: str, name: str) -> bool:
        """Whether a fact holds for `tenant` now."""
        fact = self._facts.get(upstream, {}).get(name)
        return fact is not None and fact.holds_for(tenant, self._clock())

    def adapt(self, upstream: str, tenant: str, capabilities: Capabilities) -> Capabilities:
        """The capabilities of an upstream, changed by all facts that hold for `tenant`."""
        facts = self._facts.get(upstream)
        if not facts:
            return capabilities
        now = self._clock()
        for fact in facts.values():
            if fact.change is not None and fact.holds_for(tenant, now):
                capabilities = fact.change(capabilities)
        return capabilities

    def known(self) -> Iterator[KnownFact]:
        """The facts that hold, one entry for each tenant unless they hold for all."""
        now = self._clock()
        for upstream, facts in self._facts.items():
            for name, fact in facts.items():
                held = {tenant: report for tenant, report in fact.reports.items() if report.holds}
                held = {tenant: report for tenant, report in held.items() if report.until > now}
                if len(held) >= CONFIRMING_TENANTS:
                    yield KnownFact(upstream, name, None, max(report.until for report in held.values()) - now)
                else:
                    for tenant, report in held.items():
                        yield KnownFact(upstream, name, tenant, report.until - now)

    def notes(self) -> list[FactNote]:
        """The facts that hold, for other workers."""
        now = self._clock()
        return [
            FactNote(upstream, tenant, name, report.until, fact.change)
            for upstream, facts in self._facts.items()
            for name, fact in facts.items()
            for tenant, report in fact.reports.items()
            if report.holds and report.until > now
        ]

    def adopt(self, notes: Iterable[FactNote]) -> None:
        """Takes over the facts that other workers have learned, or that last longer there."""
        now = self._clock()
        for note in notes:
            if note.until <= now or (note.change is not None and not note.change.is_known):
                continue
            known = self._facts.get(note.upstream, {}).get(note.name)
            own = known.reports.get(note.tenant) if known is not None else None
            if own is not None and own.holds and own.until >= note.until:
                continue
            self.any = True
            fact = self._facts.setdefault(note.upstream, {}).setdefault(note.name, _Fact(note.change))
            times = REFUSALS_TO_LEARN if own is None else own.times
            fact.reports[note.tenant] = _Report(times, min(note.until, now + LIFETIME), holds=True)
            self._charge(note.tenant, note.upstream, note.name)

    def forget_provider(self, provider: str) -> None:
        """Drops everything learned about a provider, for example because its settings have changed."""
        for upstream in [label for label in self._facts if label.startswith(f"{provider}/")]:
            for name, fact in self._facts.pop(upstream).items():
                for tenant in fact.reports:
                    self._shares[tenant].pop((upstream, name), None)

    def _charge(self, tenant: str, upstream: str, name: str) -> None:
        """Counts a report against its tenant's share; if that is full, the least recently shown fact is dropped."""
        share = self._shares.setdefault(tenant, {})
        share.pop((upstream, name), None)
        share[upstream, name] = None
        if len(share) > MAX_FACTS_PER_TENANT:
            oldest = next(iter(share))
            del share[oldest]
            self._drop(tenant, *oldest)

    def _drop(self, tenant: str, upstream: str, name: str) -> None:
        facts = self._facts[upstream]
        facts[name].reports.pop(tenant, None)
        if not facts[name].reports:
            del facts[name]
        if not facts:
            del self._facts[upstream]
