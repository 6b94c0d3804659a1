"""Uses the counts that hosts share while they can be reached, else those of this host."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from app.errors import DragomanError
from app.rate_limits.count_file import CountFile
from app.rate_limits.count_redis import CountRedis
from app.rate_limits.counts import Counts, Demand, Full, Limit, Taken
from app.settings import SharedSettings

log = logging.getLogger("dragoman")

# Seconds between two tries to use failed counts.
RETRY_PERIOD = 5.0
# The most requests that ended while Redis was unavailable and are still to be settled there.
MAX_LATE = 10_000


class LimitsUnavailable(DragomanError):
    """The counts of limits cannot be reached, and `shared.fail_closed` allows no request without them."""

    kind = "overloaded"


class SharedCounts:
    """The counts that are available: Redis', else the file's, else those in memory. `problem` says which ones fail, or
    is None. Methods raise only LimitsUnavailable."""

    def __init__(self, folder: Path, settings: SharedSettings) -> None:
        self._settings = settings
        self._redis = CountRedis(settings.redis) if settings.redis is not None else None
        self._file = CountFile(folder)
        self._memory = CountFile(None)
        # Those that others count in too, the best first.
        self._shared: list[tuple[str, Counts]] = [("file", self._file)]
        if self._redis is not None:
            self._shared.insert(0, ("redis", self._redis))
        self._retry_at = {"redis": 0.0, "file": 0.0}
        self._problems: dict[str, str] = {}
        self._late: deque[tuple[Taken, Sequence[int]]] = deque(maxlen=MAX_LATE)

    @property
    def problem(self) -> str | None:
        return "; ".join(self._problems.values()) or None

    def take(self, demands: Sequence[Demand]) -> Taken | Full:
        for name, counts in self._shared:
            if time.monotonic() >= self._retry_at[name]:
                try:
                    taken = counts.take(demands, time.time())
                except OSError as error:
                    self._fail(name, error)
                else:
                    self._problems.pop(name, None)
                    return taken
            if self._settings.fail_closed:
                raise LimitsUnavailable(
                    "the usage counters are not reachable, so limits cannot be checked; try again later"
                )
        return self._memory.take(demands, time.time())

    def look(self, demands: Sequence[Demand]) -> list[int]:
        """The count of each limit, from the counts that are available now."""
        for name, counts in self._shared:
            if time.monotonic() < self._retry_at[name]:
                continue
            try:
                return counts.look(demands, time.time())
            except OSError as error:
                self._fail(name, error)
        return self._memory.look(demands, time.time())

    @property
    def is_shared(self) -> bool:
        """Whether the counts in use are shared by all workers of this host."""
        return "file" not in self._problems

    def settle(self, taken: Taken, actual: Sequence[int]) -> None:
        if taken.counts is self._redis and time.monotonic() < self._retry_at["redis"]:
            self._late.append((taken, actual))  # a Redis that hangs must not hold up the end of each request
            return
        try:
            taken.counts.settle(taken, actual, time.time())
        except OSError as error:
            self._fail("redis" if taken.counts is self._redis else "file", error)
            self._late.append((taken, actual))

    def beat(self) -> None:
        """Sends Redis a sign of life, and what could not be settled earlier. Must be called every few seconds."""
        if self._redis is None:
            return
        try:
            self._redis.beat()
            self._problems.pop("redis", None)
            self._retry_at["redis"] = 0.0
            while self._late:
                taken, actual = self._late[0]
                taken.counts.settle(taken, actual, time.time())
                self._late.popleft()
        except OSError as error:
            self._fail("redis", error)

    def close(self) -> None:
        self._file.close()
        if self._redis is not None:
            self._redis.close()

    def _fail(self, name: str, error: OSError) -> None:
        where = "each host counts separately" if name == "redis" else "each worker counts separately"
        message = f"usage counters are not shared, so {where}: {error}"
        if self._problems.get(name) != message:
            log.warning("%s", message)
        self._problems[name] = message
        self._retry_at[name] = time.monotonic() + RETRY_PERIOD


class CountedPlaces:
    """Counts a queue's places across workers or hosts, in the same counts as limits. `find_counts` returns the current
    counts; `owner` is the name that the places are counted under."""

    def __init__(self, find_counts: Callable[[], SharedCounts], owner: str) -> None:
        self._find_counts = find_counts
        self._owner = owner
        self._can_count = True

    @property
    def is_shared(self) -> bool:
        return self._can_count and self._find_counts().is_shared

    def take(self, maximum: int) -> tuple[SharedCounts, Taken | None] | None:
        counts = self._find_counts()
        try:
            taken = counts.take([Demand(self._owner, Limit("parallel", maximum), 1)])
        except LimitsUnavailable:
            # Limits refuse if they cannot count; a queue falls back to the worker's own share.
            self._can_count = False
            return counts, None
        self._can_count = True
        return None if isinstance(taken, Full) else (counts, taken)

    def give_back(self, place: tuple[SharedCounts, Taken | None]) -> None:
        counts, taken = place
        if taken is not None:
            counts.settle(taken, [0])
