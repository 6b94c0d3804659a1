"""The circuit breaker of one target.

Pure: the caller passes the time, in seconds of a clock that never goes backwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from app.errors import (
    DragomanError,
    UpstreamCut,
    UpstreamGone,
    UpstreamMalformed,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)

# "unreachable" costs a request almost no time, "silent" a whole time limit, and "failing" may be caused by the request.
# "gone" means that the provider does not even answer the liveness question (liveness.py).
Fault = Literal["unreachable", "gone", "silent", "failing"]
BreakerState = Literal["closed", "open", "half_open"]
Verdict = Literal["go", "probe", "wait"]


class Tolerance(msgspec.Struct, frozen=True):
    """How many consecutive faults open a breaker, and for how many seconds: `first`, doubling each time up to
    `longest`."""

    faults: int
    first: float
    longest: float


TOLERANCES: Mapping[Fault, Tolerance] = {
    "unreachable": Tolerance(faults=3, first=2.0, longest=30.0),
    "gone": Tolerance(faults=1, first=10.0, longest=120.0),
    "silent": Tolerance(faults=5, first=10.0, longest=120.0),
    "failing": Tolerance(faults=5, first=5.0, longest=60.0),
}

# Statuses of a server, or a proxy before it, with troubles of its own. 501 is about the request.
FAULT_STATUSES = frozenset({500, 502, 503, 504, 520, 521, 522, 523, 524, 529, 530})
# Those statuses count only with these kinds: servers have answered 500 to bad requests and context overflows.
FAULT_KINDS = frozenset({"internal", "overloaded", "timeout", "unreachable"})
# Tenants that must meet faults before they count for all; until then they count only for the tenants that met them.
CONFIRMING_TENANTS = 2
# Faults that no request can have caused.
FOR_ALL: frozenset[Fault] = frozenset({"unreachable", "gone"})
# Seconds after which a probe without a result no longer blocks the next one: models may think for minutes.
LONGEST_PROBE = 30.0
# Maximum requests and tenants that a streak distinguishes; more would not change the verdict.
MAX_MARKS = 64


def find_fault(error: DragomanError) -> Fault | None:
    """The target's fault that a failure shows; None if it shows none, like a rate limit or a bad request."""
    match error:
        case UpstreamUnreachable():
            return "unreachable"
        case UpstreamGone():
            return "gone"
        case UpstreamTimeout():
            return "silent"
        case UpstreamCut() | UpstreamMalformed():
            return "failing"  # even before the first byte: the body may make a server close the connection or crash
        case UpstreamRefused():
            failure = error.failure
            return "failing" if failure.status in FAULT_STATUSES and failure.kind in FAULT_KINDS else None
        case _:
            return None


def shows_life(error: DragomanError) -> bool:
    """Whether the target answered, even if only to refuse."""
    return isinstance(error, UpstreamRefused)


class Breaker:
    """The consecutive faults of one target.

    A "failing" request counts only once however often it is repeated, since the request itself may be the cause. If all
    faults are one tenant's, the breaker opens for that tenant only. An unreachable target is unreachable for all.
    """

    __slots__ = ("changed", "count", "fault", "opened", "period", "probe_began", "requests", "tenants", "until")

    def __init__(self) -> None:
        self.count = 0
        self.fault: Fault = "failing"
        self.until: float | None = None  # when the next probe may begin; None while closed
        self.period = 0.0
        self.opened = 0  # how often, within this streak
        self.probe_began: float | None = None
        self.tenants: set[str] = set()
        self.requests: set[int] = set()
        self.changed = 0.0

    def state(self, now: float) -> BreakerState:
        if self.until is None:
            return "closed"
        return "open" if now < self.until else "half_open"

    def concerns(self, tenant: str) -> bool:
        """Whether the streak counts for a tenant."""
        return self.fault in FOR_ALL or len(self.tenants) >= CONFIRMING_TENANTS or tenant in self.tenants

    def judge(self, tenant: str, now: float) -> Verdict:
        """Whether a request may go to the target; a "probe" must be begun by `begin_probe`."""
        if self.until is None or not self.concerns(tenant):
            return "go"
        probed = self.probe_began is not None and now < self.probe_began + LONGEST_PROBE
        return "wait" if probed or now < self.until else "probe"

    def begin_probe(self, now: float) -> None:
        self.probe_began = now

    def end_probe(self) -> None:
        """Ends a probe without a result; the next request becomes a probe."""
        self.probe_began = None

    def fail(self, fault: Fault, tenant: str, request: int, now: float, *, probe: bool) -> bool:
        """Counts a fault; returns whether it opens the breaker. `request` is a hash of the request's body."""
        if probe:
            self.probe_began = None
        if self.until is None and fault in FOR_ALL and self.fault not in FOR_ALL:
            self.count = 0  # faults of single tenants do not add up with faults that hold for all
        repeated = fault == "failing" and request in self.requests
        self.fault = fault
        if len(self.tenants) < MAX_MARKS:
            self.tenants.add(tenant)
        if len(self.requests) < MAX_MARKS:
            self.requests.add(request)
        if not repeated:
            self.count += 1
        tolerance = TOLERANCES[fault]
        # A request sent before the breaker opened that fails afterwards shows nothing new.
        if (self.until is not None and not probe and now < self.until) or self.count < tolerance.faults:
            return False
        self.period = min(tolerance.longest, max(tolerance.first, self.period * 2 if self.opened else 0.0))
        self.opened += 1
        self.until = now + self.period
        self.changed = now
        return True

    def left(self, now: float) -> float:
        """Seconds until the next probe may begin."""
        return 0.0 if self.until is None else max(0.0, self.until - now)
