"""Limits the bytes of request bodies that a worker holds at once."""

from __future__ import annotations

import contextlib
import os
import resource
from collections import Counter
from pathlib import Path

import msgspec

from app.errors import DragomanError, FailureKind

MEGABYTE = 1024 * 1024
# Memory that a body needs while it is read, translated and sent, as a multiple of its size.
COST = 3
LEAST = 32 * MEGABYTE
MOST = 1024 * MEGABYTE
RETRY_AFTER = "5"
# Share of the room left by other tenants that several bodies of one tenant may use.
SHARE = 0.75

_LIMIT_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class NoRoom(DragomanError):
    """Too many bytes of other requests are held now; the same request may be accepted a moment later."""

    kind: FailureKind = "overloaded"

    def __init__(self) -> None:
        super().__init__("too many large requests are running; try again soon, or raise server.bodies_mb")
        self.failure = msgspec.structs.replace(self.failure, retry_after=RETRY_AFTER)


class BodyBudget:
    """Limits the bytes that all requests of one worker hold together to `maximum`. A single body always fits.

    Several bodies of one tenant may use SHARE of what the others leave, so that a tenant who sends slowly, for hours,
    does not block the others. The empty tenant stands for everybody if no keys are required.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.taken = 0
        self.tenants: Counter[str] = Counter()

    def hold(self, tenant: str = "") -> Hold:
        return Hold(self, tenant)


class Hold:
    """The part of the budget that one request holds."""

    __slots__ = ("_budget", "_size", "_tenant")

    def __init__(self, budget: BodyBudget, tenant: str) -> None:
        self._budget = budget
        self._tenant = tenant
        self._size = 0

    def take(self, size: int) -> None:
        """Reserves room for more bytes. Raises NoRoom."""
        budget, tenant = self._budget, self._tenant
        own = budget.tenants[tenant]
        left = budget.maximum - (budget.taken - own)
        if tenant and own > self._size:
            left = int(left * SHARE)
        if budget.taken > self._size and own + size > left:
            raise NoRoom
        self._count(size)

    def keep(self, size: int) -> Hold:
        """Another hold, for bytes that are already here."""
        kept = Hold(self._budget, self._tenant)
        kept._count(size)
        return kept

    def release(self) -> None:
        budget, tenant = self._budget, self._tenant
        budget.taken -= self._size
        budget.tenants[tenant] -= self._size
        if not budget.tenants[tenant]:
            del budget.tenants[tenant]
        self._size = 0

    def _count(self, size: int) -> None:
        self._budget.taken += size
        self._budget.tenants[self._tenant] += size
        self._size += size


def default_budget(workers: int) -> int:
    """The budget in bytes that fits into one worker's share of the free memory."""
    return int(max(LEAST, min(MOST, _room() / workers / COST)))


def _room() -> int:
    """Bytes of memory that this process may still use, by the strictest of its limits."""
    size, resident = _used()
    page = os.sysconf("SC_PAGE_SIZE")
    rooms = [os.sysconf("SC_PHYS_PAGES") * page - resident]
    for name in _LIMIT_FILES:
        # The file contains "max" if there is no limit.
        with contextlib.suppress(OSError, ValueError):
            rooms.append(int(Path(name).read_text()) - resident)
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY:
            rooms.append(limit - size)
    return min(rooms)


def _used() -> tuple[int, int]:
    """The bytes of this process's address space and resident memory; zeros if the system does not report them."""
    try:
        size, resident = Path("/proc/self/statm").read_text().split()[:2]
    except OSError:
        return 0, 0
    page = os.sysconf("SC_PAGE_SIZE")
    return int(size) * page, int(resident) * page
