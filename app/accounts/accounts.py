"""Queues the records of requests and writes them to the accounts' database in batches."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from app.accounts.database import AccountsDatabase
from app.accounts.record import RequestRecord
from app.settings import AccountsSettings, data_folder
from app.sql import MEMORY, Connection, DatabaseFailed, read_place

log = logging.getLogger("dragoman.accounts")

T = TypeVar("T")

DAY = 86_400.0
FILE_NAME = "usage.sqlite3"
# The most records that wait to be written. If the database is slower than the requests, rows are lost, never requests.
MAX_WAITING = 10_000
# The most records in one transaction, and how many are written before their time. All that a busy second brings would
# take ten megabytes, which a process keeps.
MAX_BATCH = 1_000
# Seconds between two tries to use a failed database, and between two prunings of old rows.
RETRY_PERIOD = 10.0
PRUNE_PERIOD = 60.0


class Accounts:
    """A sink of records. `lost` counts those that could not be stored. `problem` says why, or is None."""

    def __init__(
        self,
        settings: AccountsSettings,
        url: str | None = None,
        clock: Callable[[], float] = time.time,
        on_batch: Callable[[], object] = lambda: None,
    ) -> None:
        """`url` is the ledger's, or None for a SQLite file in the user's data folder. `clock` returns unix time, for
        the age of rows. `on_batch` is called when a whole batch waits to be flushed; it must return at once."""
        self._clock = clock
        self._on_batch = on_batch
        self._settings = settings
        self._place = _find_place(url)
        self._waiting: deque[RequestRecord] = deque()
        self._database: AccountsDatabase | None = None
        self._retry_at = 0.0
        self._pruned_at = 0.0
        self.lost = 0
        self.problem: str | None = None

    @property
    def place(self) -> Path | str:
        """SQLite's file, or Postgres' URL."""
        return self._place

    @property
    def waiting(self) -> int:
        """The number of records that are not written yet."""
        return len(self._waiting)

    def take(self, records: Iterable[RequestRecord]) -> None:
        """Queues records without waiting for the database. Requests that are not for the API get no row, since
        strangers could fill the database with them."""
        wanted = [record for record in records if record.operation]
        before = len(self._waiting)
        self._waiting.extend(wanted[: max(0, MAX_WAITING - before)])
        self.lost += before + len(wanted) - len(self._waiting)
        if before < MAX_BATCH <= len(self._waiting):
            self._on_batch()

    def flush(self) -> None:
        """Writes the queued records. Called by one loop, in a thread that may block. Never raises."""
        now = time.monotonic()
        if not self._waiting or now < self._retry_at:
            return
        parts: list[list[RequestRecord]] = []
        try:
            while parts or self._waiting:
                if not parts:
                    parts.append([self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))])
                self._write_last(parts)
            if now - self._pruned_at >= PRUNE_PERIOD:
                self._pruned_at = now
                today = self._clock()
                days, rollup_days = self._settings.days, self._settings.rollup_days
                # Lists of requests find their rows by the sums, which must not go before them.
                self._open().prune(today - days * DAY, today - max(days, rollup_days) * DAY)
            self.problem = None
        except Exception as error:
            self._fail([record for part in reversed(parts) for record in part], error)

    def _write_last(self, parts: list[list[RequestRecord]]) -> None:
        """Writes the last part and removes it. Halves it instead if the database can never take one of its records:
        that one is lost, and must not keep the others waiting."""
        part = parts[-1]
        try:
            self._open().write(part)
        except Exception as error:
            if not (error.is_about_values if isinstance(error, DatabaseFailed) else isinstance(error, ValueError)):
                raise
            middle = len(part) // 2
            parts[-1:] = [part[middle:], part[:middle]] if middle else []
            if not middle:
                self.lost += 1
                log.warning("request %s is missing from the accounts: %s", part[0].id, type(error).__name__)
            return
        parts.pop()

    def read(self, work: Callable[[Connection], T]) -> T:
        """The result of `work`. Raises DatabaseFailed or OSError. Must be called in a thread that may block."""
        return work(self._open().connection)

    def change(self, work: Callable[[Connection], T]) -> T:
        """The result of `work`, which runs in one transaction. Raises as `read` does."""
        with self._open().changes() as connection:
            return work(connection)

    def close(self) -> None:
        """Writes the queued records and closes the database."""
        self.flush()
        self._let_go()

    def _let_go(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _fail(self, batch: list[RequestRecord], error: Exception) -> None:
        """Queues the newest records of a failed batch again, as far as there is room, for a later try."""
        room = max(0, MAX_WAITING - len(self._waiting))
        self.lost += max(0, len(batch) - room)
        self._waiting.extendleft(reversed(batch[-room:] if room else []))
        self._retry_at = time.monotonic() + RETRY_PERIOD
        detail = next(iter(str(error).splitlines()), "")
        reason = f"{type(error).__name__}: {detail[:200]}"
        if self.problem is None:
            log.warning("requests are missing from the accounts for now: %s", reason)
        self.problem = reason

    def _open(self) -> AccountsDatabase:
        if self._database is not None and self._database.is_gone:
            self._let_go()
        if self._database is None:
            self._database = AccountsDatabase(self._place)
        return self._database


def _find_place(url: str | None) -> Path | str:
    """A file beside the ledger's, or the ledger's Postgres."""
    if url is None:
        return data_folder() / FILE_NAME
    try:
        place = read_place(url)
    except ValueError:
        return url  # opening it reports the error
    return place.with_name(FILE_NAME) if isinstance(place, Path) and place != MEMORY else place
