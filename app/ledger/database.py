"""The ledger's database, SQLite or Postgres.

Each statement is its own transaction, so nothing is ever half written, and no lock outlives a statement.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import gevent

from app.errors import LedgerSilent, LedgerUnavailable
from app.ledger.schema import migrate
from app.sql import MEMORY, Connection, DatabaseFailed, identify, list_marks, read_place

T = TypeVar("T")

# Seconds that a writer waits for another one, and between two tries. SQLite's own waiting would block the whole worker.
BUSY_SECONDS = 2.0
BUSY_PAUSE = 0.01
# Seconds for a statement, for connecting, and for getting one of the worker's connections.
ANSWER_LIMIT = 2
# The most connections of a worker.
MAX_CONNECTIONS = 15
# Records, and bytes of them, that are deleted at once. A longer delete would keep the other workers waiting.
BATCH = 500
BATCH_BYTES = 16 * 1024 * 1024
# Records of unknown size that a tenant deletes at once.
FEW = 64

_PLACE = "kind = ? AND tenant = ? AND key = ? AND created >= ?"
_PUT = (
    "INSERT INTO records (kind, tenant, key, created, size, value) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (kind, tenant, key) DO UPDATE "
    "SET created = excluded.created, size = excluded.size, value = excluded.value"
)
_GET = f"SELECT value FROM records WHERE {_PLACE}"
_REPLACE = f"UPDATE records SET created = ?, size = ?, value = ? WHERE {_PLACE} AND value = ?"
_SCAN = "SELECT tenant, value FROM records WHERE kind = ? AND created >= ?"
_AGED = f" ORDER BY created, key LIMIT {BATCH}"


_UNKNOWN = 1 << 30  # the size of what may be large
_LOOK_UP = 1000  # bytes that take as long as one of many keys
# Runs work on so many bytes, with its arguments, without holding up other requests.
RunHeavy = Callable[..., Any]


def run_directly(_size: int, work: Callable[..., T], *args: Any) -> T:
    return work(*args)


class Database:
    """An open database. Every method raises LedgerUnavailable."""

    def __init__(self, place: str | Path, run_heavy: RunHeavy = run_directly) -> None:
        """`place` is a file for SQLite, or a URL of SQLite or Postgres. `run_heavy` writes large records to SQLite."""
        try:
            self._place = place if isinstance(place, Path) else read_place(place)
        except ValueError as error:
            raise LedgerUnavailable(f"ledger.url {error}") from error
        self._is_file = isinstance(self._place, Path) and self._place != MEMORY
        self._idle: list[Connection] = []
        self._places = threading.Semaphore(MAX_CONNECTIONS)
        self._is_closed = False
        self._run_heavy = run_heavy
        self._run(migrate)
        self._file = identify(self._place)

    def put(self, kind: str, tenant: str, key: str, value: bytes, now: int) -> None:
        """Stores a record. `now`, in unix seconds, is when it was created."""
        values = (kind, tenant, key, now, len(value), value)
        self._run(lambda connection: self._run_beside(connection, len(value), connection.execute, _PUT, values))

    def get(self, kind: str, tenant: str, key: str, oldest: int) -> bytes | None:
        value = self._run(lambda connection: connection.value(_GET, (kind, tenant, key, oldest)))
        return None if value is None else _blob(value)

    def replace(self, kind: str, tenant: str, key: str, before: bytes, value: bytes, now: int) -> bool:
        """Replaces the value `before`. Returns whether it was still there."""
        values = (now, len(value), value, kind, tenant, key, 0, before)
        size = len(value) + len(before)

        def work(connection: Connection) -> bool:
            return bool(self._run_beside(connection, size, connection.execute, _REPLACE, values).rowcount > 0)

        return self._run(work)

    def get_many(self, kind: str, tenant: str, keys: Sequence[str], oldest: int) -> dict[str, bytes]:
        def work(connection: Connection) -> dict[str, bytes]:
            found = {}
            for places, values in _list_places(kind, tenant, keys):
                rows = connection.tuples(
                    f"SELECT key, value FROM records WHERE created >= ? AND {places}", (oldest, *values)
                )
                found.update({key: _blob(value) for key, value in rows})
            return found

        size = len(keys) * _LOOK_UP
        return self._run(lambda connection: self._run_beside(connection, size, work, connection))

    def renew(self, kind: str, tenant: str, keys: Sequence[str], now: int) -> None:
        """Makes records look as if they were created at `now`."""

        def work(connection: Connection) -> None:
            for places, values in _list_places(kind, tenant, keys):
                connection.execute(f"UPDATE records SET created = ? WHERE {places}", (now, *values))

        self._run(work)

    def scan(self, kind: str, oldest: int, tenant: str | None = None) -> list[tuple[str, bytes]]:
        """Tenant and value of the records of a kind, of one tenant or of all, oldest first, at most BATCH."""
        if tenant is None:
            rows = self._run(lambda connection: connection.tuples(_SCAN + _AGED, (kind, oldest)))
        else:
            theirs = f"{_SCAN} AND tenant = ?{_AGED}"
            rows = self._run(lambda connection: connection.tuples(theirs, (kind, oldest, tenant)))
        return [(tenant, _blob(value)) for tenant, value in rows]

    def delete(self, kind: str, tenant: str, keys: Sequence[str], oldest: int) -> bool:
        def work(connection: Connection) -> bool:
            deleted = False
            for places, values in _list_places(kind, tenant, keys, FEW):
                done = connection.execute(f"DELETE FROM records WHERE created >= ? AND {places}", (oldest, *values))
                deleted = done.rowcount > 0 or deleted
            if deleted and connection.is_sqlite:
                # Removes the deleted record from SQLite's log too. If others use the log, a later delete does so.
                with suppress(DatabaseFailed):
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return deleted

        return self._run_long(work)

    def prune(self, oldest: int, maximum: int, *, only: str | None = None, apart: Sequence[str] = ()) -> None:
        """Deletes records created before `oldest`, then the oldest others while they take more than `maximum` bytes.

        Handles the kind `only`, or else all kinds but those in `apart`. Deletes at most a batch of each; the rest is
        left to the next call.
        """
        kinds = ("kind = ?", (only,)) if only is not None else (f"kind NOT IN ({list_marks(apart)})", tuple(apart))
        self._run_long(_delete_aged, *kinds, oldest)
        self._run_long(_delete_excess, *kinds, maximum)

    def close(self) -> None:
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()

    def is_lost(self) -> bool:
        """Whether the open SQLite file was moved, removed or replaced, so that others no longer use it."""
        return self._is_file and identify(self._place) != self._file

    def _run_long(self, work: Callable[..., T], *args: Any) -> T:
        return self._run(lambda connection: self._run_beside(connection, _UNKNOWN, work, connection, *args))

    def _run_beside(self, connection: Connection, size: int, work: Callable[..., T], *args: Any) -> T:
        """Runs `work` on so many bytes. SQLite would hold up other requests, Postgres lets them go on."""
        result: T = self._run_heavy(size, work, *args) if connection.is_sqlite else work(*args)
        return result

    def _run(self, work: Callable[[Connection], T]) -> T:
        limit = None if self._is_file else 2 * ANSWER_LIMIT  # a file answers, or says that it is busy
        end = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                with gevent.Timeout(limit, _Silence), self._connection() as connection:
                    return work(connection)
            except DatabaseFailed as error:
                # Each statement is its own transaction, so it is safe to try again.
                if error.busy and self._is_file and time.monotonic() < end:
                    time.sleep(BUSY_PAUSE)
                    continue
                raise LedgerUnavailable("the ledger's database failed; see the log", str(error)) from error
            except _Silence as silence:
                message = f"the database did not answer within {2 * ANSWER_LIMIT} s"
                raise LedgerSilent("the ledger's database does not answer; see the log", message) from silence

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """A connection for exclusive use. One that was interrupted is not used again."""
        if not self._places.acquire(timeout=ANSWER_LIMIT):
            raise LedgerUnavailable("the ledger's database is too busy; try again soon", "all connections are in use")
        try:
            connection = self._take()
            try:
                yield connection
            except DatabaseFailed:
                self._give(connection)
                raise
            except BaseException:
                if not connection.is_sqlite:  # a thread may still write with it, and then closes it
                    connection.close()
                raise
            self._give(connection)
        finally:
            self._places.release()

    def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_sqlite or _is_alive(connection):
                return connection
            connection.close()
        return self._connect()

    def _give(self, connection: Connection) -> None:
        if self._is_closed or connection.is_closed:
            connection.close()
        else:
            self._idle.append(connection)

    def _connect(self) -> Connection:
        try:
            # SQLite does not wait for locks by itself, and overwrites deleted content.
            wait = 0 if isinstance(self._place, Path) else ANSWER_LIMIT
            return Connection(self._place, wait, ("secure_delete=ON",))
        except ImportError as error:
            raise LedgerUnavailable(f"ledger.url cannot be used: {error}") from error
        except OSError as error:
            message = f"cannot create the ledger's file: {error}"
            raise LedgerUnavailable("cannot create the ledger's file; see the log", message) from error


class _Silence(BaseException):
    """The time limit of a statement is over. Not an Exception, so that no other code handles it as its own failure."""


def _list_places(
    kind: str, tenant: str, keys: Sequence[str], at_once: int = BATCH
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The condition for records of a tenant, with its values, for a batch of them at a time."""
    for start in range(0, len(keys), at_once):
        wanted = keys[start : start + at_once]
        yield f"kind = ? AND tenant = ? AND key IN ({list_marks(wanted)})", (kind, tenant, *wanted)


def _blob(value: object) -> bytes:
    """A value as bytes; none for one of a type that only others write there. `bytes` would make a number zeros."""
    return bytes(value) if isinstance(value, bytes | memoryview) else b""


def _is_alive(connection: Connection) -> bool:
    """Whether a connection still works. The server may have been restarted since it was last used."""
    try:
        connection.execute("SELECT 1")
    except DatabaseFailed:
        return False
    return True


def _delete_aged(connection: Connection, kinds: str, values: Sequence[str], oldest: int) -> None:
    aged = f"SELECT created, size FROM records WHERE {kinds} AND created < ? ORDER BY created LIMIT {BATCH}"
    _delete(connection, kinds, values, connection.tuples(aged, (*values, oldest)))


def _delete_excess(connection: Connection, kinds: str, values: Sequence[str], maximum: int) -> None:
    total = connection.value(f"SELECT coalesce(sum(size), 0) FROM records WHERE {kinds}", values)
    if total <= maximum:
        return
    # The tenant with the most bytes loses records. Otherwise one tenant could push out those of all others.
    sums = f"SELECT tenant FROM records WHERE {kinds} GROUP BY tenant ORDER BY sum(size) DESC LIMIT 1"
    tenant = connection.value(sums, values) or ""
    theirs = f"{kinds} AND tenant = ?"
    ages = f"SELECT created, size FROM records WHERE {theirs} ORDER BY created LIMIT {BATCH}"
    excess = []
    for created, size in connection.tuples(ages, (*values, tenant)):
        excess.append((created, size))
        total -= size
        if total <= maximum:
            break
    _delete(connection, theirs, (*values, tenant), excess)


def _delete(connection: Connection, places: str, values: Sequence[str], ages: Sequence[tuple[int, int]]) -> None:
    """Deletes the records up to the last of these ages, each with its size, oldest first."""
    size = 0
    for number, (created, bytes_of_one) in enumerate(ages, start=1):
        size += bytes_of_one
        if size >= BATCH_BYTES or number == len(ages):
            connection.execute(f"DELETE FROM records WHERE {places} AND created <= ?", (*values, created))
            size = 0
