"""The accounts' tables: requests, attempts, and sums by hour, day and session.

Names repeat in every row, so they stand once in `name` and rows hold their numbers: a million rows take 200 MB less.
Lists go by the time a request was received (keyset); sums come from `hour`, `day` and `session` alone.

Only data: who writes rows needs no library for it, which would take a fifth of a worker's memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

# Types of columns; what the two databases call differently is said by `spell`.
OWN_NUMBER = "own number"
NUMBER = "INTEGER NOT NULL"
BIG = "BIGINT NOT NULL"
TEXT = "TEXT NOT NULL"
BYTES = "bytes"
_SPELLINGS: Mapping[str, Mapping[str, str]] = {
    # SQLite gives a row's own number only to a column of exactly this type.
    "sqlite": {OWN_NUMBER: "INTEGER PRIMARY KEY", BYTES: "BLOB"},
    "postgresql": {OWN_NUMBER: "BIGSERIAL PRIMARY KEY", BYTES: "BYTEA"},
}


class Table(NamedTuple):
    """`columns` are the names with their types. `place` are those that tell a row from all others, for tables that are
    looked into by nothing else; `indexes` what each further index covers."""

    name: str
    columns: Mapping[str, str]
    place: Sequence[str] = ()
    indexes: Mapping[str, str] = {}
    more: str = ""


def _named(*columns: str) -> dict[str, str]:
    return dict.fromkeys(columns, NUMBER)


name = Table(
    "name",
    {
        "id": OWN_NUMBER,
        "text": f"{TEXT} UNIQUE",
        "seen": NUMBER,  # the hour of its last use; what nothing names any more is thrown away
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
        "more": BYTES,  # MessagePack of what is only shown, where there is any
    },
    indexes={
        "request_by_id": '("id")',
        "request_by_received": '("received")',
        **{f"request_by_{column}": f'("{column}", "received")' for column in ("key", "session", "model", "provider")},
        "request_failed": '("received") WHERE failed = 1',
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
    columns = {"period": NUMBER, **_named(*GROUPS), **dict.fromkeys(COUNTS, BIG)}
    return Table(period, columns, place=("period", *GROUPS), more="WITHOUT ROWID")


hour = _sums("hour")
day = _sums("day")

# Sums of each day by the credential that was shown, for providers that have several.
credential = Table(
    "credential",
    {"period": NUMBER, **_named("provider", "credential"), **dict.fromkeys(COUNTS, BIG)},
    place=("period", "provider", "credential"),
    more="WITHOUT ROWID",
)

# The keys of clients that commands have made, by their hashes. Times are unix time, milliseconds.
client_key = Table(
    "client_key",
    {
        "hash": TEXT,
        "name": TEXT,
        "hint": TEXT,
        "settings": TEXT,  # rights and limits, as JSON
        "made": BIG,
        "expires": "BIGINT",
        "disabled": NUMBER,
        "changed": BIG,  # another number after each change
    },
    place=("hash",),
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

# What went over the wire for a few requests, packed; see app/gateway/inspection.
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


def spell(backend: str) -> Iterator[str]:
    """The statements that make what is not there yet; `backend` is "sqlite" or "postgresql"."""
    spellings = _SPELLINGS[backend]
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
