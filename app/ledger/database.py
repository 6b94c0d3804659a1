"""The ledger's database: SQLite or Postgres behind the few statements that the shelves need.

Each statement is a transaction of its own, so nothing is ever half written, and no lock outlives a statement.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import gevent
from sqlalchemy import URL, ColumnElement, Connection, bindparam, create_engine, event, func, make_url, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from app.errors import LedgerSilent, LedgerUnavailable
from app.ledger.schema import migrate, records

T = TypeVar("T")

# How long a writer waits for another, in seconds, and between two tries: SQLite's own waiting would hold up all that
# this worker does.
BUSY_SECONDS = 2.0
BUSY_PAUSE = 0.01
# Seconds for a statement, a connection, and a place among the connections.
ANSWER_LIMIT = 2
# Records that are thrown away at once: a long delete would keep the other workers waiting.
BATCH = 500

_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

# Built once: to put a statement together costs more than to run it.
_PLACE = (
    records.c.kind == bindparam("a_kind"),
    records.c.tenant == bindparam("a_tenant"),
    records.c.key == bindparam("a_key"),
    records.c.created >= bindparam("oldest"),
)
_SELECT = select(records.c.value).where(*_PLACE)
_SELECT_MANY = select(records.c.key, records.c.value).where(
    records.c.kind == bindparam("a_kind"),
    records.c.tenant == bindparam("a_tenant"),
    records.c.key.in_(bindparam("keys", expanding=True)),
    records.c.created >= bindparam("oldest"),
)
_SELECT_KIND = (
    select(records.c.tenant, records.c.value)
    .where(records.c.kind == bindparam("a_kind"), records.c.created >= bindparam("oldest"))
    .order_by(records.c.created, records.c.key)
    .limit(BATCH)
)
_DELETE = records.delete().where(*_PLACE)
_REPLACE = records.update().where(*_PLACE, records.c.value == bindparam("before"))


class Database:
    """An open database. Every method raises LedgerUnavailable."""

    def __init__(self, place: str | Path) -> None:
        """`place` is a file for SQLite, or a URL of SQLite or Postgres."""
        url = _read_url(place)
        if url.get_backend_name() == "sqlite":
            _create_private(url.database)
        self._path = url.database if url.get_backend_name() == "sqlite" and url.database != ":memory:" else None
        self._file = _file_id(self._path)
        remote: dict[str, Any] = {}
        if url.get_backend_name() == "postgresql":
            options = f"-c statement_timeout={ANSWER_LIMIT * 1000} -c lock_timeout={ANSWER_LIMIT * 1000}"
            arguments = {"connect_timeout": ANSWER_LIMIT, "options": options}
            remote = {"pool_pre_ping": True, "pool_timeout": ANSWER_LIMIT, "connect_args": arguments}
        try:
            self._engine = create_engine(url, isolation_level="AUTOCOMMIT", **remote)
        except (SQLAlchemyError, ImportError) as error:
            raise LedgerUnavailable(f"ledger.url cannot be used: {_reason(error)}") from error
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _tune)
        self._upsert = _build_upsert(self._engine.dialect.name)
        self._run(migrate)

    def put(self, kind: str, tenant: str, key: str, value: bytes, now: int) -> None:
        """`now` is the record's time of birth in unix seconds."""
        row = {"kind": kind, "tenant": tenant, "key": key, "created": now, "size": len(value), "value": value}
        self._run(lambda connection: connection.execute(self._upsert, row))

    def get(self, kind: str, tenant: str, key: str, oldest: int) -> bytes | None:
        place = {"a_kind": kind, "a_tenant": tenant, "a_key": key, "oldest": oldest}
        value = self._run(lambda connection: connection.execute(_SELECT, place).scalar())
        return None if value is None else bytes(value)

    def replace(self, kind: str, tenant: str, key: str, before: bytes, value: bytes, now: int) -> bool:
        """Puts a value in the place of `before`; whether that was still there."""
        place = {"a_kind": kind, "a_tenant": tenant, "a_key": key, "oldest": 0, "before": before}
        fresh = {"created": now, "size": len(value), "value": value}
        return self._run(lambda connection: connection.execute(_REPLACE.values(fresh), place).rowcount > 0)

    def get_many(self, kind: str, tenant: str, keys: Sequence[str], oldest: int) -> dict[str, bytes]:
        place = {"a_kind": kind, "a_tenant": tenant, "oldest": oldest}

        def work(connection: Connection) -> dict[str, bytes]:
            found = {}
            for start in range(0, len(keys), BATCH):
                wanted = place | {"keys": keys[start : start + BATCH]}
                found.update({row.key: bytes(row.value) for row in connection.execute(_SELECT_MANY, wanted)})
            return found

        return self._run(work)

    def scan(self, kind: str, oldest: int) -> list[tuple[str, bytes]]:
        """Tenant and value of the records of a kind, the oldest first, BATCH at most."""
        place = {"a_kind": kind, "oldest": oldest}
        return self._run(
            lambda connection: [(row.tenant, bytes(row.value)) for row in connection.execute(_SELECT_KIND, place)]
        )

    def delete(self, kind: str, tenant: str, key: str, oldest: int) -> bool:
        place = {"a_kind": kind, "a_tenant": tenant, "a_key": key, "oldest": oldest}
        deleted = self._run(lambda connection: connection.execute(_DELETE, place).rowcount > 0)
        if deleted and self._path is not None:
            self._empty_log()
        return deleted

    def prune(self, oldest: int, most: int, *, only: str | None = None, apart: Sequence[str] = ()) -> None:
        """Throws away what was born before `oldest`, then the oldest of the rest while all are more than `most` bytes.

        `only` is the one kind that is looked at; otherwise it is all but those set `apart`. Does a batch of each at a
        time, so that what is left over waits for the next call.
        """
        kinds = records.c.kind == only if only is not None else records.c.kind.not_in(apart)
        self._run(lambda connection: _delete_aged(connection, kinds, oldest))
        self._run(lambda connection: _delete_excess(connection, kinds, most))

    def _empty_log(self) -> None:
        """Takes what was deleted out of SQLite's log too; with others at it, the next one does."""
        with contextlib.suppress(SQLAlchemyError), self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self._engine.dispose()

    def is_lost(self) -> bool:
        """Whether the file of an open SQLite is no longer where others look for it."""
        return self._path is not None and _file_id(self._path) != self._file

    def _run(self, work: Callable[[Connection], T]) -> T:
        end = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                with gevent.Timeout(2 * ANSWER_LIMIT, _Silence), self._engine.connect() as connection:
                    return work(connection)
            except SQLAlchemyError as error:
                # Each statement is a transaction of its own, so all of them can be tried again.
                if self._path is not None and _is_busy(error) and time.monotonic() < end:
                    time.sleep(BUSY_PAUSE)
                    continue
                reason = _reason(error)
                raise LedgerUnavailable("the database of the ledger failed; see the log", reason) from error
            except _Silence as silence:
                said = f"the database did not answer within {2 * ANSWER_LIMIT} s"
                raise LedgerSilent("the database of the ledger does not answer; see the log", said) from silence


class _Silence(BaseException):
    """Not an Exception: SQLAlchemy throws a connection away that one of these has interrupted."""


def _is_busy(error: SQLAlchemyError) -> bool:
    said = str(getattr(error, "orig", ""))
    return "database is locked" in said or "table is locked" in said


def _file_id(path: str | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _build_upsert(backend: str) -> Any:
    insert = _INSERTS[backend](records)
    fresh = {name: insert.excluded[name] for name in ("created", "size", "value")}
    return insert.on_conflict_do_update(index_elements=["kind", "tenant", "key"], set_=fresh)


def _delete_aged(connection: Connection, kinds: ColumnElement[bool], oldest: int) -> None:
    ages = select(records.c.created).where(kinds, records.c.created < oldest)
    aged = ages.order_by(records.c.created).limit(BATCH)
    last = connection.execute(select(func.max(aged.subquery().c.created))).scalar()
    if last is not None:
        connection.execute(records.delete().where(kinds, records.c.created <= last))


def _delete_excess(connection: Connection, kinds: ColumnElement[bool], most: int) -> None:
    total = connection.execute(select(func.coalesce(func.sum(records.c.size), 0)).where(kinds)).scalar_one()
    if total <= most:
        return
    # Who has most makes room, or one tenant could push out what all others have stored.
    sums = select(records.c.tenant, func.sum(records.c.size).label("taken")).where(kinds).group_by(records.c.tenant)
    tenant = connection.execute(sums.order_by(sums.selected_columns.taken.desc()).limit(1)).first()
    theirs = (kinds, records.c.tenant == (tenant.tenant if tenant is not None else ""))
    ages = select(records.c.created, records.c.size).where(*theirs).order_by(records.c.created).limit(BATCH)
    last = None
    for created, size in connection.execute(ages):
        last = created
        total -= size
        if total <= most:
            break
    connection.execute(records.delete().where(*theirs, records.c.created <= last))


def _read_url(place: str | Path) -> URL:
    if isinstance(place, Path):
        return URL.create("sqlite", database=str(place))
    try:
        url = make_url(place)
    except ArgumentError as error:
        raise LedgerUnavailable("ledger.url is not a URL of a database") from error
    if url.get_backend_name() not in _INSERTS:
        raise LedgerUnavailable(f"ledger.url must be of {' or '.join(_INSERTS)}, not {url.get_backend_name()}")
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _create_private(path: str | None) -> None:
    """Conversations are for nobody else's eyes; SQLite gives its other files the mode of the first. Files that are
    there already and more open are closed."""
    if not path or path == ":memory:":
        return
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o600))
        for file in (path, f"{path}-wal", f"{path}-shm"):
            with contextlib.suppress(FileNotFoundError):
                if stat.S_IMODE(os.stat(file).st_mode) & 0o077:
                    os.chmod(file, 0o600)
    except OSError as error:
        said = f"the file of the ledger cannot be made: {error}"
        raise LedgerUnavailable("the file of the ledger cannot be made; see the log", said) from error


def _tune(connection: Any, _record: Any) -> None:
    """WAL lets others read while one writes; with it a crash loses nothing that is not lost with the machine."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=0", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _reason(error: Exception) -> str:
    """The database's own words, without the statement and its values, which are a client's."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]
