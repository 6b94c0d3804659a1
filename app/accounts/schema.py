"""The accounts' tables: requests, attempts, and sums by hour, day and session.

Names repeat in every row, so the table `name` holds each once, and rows hold its number: a million rows take 200 MB
less. Lists are ordered by the time a request was received (keyset). Sums use only `hour`, `day` and `session`.

The tables are plain data. A database library would take a fifth of a worker's memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

# Types of columns. `spell` replaces those that the two databases name differently.
OWN_NUMBER = "own number"
NUMBER = "INTEGER NOT NULL"
BIG = "BIGINT NOT NULL"
TEXT = "TEXT NOT NULL"
BYTES = "bytes"
_SPELLINGS: Mapping[str, Mapping[str, str]] = {
    # SQLite stores the row number only in a column of exactly this type.
    "sqlite": {OWN_NUMBER: "INTEGER PRIMARY KEY", BYTES: "BLOB"},
    "postgresql": {OWN_NUMBER: "BIGSERIAL PRIMARY KEY", BYTES: "BYTEA"},
}


class Table(NamedTuple):
    """A table. `columns` maps names to types. `place` is the primary key, for tables without a number of their own.
    `indexes` maps further indexes to what they cover."""

    name: str
    columns: Mapping[str, str]
    place: Sequence[str] = ()
    indexes: Mapping[str, str] = {}
    more: str = ""


# The condition of the partial index. Queries must repeat it word for word to use the index.
FAILED_OR_REFUSED = "(failed = 1 OR status >= 400)"
# Indexes of earlier versions.
RETIRED = (
    *("request_failed", "request_failed_status", "request_by_received"),
    *("request_by_model", "request_by_provider", "request_by_key"),
)


def _named(*columns: str) -> dict[str, str]:
    return dict.fromkeys(columns, NUMBER)


name = Table(
    "name",
    {
        "id": OWN_NUMBER,
        "text": f"{TEXT} UNIQUE",
        "seen": NUMBER,  # the hour of its last use; unused names are deleted
    },
)

request = Table(
    "request",
    {
        "seq": OWN_NUMBER,
        "id": f"{BYTES} NOT NULL",
        "received": BIG,  # unix time, milliseconds
        **_named("tenant", "key", "agent", "session", "path", "operation", "dialects", "model", "rule"),
        **_named("provider", "target", "terminal", "error"),
        **_named("status", "failed", "ms"),
        "first_byte_ms": "INTEGER",
        "attempts": NUMBER,
        "fresh": "INTEGER",
        "cache_read": "INTEGER",
        "cache_written": "INTEGER",
        "output": "INTEGER",
        "reasoning": "INTEGER",
        "cost": "BIGINT",  # billionths of a dollar
        "more": BYTES,  # MessagePack of values that are only shown, if there are any
    },
    indexes={
        "request_by_id": '("id")',
        # With the names by which lists are narrowed, so that only rows that match are looked up.
        "request_by_time": '("received", "tenant", "key", "model", "provider", "target", "agent")',
        "request_by_session": '("session", "received")',
        "request_with_error": f'("received", "seq", "status", "failed", "error") WHERE {FAILED_OR_REFUSED}',
    },
)

attempt = Table(
    "attempt",
    {
        "request": "BIGINT NOT NULL REFERENCES request (seq) ON DELETE CASCADE",
        "number": NUMBER,
        **_named("target", "error", "credential"),
        "message": TEXT,
        **_named("status", "started_ms", "ended_ms", "waited_ms"),
    },
    place=("request", "number"),
)

# The columns by which sums can be grouped.
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
    """A table of sums for each period with a request. Periods are numbered from 1970 in UTC."""
    columns = {"period": NUMBER, **_named(*GROUPS), **dict.fromkeys(COUNTS, BIG)}
    return Table(period, columns, place=("period", *GROUPS), more="WITHOUT ROWID")


hour = _sums("hour")
day = _sums("day")

# Sums of each day by the credential used, for providers with several.
credential = Table(
    "credential",
    {"period": NUMBER, **_named("provider", "credential"), **dict.fromkeys(COUNTS, BIG)},
    place=("period", "provider", "credential"),
    more="WITHOUT ROWID",
)

# Client keys made by command, by their hashes. Times are unix time in milliseconds.
client_key = Table(
    "client_key",
    {
        "hash": TEXT,
        "name": TEXT,
        "hint": TEXT,
        "settings": TEXT,  # rights, limits and who made it, as JSON
        "made": BIG,
        "expires": "BIGINT",
        "disabled": NUMBER,
        "changed": BIG,  # a different number after each change
    },
    place=("hash",),
)

# One row per session of a client, with its last key, agent and model.
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
    {
        **_named("session", "tenant"),
        "first": BIG,  # unix time, milliseconds
        "last": BIG,
        **_named("key", "agent", "model"),
        **dict.fromkeys(SESSION_COUNTS, BIG),
    },
    place=("session", "tenant"),
    indexes={"session_by_last": '("last")', "session_by_key": '("key", "last")'},
    more="WITHOUT ROWID",
)

# What went over the wire for a few requests, compressed; see app/gateway/inspection.
recording = Table(
    "recording",
    {
        "id": f"{BYTES} NOT NULL",
        "made": BIG,  # unix time, milliseconds
        "tenant": TEXT,
        "size": NUMBER,  # bytes of the packed body
        "body": f"{BYTES} NOT NULL",
    },
    place=("id",),
    indexes={"recording_by_made": '("made")'},
)

TABLES = (name, request, attempt, hour, day, credential, client_key, session, recording)


def create_statements(backend: str) -> Iterator[str]:
    """The statements that create missing tables and indexes. `backend` is "sqlite" or "postgresql"."""
    spellings = _SPELLINGS[backend]
    for index in RETIRED:
        yield f"DROP INDEX IF EXISTS {index}"
    for table in TABLES:
        parts = []
        for column, kind in table.columns.items():
            word = next((word for word in spellings if kind.startswith(word)), "")
            parts.append(f'"{column}" {spellings.get(word, "")}{kind.removeprefix(word)}')
        if table.place:
            parts.append(f"PRIMARY KEY ({quote(table.place)})")
        more = f" {table.more}" if backend == "sqlite" and table.more else ""
        yield f"CREATE TABLE IF NOT EXISTS {table.name} ({', '.join(parts)}){more}"
        for index, covered in table.indexes.items():
            yield f"CREATE INDEX IF NOT EXISTS {index} ON {table.name} {covered}"


def quote(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)
