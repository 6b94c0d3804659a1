"""Reports a worker's state as gauges: loops, databases, providers, load."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from itertools import islice

from app.gateway.recording.metrics import Gauge
from app.gateway.use_limits.in_force import read_use
from app.rate_limits.counts import DOLLAR
from app.runtime import Runtime

# Bounds the gauges: names of models come from clients, so any number of targets can fail.
MAX_TARGETS = 100
# The most keys and providers whose limits are reported.
MAX_OWNERS = 100
BREAKER_STATES = {"closed": 0, "half_open": 1, "open": 2}
_PAGE = resource.getpagesize()


def describe_state(runtime: Runtime) -> list[Gauge]:
    """All gauges of this worker. Cheap enough to be called every second."""
    return [
        *_requests(runtime),
        *_loops(runtime),
        *_databases(runtime),
        *_providers(runtime),
        *_pressure(runtime),
        *_limits(runtime),
        *_quotas(runtime),
        *_process(),
    ]


def _requests(runtime: Runtime) -> Iterator[Gauge]:
    yield Gauge("dragoman_body_bytes", "Bytes of request bodies held now", runtime.bodies.taken, merge="sum")
    well = runtime.problem is None
    yield Gauge("dragoman_config_ok", "Whether the configuration file is in force", well, merge="min")


def _loops(runtime: Runtime) -> Iterator[Gauge]:
    for loop in runtime.loops:
        labels = {"loop": loop.name}
        yield Gauge("dragoman_loop_age_seconds", "Time since the last round of a loop", loop.age or 0.0, labels, "max")
        yield Gauge("dragoman_loop_faults", "Failed rounds of a loop", loop.faults, labels, "sum")


def _databases(runtime: Runtime) -> Iterator[Gauge]:
    ledger = runtime.services.ledger
    yield Gauge("dragoman_ledger_up", "Whether the ledger can be written", ledger.problem is None, merge="min")


def _providers(runtime: Runtime) -> Iterator[Gauge]:
    for name, provider in runtime.services.providers.items():
        labels = {"provider": name}
        up = provider.health.problem is None
        yield Gauge(
            "dragoman_provider_up", "Whether the last request to it, or its login, succeeded", up, labels, "min"
        )
        if provider.source is None:
            continue
        expiry = provider.source.describe().expires_at
        if expiry is not None:
            yield Gauge(
                "dragoman_credential_expiry_timestamp_seconds", "When a credential expires", expiry, labels, "max"
            )


def _pressure(runtime: Runtime) -> Iterator[Gauge]:
    """Retries, queues and circuit breakers. Breakers of targets without faults are left out."""
    health = runtime.services.gateway.health
    for load in health.loads():
        labels = {"provider": load.provider}
        yield Gauge("dragoman_retries_last_minute", "Retries sent to it", load.retries, labels, "sum")
        if load.max_parallel is None:
            continue
        yield Gauge("dragoman_parallel_limit", "Most concurrent requests", load.max_parallel, labels, "max")
        yield Gauge("dragoman_parallel_requests", "Requests it is answering now", load.parallel, labels, "sum")
        yield Gauge("dragoman_queued_requests", "Requests waiting for their turn", load.waiting, labels, "sum")
        yield Gauge("dragoman_queue_timeouts", "Requests that waited too long", load.timeouts, labels, "sum")
    for state in islice(health.targets(), MAX_TARGETS):
        labels = {"target": state.target}
        value = BREAKER_STATES[state.state]
        yield Gauge("dragoman_breaker_state", "0 closed, 1 half open, 2 open", value, labels, "max")


def _limits(runtime: Runtime) -> Iterator[Gauge]:
    """Limits and their use, which all workers report alike. Budgets are in dollars."""
    limited = runtime.find_limited()[:MAX_OWNERS]
    for use in read_use(limited, runtime.limiter.counts) if limited else ():
        labels = {"owner": use.owner, "name": use.name, "limit": use.limit}
        unit = DOLLAR if use.kind == "budget" else 1
        yield Gauge("dragoman_limit", "What a limit allows; a budget in dollars", use.maximum / unit, labels, "max")
        yield Gauge("dragoman_limit_used", "What is used of a limit", use.used / unit, labels, "max")


def _quotas(runtime: Runtime) -> Iterator[Gauge]:
    """What logins have used of their quota windows, as of the last reply. Windows that have ended are left out."""
    now = time.time()
    for name, provider in runtime.services.providers.items():
        for credential, windows in provider.health.quotas.items():
            for window in windows:
                if window.resets_at is not None and window.resets_at <= now:
                    continue
                labels = {"provider": name, "credential": credential or "login", "window": window.name}
                yield Gauge(
                    "dragoman_quota_used_ratio", "Share of the window that a login has used", window.used, labels, "max"
                )
                if window.resets_at is not None:
                    name_of_end = "dragoman_quota_reset_timestamp_seconds"
                    yield Gauge(name_of_end, "When a login's window starts again", window.resets_at, labels, "max")


def _process() -> Iterator[Gauge]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = used.ru_utime + used.ru_stime
    yield Gauge("dragoman_cpu_seconds", "CPU time of the running workers", spent, merge="sum")
    try:
        with open("/proc/self/statm", "rb") as file:
            resident = int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return
    yield Gauge("dragoman_resident_bytes", "Memory of the workers", resident, merge="sum")
