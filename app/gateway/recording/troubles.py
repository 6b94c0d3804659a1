"""Finds what is currently wrong with a gateway, as alerts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from app.gateway.recording.alerts import Alert
from app.gateway.use_limits.in_force import LimitUse, format_use
from app.gateway.use_limits.refusal import Owner
from app.ledger import Ledger
from app.loops import Loop
from app.providers.provider import Provider

# A loop is stale if its last round is longer ago than both of these: periods of the loop, and seconds.
STALE_PERIODS, STALE_SECONDS = 10, 30.0
# Seconds before the end of a login that cannot be renewed, and after the end of one that should have been renewed.
LOGIN_ENDS, LOGIN_ENDED = 86_400.0, 300.0
# Percentages of a budget at which an alert says how much is spent.
BUDGET_MARKS = (80, 100)


def is_stale(loop: Loop) -> bool:
    return loop.age is not None and loop.age > max(STALE_SECONDS, STALE_PERIODS * loop.period)


def find_troubles(
    providers: Mapping[str, Provider], loops: Iterable[Loop], ledger: Ledger, config_problem: str | None, now: float
) -> list[Alert]:
    """The alerts that hold now. `now` is unix time."""
    return [
        *_find_of_providers(providers, now),
        *(
            Alert("loop_dead", loop.name, f"the {loop.name} has not run for {loop.age or 0:.0f} s")
            for loop in loops
            if is_stale(loop)
        ),
        *([Alert("ledger_down", "ledger", f"nothing is being stored: {ledger.problem}")] if ledger.problem else []),
        *([Alert("config_refused", "config", f"a changed configuration is not in force: {config_problem}")]
          if config_problem else []),
    ]  # fmt: skip


def find_spent_budgets(uses: Iterable[LimitUse]) -> Iterator[Alert]:
    """An alert for each mark that a budget has reached; they end when the next day or month begins."""
    for use in uses:
        for mark in BUDGET_MARKS:
            if use.kind == "budget" and use.used * 100 >= use.maximum * mark:
                owner = Owner(use.owner, use.name)
                subject = f"{owner.kind} {use.name}, {use.period}, {mark} %"
                yield Alert("budget", subject, f"{owner} has spent {format_use(use)} of this {use.period}")


def _find_of_providers(providers: Mapping[str, Provider], now: float) -> Iterator[Alert]:
    for name, provider in providers.items():
        trouble = provider.health.problem
        if trouble is not None:
            yield Alert("provider_down", name, f"provider {name} is failing ({trouble.kind}): {trouble.message}")
        if provider.source is None:
            continue
        status = provider.source.describe()
        if status.problem is not None:
            yield Alert("login_ended", name, f"provider {name} has no credential: {status.problem}")
        elif status.expires_at is not None:
            left = status.expires_at - now
            if left < -LOGIN_ENDED or (not status.renewable and left < LOGIN_ENDS):
                when = datetime.fromtimestamp(status.expires_at, UTC).isoformat(timespec="minutes")
                yield Alert(
                    "login_ends",
                    name,
                    f"the login of provider {name} expires at {when}; renew it: dragoman login {name}",
                )
