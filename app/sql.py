"""SQL over the drivers of SQLite and Postgres, for the ledger and the accounts.

Statements mark values by `?` and quote names by `"`. Other differences between the two databases are left to whoever
writes a statement. There are no transactions but those of `changes`.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Beginnings of the URLs that are accepted.
_SQLITE = "sqlite:///"
_POSTGRES = re.compile(r"postgresql(\+psycopg)?://")

MEMORY = Path(":memory:")
# What each connection keeps of a database's pages. SQLite's own default is 2 MB, and the system caches files as well.
_CACHE_KB = 512


# Rows per statement. Only a few sizes, so that each statement is parsed once.
_CHUNKS = (200, 20, 1)
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
# How COPY reads values of these types.
_COPIED: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: r"\N",
    bytearray: lambda value: r"\\x" + value.hex(),
    bytes: lambda value: r"\\x" + value.hex(),
    str: lambda value: value.translate(_ESCAPES),
}


class DatabaseFailed(Exception):
    """A database failed. The message is the database's own, without the statement and its values, which are a client's.
    `busy` is True if another writer was in the way, `is_about_values` if the values can never be stored."""

    def __init__(self, error: Exception | str) -> None:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        super().__init__(reason)
        self.busy = "database is locked" in reason or "table is locked" in reason
        # Both drivers have an exception of this name, and one of them may not be installed.
        self.is_about_values = any(each.__name__ == "DataError" for each in type(error).__mro__)


def read_place(url: str) -> Path | str:
    """SQLite's file, or Postgres' URL as its driver accepts it. Raises ValueError, whose message is to be put after the
    setting's name, and quotes only the beginning of the URL."""
    if url.startswith(_SQLITE):
        return Path(url.removeprefix(_SQLITE))
    if url == "sqlite://":
        return MEMORY
    if _POSTGRES.match(url):
        return _POSTGRES.sub("postgresql://", url, count=1)
    kind, found, _ = url.partition("://")
    if not found:
        raise ValueError("is not a URL of a database")
    raise ValueError(f"must be of sqlite or postgresql, not {kind[:40]}")


def list_marks(values: Sequence[Any]) -> str:
    """One `?` per value, for IN and VALUES."""
    return ", ".join("?" * len(values))


class Connection:
    """An open database, for one thread at a time. Methods raise DatabaseFailed.

    `wait` is in seconds: SQLite waits that long for other writers, and Postgres lets each statement take that long.
    """

    def __init__(self, place: Path | str, wait: float, pragmas: Sequence[str] = ()) -> None:
        """Creates a missing file, readable for its owner only. Also raises OSError, and ImportError if Postgres' driver
        is not installed."""
        self.is_sqlite = isinstance(place, Path)
        self._raw: Any = None
        if isinstance(place, Path):
            _create_private(place)
            self._errors: Any = sqlite3.Error
        elif not place.startswith("postgresql://"):
            raise DatabaseFailed("it is no URL of SQLite or Postgres")
        else:
            # An optional dependency.
            import psycopg

            self._errors = psycopg.Error
        try:
            self._raw = _open_sqlite(place, wait, pragmas) if isinstance(place, Path) else _open_postgres(place, wait)
        except self._errors as error:
            raise DatabaseFailed(error) from error

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Executes a statement and returns the driver's cursor."""
        if not self.is_sqlite:
            statement = statement.replace("%", "%%").replace("?", "%s")
        try:
            return self._raw.execute(statement, values) if values or self.is_sqlite else self._raw.execute(statement)
        except self._errors as error:
            raise DatabaseFailed(error) from error

    def insert(self, table: str, columns: Sequence[str], values: Sequence[Any], more: str = "") -> None:
        """Inserts rows, given the values of one after the other. `more` ends the statement.

        Many rows go into one statement, since each releases the interpreter's lock, and must then wait for it behind
        the busy thread of the requests. Postgres' driver takes ten times as long for values as for a text of them.
        """
        width, start = len(columns), 0
        names = ", ".join(f'"{column}"' for column in columns)
        if not self.is_sqlite and not more and len(values) > width:
            self._copy(f"COPY {table} ({names}) FROM STDIN", width, values)
            return
        row = f"({list_marks(columns)})"
        for size in _CHUNKS:
            statement = f"INSERT INTO {table} ({names}) VALUES {', '.join([row] * size)}{more}"
            while len(values) - start >= size * width:
                self.execute(statement, values[start : start + size * width])
                start += size * width

    def _copy(self, statement: str, width: int, values: Sequence[Any]) -> None:
        fields = [_COPIED.get(type(value), str)(value) for value in values]
        lines = ("\t".join(fields[start : start + width]) for start in range(0, len(fields), width))
        try:
            with self._raw.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write("\n".join(lines) + "\n")
        except self._errors as error:
            raise DatabaseFailed(error) from error

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """All rows, as dicts by column name."""
        cursor = self.execute(statement, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in self._fetch(cursor)]

    def tuples(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._fetch(self.execute(statement, values))

    def value(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """The first column of the first row, or None if there is no row."""
        found = self.tuples(statement, values)
        return found[0][0] if found else None

    @contextmanager
    def changes(self) -> Iterator[None]:
        """A transaction around the statements within."""
        # In SQLite, takes the write lock at once: a transaction that has already read could no longer wait for it.
        self.execute("BEGIN IMMEDIATE" if self.is_sqlite else "BEGIN")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(DatabaseFailed):
                self.execute("ROLLBACK")
            raise

    def lock(self, table: str) -> None:
        """Keeps other writers out of a table until the transaction ends. SQLite's `changes` keeps them out of all."""
        if not self.is_sqlite:
            self.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")

    @property
    def is_closed(self) -> bool:
        """Whether it can no longer be used, for example because Postgres was restarted or the network failed."""
        return self._raw is None or bool(getattr(self._raw, "closed", False))

    def close(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            with contextlib.suppress(Exception):
                raw.close()

    def __del__(self) -> None:
        self.close()

    def _fetch(self, cursor: Any) -> list[tuple[Any, ...]]:
        try:
            found: list[tuple[Any, ...]] = cursor.fetchall()
        except self._errors as error:
            raise DatabaseFailed(error) from error
        return found


def identify(place: Path | str) -> tuple[int, int] | None:
    """Device and inode of a database file, which tell if it was replaced. None for Postgres, or if it is missing."""
    if isinstance(place, str):
        return None
    try:
        found = place.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _open_sqlite(path: Path, wait: float, pragmas: Sequence[str]) -> sqlite3.Connection:
    # Used by one thread at a time, but not always the same one.
    raw = sqlite3.connect(path, timeout=wait, isolation_level=None, check_same_thread=False)
    try:
        # WAL allows reading while another writes. With it, NORMAL loses nothing if the process crashes, only if the
        # machine does.
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"cache_size=-{_CACHE_KB}", *pragmas):
            raw.execute(f"PRAGMA {pragma}").close()
    except BaseException:
        raw.close()
        raise
    return raw


def _open_postgres(url: str, wait: float) -> Any:
    import psycopg

    options = f"-c statement_timeout={round(wait * 1000)} -c lock_timeout={round(wait * 1000)}"
    return psycopg.connect(url, autocommit=True, connect_timeout=max(1, round(wait)), options=options)


def _create_private(path: Path) -> None:
    """Creates the file for its owner only. SQLite gives its other files the same mode. Existing files that others can
    access get this mode too."""
    if path == MEMORY:
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A named pipe would wait for a writer.
    os.close(os.open(path, os.O_CREAT | os.O_RDONLY | os.O_NONBLOCK, 0o600))
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_IMODE(file.stat().st_mode) & 0o077:
                file.chmod(0o600)
