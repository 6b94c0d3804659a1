"""The database of the accounts: a SQLite file beside the ledger's, or the ledger's Postgres.

Every method may wait for a disk or a network, so it is called outside of the loop that serves requests.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Table, create_engine, delete, event, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from app.accounts.record import RequestRecord
from app.accounts.rows import DAY, HOUR, attempt_rows, names_in, request_row, sum_rows
from app.accounts.schema import COUNTS, GROUPS, attempt, day, hour, name, request, tables

# How long a writer waits for another, and how long a statement may take; milliseconds.
TIMEOUT = 2000
# Rows that are thrown away at once: a long delete would keep the other workers waiting.
BATCH = 500
# Names that this process remembers the numbers of; sessions make new ones for ever.
MOST_NAMES = 20_000

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
        self._insert = _INSERTS[self.engine.dialect.name]
        self._numbers: dict[str, int] = {}
        self._numbers_hour = 0
        with self.engine.begin() as connection:
            tables.create_all(connection)

    def write(self, records: Sequence[RequestRecord]) -> None:
        """Keeps a batch of records and adds them to their hours, all or nothing."""
        if not records:
            return
        with self.engine.begin() as connection:
            self._learn_names(connection, {each for record in records for each in names_in(record)}, records)
            number = self._numbers.__getitem__
            tried: list[dict[str, Any]] = []
            for record in records:
                written = connection.execute(insert(request), request_row(record, number))
                (seq,) = written.inserted_primary_key or (0,)
                tried += attempt_rows(record, seq, number)
            if tried:
                connection.execute(insert(attempt), tried)
            for table, seconds in ((hour, HOUR), (day, DAY)):
                self._add(connection, table, sum_rows(records, number, seconds))

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
            unused = select(name.c.id).where(name.c.seen < last_hour).limit(BATCH)
            swept += connection.execute(delete(name).where(name.c.id.in_(unused.scalar_subquery()))).rowcount
        return len(gone) + swept

    def close(self) -> None:
        self.engine.dispose()

    def _add(self, connection: Connection, table: Table, rows: Sequence[dict[str, int]]) -> None:
        """Adds the counts of rows to those of the same period and group."""
        statement = self._insert(table)
        sums = {column: table.c[column] + statement.excluded[column] for column in COUNTS}
        connection.execute(statement.on_conflict_do_update(index_elements=["period", *GROUPS], set_=sums), list(rows))

    def _learn_names(self, connection: Connection, texts: Iterable[str], records: Sequence[RequestRecord]) -> None:
        """Makes sure that each text has a number, and that names in use are known to be so."""
        this_hour = max(int(record.received) for record in records) // HOUR
        if this_hour != self._numbers_hour or len(self._numbers) > MOST_NAMES:
            self._numbers, self._numbers_hour = {}, this_hour
        missing = sorted(text for text in texts if text not in self._numbers)
        for start in range(0, len(missing), BATCH):
            some = missing[start : start + BATCH]
            statement = self._insert(name)
            statement = statement.on_conflict_do_update(
                index_elements=["text"],
                set_={"seen": func.max(name.c.seen, statement.excluded.seen)}
                if self.engine.dialect.name == "sqlite"
                else {"seen": func.greatest(name.c.seen, statement.excluded.seen)},
            )
            connection.execute(statement, [{"text": text, "seen": this_hour} for text in some])
            found = connection.execute(select(name.c.text, name.c.id).where(name.c.text.in_(some)))
            self._numbers.update({row.text: row.id for row in found})


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
