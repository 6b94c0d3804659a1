"""The tables of the accounts: rows of requests, their attempts, and sums by the hour, the day and the session.

Names repeat in every row, so they stand once in `name` and rows hold their numbers: a million rows take 200 MB less.
Lists go by the time a request was received (keyset); sums come from `hour`, `day` and `session` alone.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text, text

tables = MetaData()

# SQLite gives a row's own number only to a column of exactly this type.
_Number = BigInteger().with_variant(Integer, "sqlite")

name = Table(
    "name",
    tables,
    Column("id", _Number, primary_key=True),
    Column("text", Text, nullable=False, unique=True),
    Column("seen", Integer, nullable=False),  # the hour of its last use; what nothing names any more is thrown away
)


def _named(column: str) -> Column[int]:
    return Column(column, Integer, nullable=False)


request = Table(
    "request",
    tables,
    Column("seq", _Number, primary_key=True),
    Column("id", LargeBinary, nullable=False),
    Column("received", BigInteger, nullable=False),  # unix time, milliseconds
    *map(_named, ("tenant", "key", "agent", "session", "path", "operation", "dialects", "model", "rule")),
    *map(_named, ("provider", "target", "terminal", "error")),
    Column("status", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("ms", Integer, nullable=False),
    Column("first_byte_ms", Integer),
    Column("attempts", Integer, nullable=False),
    Column("fresh", Integer),
    Column("cache_read", Integer),
    Column("cache_written", Integer),
    Column("output", Integer),
    Column("reasoning", Integer),
    Column("cost", BigInteger),  # billionths of a dollar
    Column("more", LargeBinary),  # MessagePack of what is only shown, where there is any
    Index("request_by_id", "id"),
    Index("request_by_received", "received"),
    *(Index(f"request_by_{column}", column, "received") for column in ("key", "session", "model", "provider")),
    Index("request_failed", "received", sqlite_where=text("failed = 1"), postgresql_where=text("failed = 1")),
)

attempt = Table(
    "attempt",
    tables,
    Column("request", _Number, ForeignKey("request.seq", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    *map(_named, ("target", "error", "credential")),
    Column("message", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("started_ms", Integer, nullable=False),
    Column("ended_ms", Integer, nullable=False),
    Column("waited_ms", Integer, nullable=False),
)

# What a sum may be grouped by.
GROUPS = ("tenant", "key", "provider", "model", "target", "agent")
COUNTS = (
    "requests",
    "failed",
    "cut",
    "left",
    "fresh",
    "cache_read",
    "cache_written",
    "output",
    "reasoning",
    "cost",
    "unpriced",
    "ms",
    "first_byte_ms",
    "first_bytes",
)


def _sums(period: str) -> Table:
    """Sums over each period that holds a request; a period is told by its number since 1970 in UTC."""
    return Table(
        period,
        tables,
        Column("period", Integer, primary_key=True, autoincrement=False),
        *(Column(column, Integer, primary_key=True) for column in GROUPS),
        *(Column(column, BigInteger, nullable=False) for column in COUNTS),
        sqlite_with_rowid=False,
    )


hour = _sums("hour")
day = _sums("day")

# The keys of clients that commands have made, by their hashes. Times are unix time, milliseconds.
client_key = Table(
    "client_key",
    tables,
    Column("hash", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hint", Text, nullable=False),
    Column("settings", Text, nullable=False),  # rights and limits, as JSON
    Column("made", BigInteger, nullable=False),
    Column("expires", BigInteger),
    Column("disabled", Integer, nullable=False),
    Column("changed", BigInteger, nullable=False),  # another number after each change
)

# One row for each session of a client, with its last key, agent and model.
SESSION_COUNTS = (
    "requests",
    "failed",
    "fresh",
    "cache_read",
    "cache_written",
    "output",
    "reasoning",
    "cost",
    "unpriced",
)

session = Table(
    "session",
    tables,
    Column("session", Integer, primary_key=True, autoincrement=False),
    Column("tenant", Integer, primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False),  # unix time, milliseconds
    Column("last", BigInteger, nullable=False),
    *map(_named, ("key", "agent", "model")),
    *(Column(column, BigInteger, nullable=False) for column in SESSION_COUNTS),
    Index("session_by_last", "last"),
    Index("session_by_key", "key", "last"),
    sqlite_with_rowid=False,
)
