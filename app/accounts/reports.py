"""Reports on usage, shared by the commands and the API."""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from app.accounts.queries import MAX_ROWS, list_sessions, sum_credentials, sum_usage
from app.settings.checks.keys import read_date
from app.sql import Connection

# Users' names for the columns of the sums.
GROUPS = {
    "key": "key",
    "model": "model",
    "target": "target",
    "provider": "provider",
    "client": "agent",
    "day": "day",
    "hour": "hour",
}
# Groups with sums of their own, which cannot be combined with others.
SESSION, CREDENTIAL = "session", "credential"
ALONE = (SESSION, CREDENTIAL)
COUNTS = ("requests", "failed", "fresh", "cache_read", "cache_written", "output", "reasoning", "cost", "unpriced")

# Beginnings that a spreadsheet takes for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SPAN = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)


def read_span(text: str) -> int | None:
    """The seconds in `90s`, `30m`, `12h`, `7d` or `2w`. None for anything else."""
    found = _SPAN.fullmatch(text)
    return None if found is None else int(found[1]) * _UNITS[found[2]]


def read_end(text: str, name: str) -> datetime.datetime:
    """The end of a span from now, or a date. Raises ConfigError with `name` as its key."""
    seconds = read_span(text)
    if seconds is None:
        return read_date(text, name)
    return datetime.datetime.fromtimestamp(time.time() + seconds, datetime.UTC)


def guard_cell(value: Any) -> Any:
    """A cell of CSV. Quotes text that a spreadsheet would run as a formula, since clients choose the names in it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def report_usage(
    connection: Connection,
    groups: Sequence[str],
    since: float,
    until: float | None = None,
    where: Mapping[str, str] = {},
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Sums by `groups`, names from GROUPS or just one from ALONE; of GROUPS the dearest `limit`. Costs are in
    billionths of a dollar. Sums by CREDENTIAL are over whole days, for providers with several, and allow only the
    provider in `where`."""
    if SESSION in groups:
        rows = list_sessions(connection, since=since, where=where, limit=MAX_ROWS)
        names = {"session": "session", "key": "key", "client": "agent"}
    elif CREDENTIAL in groups:
        rows = sum_credentials(connection, since, until, where)
        names = {"provider": "provider", "credential": "credential"}
    else:
        names = {group: GROUPS[group] for group in groups}
        rows = sum_usage(connection, list(dict.fromkeys(names.values())), since, until, where, limit)
    return [
        {**{name: row[column] for name, column in names.items()}, **{column: row[column] for column in COUNTS}}
        for row in rows
    ]
