"""The database of the accounts: a SQLite file beside the ledger's, or the ledger's Postgres.

Every method may wait for a disk or a network, so it is called outside of the loop that serves requests.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Table, create_engine, delete, event, func, select
from sqlalchemy.dialects import postgresql, sqlite

from app.accounts.record import RequestRecord
from app.accounts.rows import (
    ATTEMPT_COLUMNS,
    DAY,
    HOUR,
    REQUEST_COLUMNS,
    SESSION_COLUMNS,
    SUM_COLUMNS,
    attempt_rows,
    pack_id,
    request_row,
    session_rows,
    sum_by_day,
    sum_by_hour,
    tells_attempts,
)
from app.accounts.schema import COUNTS, GROUPS, SESSION_COUNTS, attempt, day, hour, name, request, session, tables
from app.logs import hide_secrets

# How long a writer waits for another, and how long a statement may take; milliseconds.
TIMEOUT = 2000
# Rows that are thrown away at once: a long delete would keep the other workers waiting.
BATCH = 500
# Names that this process remembers the numbers of; sessions make new ones for ever.
MOST_NAMES = 20_000
# Rows of one statement: few sizes, so that each is parsed once.
_CHUNKS = (200, 20, 1)


def _spell_joining(table: Table, place: Sequence[str], counts: Sequence[str], more: Sequence[str] = ()) -> str:
    """The end of an INSERT that adds its counts to those of the row in the same place."""
    quoted = ", ".join(f'"{column}"' for column in place)
    sums = (f'"{column}" = {table.name}."{column}" + excluded."{column}"' for column in counts)
    return f" ON CONFLICT ({quoted}) DO UPDATE SET {', '.join((*sums, *more))}"


_JOIN_SUMS = {table.name: _spell_joining(table, ("period", *GROUPS), COUNTS) for table in (hour, day)}
# Batches of several workers come in any order, so the times are compared; the names are those of the last writer.
_JOIN_SESSION = _spell_joining(
    session,
    ("session", "tenant"),
    SESSION_COUNTS,
    (
        '"first" = CASE WHEN excluded."first" < session."first" THEN excluded."first" ELSE session."first" END',
        '"last" = CASE WHEN excluded."last" > session."last" THEN excluded."last" ELSE session."last" END',
        *(f'"{column}" = excluded."{column}"' for column in ("key", "agent", "model")),
    ),
)
_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class AccountsDatabase:
    """An open database. Methods raise sqlalchemy.exc.SQLAlchemyError."""

    def __init__(self, place: Path | str) -> None:
        """`place` is a file of SQLite, or a URL of Postgres."""
        if isinstance(place, Path):
            _create_private(place)
            self.engine = create_engine(URL.create("sqlite", database=str(place)))
            event.listen(self.engine, "connect", _tune_sqlite)
        else:
            options = f"-c statement_timeout={TIMEOUT} -c lock_timeout={TIMEOUT}"
            self.engine = create_engine(
                place, pool_pre_ping=True, connect_args={"connect_timeout": TIMEOUT // 1000, "options": options}
            )
        self._mark = "?" if self.engine.dialect.name == "sqlite" else "%s"
        insert = _INSERTS[self.engine.dialect.name](name)
        self._learn = insert.on_conflict_do_update(index_elements=["text"], set_={"seen": insert.excluded.seen})
        self._numbers: dict[str, int] = {}
        self._numbers_hour = 0
        with self.engine.begin() as connection:
            tables.create_all(connection)

    def write(self, records: Sequence[RequestRecord]) -> None:
        """Keeps a batch of records and adds them to their hours, all or nothing."""
        if not records:
            return
        try:
            with self.engine.begin() as connection:
                self._write(connection, records)
        except BaseException:
            self._numbers.clear()  # some of them may have gone with the transaction
            raise

    def prune(self, oldest: float, oldest_hour: float) -> int:
        """Throws away one batch each of requests, hours and names older than these unix times; how many rows went."""
        with self.engine.begin() as connection:
            aged = select(request.c.seq).where(request.c.received < oldest * 1000).order_by(request.c.received)
            gone = [seq for (seq,) in connection.execute(aged.limit(BATCH))]
            if gone:
                connection.execute(delete(attempt).where(attempt.c.request.in_(gone)))
                connection.execute(delete(request).where(request.c.seq.in_(gone)))
            last_hour = int(oldest_hour) // HOUR
            swept = sum(
                _drop_first(connection, table, int(oldest_hour) // seconds)
                for table, seconds in ((hour, HOUR), (day, DAY))
            )
            ended = select(session.c.session).where(session.c.last < oldest_hour * 1000).limit(BATCH)
            swept += connection.execute(delete(session).where(session.c.session.in_(ended.scalar_subquery()))).rowcount
            unused = select(name.c.id).where(name.c.seen < last_hour).limit(BATCH)
            swept += connection.execute(delete(name).where(name.c.id.in_(unused.scalar_subquery()))).rowcount
        return len(gone) + swept

    def close(self) -> None:
        self.engine.dispose()

    def _write(self, connection: Connection, records: Sequence[RequestRecord]) -> None:
        number = _Numbers(self, connection, int(records[-1].received) // HOUR).__getitem__
        self._insert_rows(connection, request, REQUEST_COLUMNS, [request_row(each, number) for each in records])
        told = [record for record in records if tells_attempts(record)]
        if told:
            seqs = _find_seqs(connection, [pack_id(record.id) for record in told])
            rows = [row for each in told for row in attempt_rows(each, seqs[pack_id(each.id)], number)]
            self._insert_rows(connection, attempt, ATTEMPT_COLUMNS, rows)
        hours = sum_by_hour(records, number)
        for table, sums in ((hour, hours), (day, sum_by_day(hours))):
            rows = [(*place, *counts) for place, counts in sorted(sums.items())]
            self._insert_rows(connection, table, SUM_COLUMNS, rows, _JOIN_SUMS[table.name])

        self._insert_rows(connection, session, SESSION_COLUMNS, session_rows(records, number), _JOIN_SESSION)

    def number(self, connection: Connection, text: str, this_hour: int) -> int:
        """The number of a name, which is known to be in use from now on."""
        if this_hour != self._numbers_hour or len(self._numbers) > MOST_NAMES:
            self._numbers, self._numbers_hour = {}, this_hour
        found = self._numbers.get(text)
        if found is None:
            # Clients choose names; one of them may have put a credential where a name belongs.
            clean = hide_secrets(text).encode("utf-8", "replace").decode().replace("\0", "")
            connection.execute(self._learn, {"text": clean, "seen": this_hour})
            found = connection.execute(select(name.c.id).where(name.c.text == clean)).scalar_one()
            self._numbers[text] = found
        return found

    def _insert_rows(
        self, connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Any], more: str = ""
    ) -> None:
        """Many rows in one statement. A statement for each would let go of the interpreter's lock as often, and wait
        for it behind the busy thread of the requests each time; and SQLAlchemy's own way costs three times as much."""
        names = ", ".join(f'"{column}"' for column in columns)
        marks = f"({', '.join([self._mark] * len(columns))})"
        start = 0
        for size in _CHUNKS:
            while len(rows) - start >= size:
                values = ", ".join([marks] * size)
                chunk = rows[start : start + size]
                connection.exec_driver_sql(
                    f"INSERT INTO {table.name} ({names}) VALUES {values}{more}", tuple(chain.from_iterable(chunk))
                )
                start += size


class _Numbers(dict[str, int]):
    """Names to their numbers within one transaction; what it did not commit is not remembered beyond it."""

    def __init__(self, database: AccountsDatabase, connection: Connection, this_hour: int) -> None:
        super().__init__()
        self._database = database
        self._connection = connection
        self._hour = this_hour

    def __missing__(self, text: str) -> int:
        found = self[text] = self._database.number(self._connection, text, self._hour)
        return found


def _find_seqs(connection: Connection, ids: Sequence[bytes]) -> dict[bytes, int]:
    found = select(request.c.id, func.max(request.c.seq)).where(request.c.id.in_(ids)).group_by(request.c.id)
    return {row[0]: row[1] for row in connection.execute(found)}


def _drop_first(connection: Connection, table: Table, oldest: int) -> int:
    """Throws away the first period before `oldest`; how many rows went."""
    first = connection.execute(select(func.min(table.c.period)).where(table.c.period < oldest)).scalar()
    return 0 if first is None else connection.execute(delete(table).where(table.c.period == first)).rowcount


def _create_private(path: Path) -> None:
    """Names and counts are nobody else's business: the file is made before SQLite makes it readable for all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _tune_sqlite(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={TIMEOUT}", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}").close()
