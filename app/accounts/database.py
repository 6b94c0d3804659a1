"""Opens the accounts' database: a SQLite file beside the ledger's, or the ledger's Postgres.

Every method may block on disk or network, so it must be called outside of the loop that serves requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from app.accounts.record import RequestRecord
from app.accounts.rows import (
    ATTEMPT_COLUMNS,
    CREDENTIAL_COLUMNS,
    DAY,
    HOUR,
    REQUEST_COLUMNS,
    SESSION_COLUMNS,
    SUM_COLUMNS,
    attempt_rows,
    clean_text,
    needs_attempt_rows,
    pack_id,
    request_values,
    session_rows,
    sum_by_credential,
    sum_by_day,
    sum_by_hour,
)
from app.accounts.schema import (
    COUNTS,
    SESSION_COUNTS,
    Table,
    attempt,
    create_statements,
    credential,
    day,
    hour,
    name,
    quote,
    request,
    session,
)
from app.logs import hide_secrets
from app.sql import Connection, identify, list_marks

# Seconds that a writer waits for another one, and that a statement may take.
TIMEOUT = 2.0
# Rows that are deleted at once. A longer delete would keep the other workers waiting.
BATCH = 500
# The most names whose numbers this process remembers. Sessions add new ones all the time.
MAX_NAMES = 20_000


def _upsert_clause(table: Table, counts: Sequence[str], more: Sequence[str] = ()) -> str:
    """The end of an INSERT that adds its counts to an existing row with the same key."""
    sums = (f'"{column}" = {table.name}."{column}" + excluded."{column}"' for column in counts)
    return f" ON CONFLICT ({quote(table.place)}) DO UPDATE SET {', '.join((*sums, *more))}"


_JOIN_SUMS = {table.name: _upsert_clause(table, COUNTS) for table in (hour, day, credential)}
# Batches of several workers arrive in any order, so times are compared. Names are those of the last writer.
_JOIN_SESSION = _upsert_clause(
    session,
    SESSION_COUNTS,
    (
        '"first" = CASE WHEN excluded."first" < session."first" THEN excluded."first" ELSE session."first" END',
        '"last" = CASE WHEN excluded."last" > session."last" THEN excluded."last" ELSE session."last" END',
        *(f'"{column}" = excluded."{column}"' for column in ("key", "agent", "model")),
    ),
)
_JOIN_NAME = ' ON CONFLICT ("text") DO UPDATE SET "seen" = excluded."seen"'


class AccountsDatabase:
    """An open database. Methods raise DatabaseFailed."""

    def __init__(self, place: Path | str) -> None:
        """`place` is SQLite's file, or Postgres' URL."""
        self._place = place
        self._numbers: dict[str, int] = {}
        self._numbers_hour = 0
        self._doubted: frozenset[tuple[bytes, int]] = frozenset()
        self._connection = self._connect()

    @property
    def connection(self) -> Connection:
        """The connection, for queries. Reopened if it was lost, because Postgres was restarted or the network
        failed."""
        if self._connection.is_closed:
            self._connection = self._connect()
        return self._connection

    def write(self, records: Sequence[RequestRecord]) -> None:
        """Stores a batch of records and adds them to the sums, in one transaction. Records of a failed batch may be
        written again."""
        if self._doubted:
            records = self._without_written(records)
        if not records:
            return
        try:
            with self.changes():
                self._write(records)
        except BaseException:
            self._doubted = frozenset(map(_fingerprint, records))
            raise
        self._doubted = frozenset()

    def _without_written(self, records: Sequence[RequestRecord]) -> Sequence[RequestRecord]:
        """The records without those that a failed write has stored after all. A database may die after it commits a
        batch and before it says so."""
        ids = [pack_id(record.id) for record in records if _fingerprint(record) in self._doubted]
        written: set[tuple[bytes, int]] = set()
        for start in range(0, len(ids), BATCH):
            wanted = ids[start : start + BATCH]
            statement = f"SELECT id, received FROM request WHERE id IN ({list_marks(wanted)})"
            found = self.connection.tuples(statement, wanted)
            written.update((bytes(each), received) for each, received in found)
        written &= self._doubted
        return [record for record in records if _fingerprint(record) not in written]

    def prune(self, oldest: float, oldest_hour: float) -> int:
        """Deletes a batch each of requests older than `oldest`, and of sums, sessions and names older than
        `oldest_hour`, both unix times. Returns the number of deleted rows."""
        with self.changes():
            aged = f"SELECT seq FROM request WHERE received < ? ORDER BY received LIMIT {BATCH}"
            gone = [seq for (seq,) in self._connection.tuples(aged, (oldest * 1000,))]
            if gone:
                wanted = list_marks(gone)
                self._run(f"DELETE FROM attempt WHERE request IN ({wanted})", *gone)
                self._run(f"DELETE FROM request WHERE seq IN ({wanted})", *gone)
            swept = sum(
                self._drop_first(table, int(oldest_hour) // seconds)
                for table, seconds in ((hour, HOUR), (day, DAY), (credential, DAY))
            )
            ended = f'SELECT session FROM session WHERE "last" < ? LIMIT {BATCH}'
            swept += self._run(f"DELETE FROM session WHERE session IN ({ended})", oldest_hour * 1000).rowcount
            unused = f"SELECT id FROM name WHERE seen < ? LIMIT {BATCH}"
            swept += self._run(f"DELETE FROM name WHERE id IN ({unused})", int(oldest_hour) // HOUR).rowcount
        return int(len(gone) + swept)

    @property
    def is_gone(self) -> bool:
        """Whether the file was removed or replaced since it was opened, so that nobody would read what is written."""
        return isinstance(self._place, Path) and self._file != identify(self._place)

    def close(self) -> None:
        self._connection.close()

    def number(self, text: str, this_hour: int) -> int:
        """The number of a name. Also marks the name as used in this hour."""
        found = self._numbers.get(text) if this_hour == self._numbers_hour else None
        if found is None:
            self.learn((text,), this_hour)
            found = self._numbers[text]
        return found

    def learn(self, texts: Iterable[str], this_hour: int) -> None:
        """Gives a number to each name that has none, and marks the names as used in this hour."""
        if this_hour != self._numbers_hour or len(self._numbers) > MAX_NAMES:
            self._numbers, self._numbers_hour = {}, this_hour
        # Clients choose names, and may have put a credential where a name belongs.
        clean = {text: clean_text(hide_secrets(text)) for text in texts if text not in self._numbers}
        fresh = sorted(set(clean.values()))  # in one order, so that two writers never wait for each other
        self._insert_rows(name, ("text", "seen"), [(text, this_hour) for text in fresh], _JOIN_NAME)
        found: dict[str, int] = {}
        for start in range(0, len(fresh), BATCH):
            wanted = fresh[start : start + BATCH]
            found.update(
                self._connection.tuples(f"SELECT text, id FROM name WHERE text IN ({list_marks(wanted)})", wanted)
            )
        self._numbers.update((text, found[known]) for text, known in clean.items())

    def _connect(self) -> Connection:
        connection = Connection(self._place, TIMEOUT, ("temp_store=MEMORY",))
        self._file = identify(self._place)
        with connection.changes():
            for statement in create_statements("sqlite" if connection.is_sqlite else "postgresql"):
                connection.execute(statement)
        return connection

    @contextmanager
    def changes(self) -> Iterator[Connection]:
        """A transaction around the statements within."""
        connection = self.connection
        try:
            with connection.changes():
                yield connection
        except BaseException:
            self._numbers.clear()  # some may have been rolled back
            raise

    def _run(self, statement: str, *values: Any) -> Any:
        return self._connection.execute(statement, values)

    def _write(self, records: Sequence[RequestRecord]) -> None:
        this_hour = int(records[-1].received) // HOUR
        self.learn({record.session for record in records}, this_hour)  # there are often many new ones
        number = _Numbers(self, this_hour).__getitem__
        values, groups = request_values(records, number)
        self._connection.insert(request.name, REQUEST_COLUMNS, values)
        several = [record for record in records if needs_attempt_rows(record)]
        if several:
            seqs = self._find_seqs([pack_id(record.id) for record in several])
            tried = [row for each in several for row in attempt_rows(each, seqs[pack_id(each.id)], number)]
            self._insert_rows(attempt, ATTEMPT_COLUMNS, tried)
        hours = sum_by_hour(groups, number)
        for table, sums in ((hour, hours), (day, sum_by_day(hours))):
            summed = [(*place, *counts) for place, counts in sorted(sums.items())]
            self._insert_rows(table, SUM_COLUMNS, summed, _JOIN_SUMS[table.name])
        shown = [(*place, *counts) for place, counts in sorted(sum_by_credential(groups, number).items())]
        self._insert_rows(credential, CREDENTIAL_COLUMNS, shown, _JOIN_SUMS[credential.name])
        self._insert_rows(session, SESSION_COLUMNS, session_rows(groups, number), _JOIN_SESSION)

    def _insert_rows(self, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]], more: str = "") -> None:
        self._connection.insert(table.name, columns, list(chain.from_iterable(rows)), more)

    def _find_seqs(self, ids: Sequence[bytes]) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        for start in range(0, len(ids), BATCH):
            wanted = ids[start : start + BATCH]
            grouped = f"SELECT id, max(seq) FROM request WHERE id IN ({list_marks(wanted)}) GROUP BY id"
            found.update(self._connection.tuples(grouped, wanted))
        return found

    def _drop_first(self, table: Table, oldest: int) -> int:
        """Deletes the first period, if it is before `oldest`. Returns the number of deleted rows."""
        first = self._connection.value(f"SELECT min(period) FROM {table.name} WHERE period < ?", (oldest,))
        return 0 if first is None else int(self._run(f"DELETE FROM {table.name} WHERE period = ?", first).rowcount)


class _Numbers(dict[str, int]):
    """Maps names to their numbers within one transaction."""

    def __init__(self, database: AccountsDatabase, this_hour: int) -> None:
        super().__init__()
        self._database = database
        self._hour = this_hour

    def __missing__(self, text: str) -> int:
        found = self[text] = self._database.number(text, self._hour)
        return found


def _fingerprint(record: RequestRecord) -> tuple[bytes, int]:
    """What identifies a record."""
    return pack_id(record.id), round(record.received * 1000)
