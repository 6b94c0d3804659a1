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
# A body costs more than its own bytes while it is read, translated and sent.
COST = 3
LEAST = 32 * MEGABYTE
MOST = 1024 * MEGABYTE
RETRY_AFTER = "5"
# Of the room that other tenants leave, what several bodies of one may take.
SHARE = 0.75

_LIMIT_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class NoRoom(DragomanError):
    """Too many bytes of other requests are held right now; the same request may well be taken in a moment."""

    kind: FailureKind = "overloaded"

    def __init__(self) -> None:
        super().__init__("too many large requests are running; try again soon, or raise server.bodies_mb")
        self.failure = msgspec.structs.replace(self.failure, retry_after=RETRY_AFTER)


class BodyBudget:
    """The bytes that all requests of one worker may hold together, `most` at a time. One body alone always fits.

    Several bodies of one tenant may take SHARE of what the others leave: whoever sends slowly, for hours, keeps nobody
    else from sending. The empty tenant is everybody where no keys are asked for.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self.tenants: Counter[str] = Counter()

    def hold(self, tenant: str = "") -> Hold:
        return Hold(self, tenant)


class Hold:
    """What one request holds of the budget."""

    __slots__ = ("_budget", "_size", "_tenant")

    def __init__(self, budget: BodyBudget, tenant: str) -> None:
        self._budget = budget
        self._tenant = tenant
        self._size = 0

    def take(self, size: int) -> None:
        """Room for more bytes. Raises NoRoom."""
        budget, tenant = self._budget, self._tenant
        own = budget.tenants[tenant]
        left = budget.most - (budget.taken - own)
        if tenant and own > self._size:
            left = int(left * SHARE)
        if budget.taken > self._size and own + size > left:
            raise NoRoom
        budget.taken += size
        budget.tenants[tenant] += size
        self._size += size

    def release(self) -> None:
        budget, tenant = self._budget, self._tenant
        budget.taken -= self._size
        budget.tenants[tenant] -= self._size
        if not budget.tenants[tenant]:
            del budget.tenants[tenant]
        self._size = 0


def default_budget(workers: int) -> int:
    """What fits into the memory that is left to one of so many workers."""
    return int(max(LEAST, min(MOST, _room() / workers / COST)))


def _room() -> int:
    """Bytes of memory that this process may still take, by the strictest of its limits."""
    size, resident = _used()
    page = os.sysconf("SC_PAGE_SIZE")
    rooms = [os.sysconf("SC_PHYS_PAGES") * page - resident]
    for name in _LIMIT_FILES:
        # "max" where there is no limit
        with contextlib.suppress(OSError, ValueError):
            rooms.append(int(Path(name).read_text()) - resident)
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY:
            rooms.append(limit - size)
    return min(rooms)


def _used() -> tuple[int, int]:
    """The bytes of this process's address space and of its memory; nothing where the system does not tell."""
    try:
        size, resident = Path("/proc/self/statm").read_text().split()[:2]
    except OSError:
        return 0, 0
    page = os.sysconf("SC_PAGE_SIZE")
    return int(size) * page, int(resident) * page
