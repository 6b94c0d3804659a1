"""Queries the accounts: pages of requests, single requests and sums.

A list continues where the last page ended, never at an offset. A sum reads rows of hours or days, never of requests. So
both stay fast however many rows there are.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

import msgspec

from app.accounts.rows import (
    ATTEMPT_COLUMNS,
    DAY,
    HOUR,
    HOUR_MS,
    NAMED,
    REQUEST_COLUMNS,
    SESSION_COLUMNS,
    pack_id,
    unpack_id,
)
from app.accounts.schema import COUNTS, FAILED_OR_REFUSED, GROUPS, Table, credential, day, hour, quote, request, session
from app.sql import Connection, list_marks

PAGE = 50
# Longer ranges are summed by the day.
MAX_HOURS = 72
MAX_ROWS = 1000
# The most names that a pattern may match, and stars in it: matching more of them against each name takes too long.
MAX_PATTERN = 500
MAX_STARS = 4
# The columns by which a list needs no help: each is in an index.
_INDEXED = frozenset({"session", "error"})
_HOURS = DAY // HOUR
_NEWEST = "received DESC, seq DESC"

# The filters of a list.
Filter = Literal["tenant", "key", "session", "model", "provider", "target", "agent", "error"]
FILTERS: tuple[Filter, ...] = ("tenant", "key", "session", "model", "provider", "target", "agent", "error")
_NAMES = (*NAMED, "dialects", "terminal", "error")

_REQUEST = f'SELECT "seq", {quote(REQUEST_COLUMNS)} FROM request'
_ATTEMPTS = f'SELECT {quote(ATTEMPT_COLUMNS)} FROM attempt WHERE "request" = ? ORDER BY "number"'
_SESSION = f"SELECT {quote(SESSION_COLUMNS)} FROM session"
_TOTALS = ", ".join(f'sum("{column}") AS "{column}"' for column in COUNTS)
_DEAREST = 'sum("cost") DESC'


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A page of requests, newest first. `since` and `until` are unix times.

    `before` is the number of the last row of the previous page. `after` asks instead for rows written after that
    number, in the order of writing, to follow new requests. `status` is the lowest and highest wanted. A name in
    `where` may be a pattern with `*`.
    """

    before: int | None = None
    after: int | None = None
    since: float | None = None
    until: float | None = None
    failed: bool = False
    status: tuple[int, int] | None = None
    where: Mapping[str, str] = {}
    limit: int = PAGE


class Conditions:
    """The conditions of a query, as SQL and its values. Without any, all rows match."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._parts = ["1 = 1"]

    def __str__(self) -> str:
        return " AND ".join(self._parts)

    def add(self, part: str, *values: Any) -> None:
        self._parts.append(part)
        self.values += values

    def copy(self) -> Conditions:
        alike = Conditions()
        alike._parts, alike.values = [*self._parts], [*self.values]
        return alike


def list_requests(connection: Connection, query: Query) -> list[dict[str, Any]]:
    """The rows of a page. The `seq` of the last one is `before` of the next page."""
    wanted = _narrow_requests(connection, query)
    if wanted is None:
        return []
    limit = min(query.limit, MAX_ROWS)
    if query.after is not None:
        rows = _page(connection, wanted, "seq", limit)
    elif query.where.keys() & _INDEXED or not query.where:
        rows = _page(connection, wanted, _NEWEST, limit)
    else:
        rows = []
        for begin, end in _spans(connection, query.where):
            narrower = wanted.copy()
            narrower.add("received >= ? AND received < ?", begin, end)
            rows += _page(connection, narrower, _NEWEST, limit - len(rows))
            if len(rows) == limit:
                break
    return _finish(connection, rows)


def _narrow_requests(connection: Connection, query: Query) -> Conditions | None:
    """The conditions of a page; None if no row can match."""
    wanted = narrow(connection, request, query.where)
    if wanted is None:
        return None
    if query.before is not None:
        received = connection.value("SELECT received FROM request WHERE seq = ?", (query.before,))
        if received is None:
            return None
        wanted.add("received <= ? AND (received < ? OR seq < ?)", received, received, query.before)
    if query.after is not None:
        wanted.add("seq > ?", query.after)
    if query.since is not None:
        wanted.add("received >= ?", round(query.since * 1000))
    if query.until is not None:
        wanted.add("received < ?", round(query.until * 1000))
    lowest = query.status[0] if query.status is not None else 0
    if query.failed or lowest >= 400 or query.where.get("error"):
        wanted.add(FAILED_OR_REFUSED)
    if query.failed:
        wanted.add("failed = 1")
    if query.status is not None:
        wanted.add("status BETWEEN ? AND ?", *query.status)
    return wanted


def _page(connection: Connection, wanted: Conditions, order: str, limit: int) -> list[dict[str, Any]]:
    return connection.rows(f"{_REQUEST} WHERE {wanted} ORDER BY {order} LIMIT {limit:d}", wanted.values)


def _spans(connection: Connection, where: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """The hours that have requests with these names, newest first, in milliseconds of unix time. The sums tell them, so
    that names without an index are not looked for in every row."""
    in_days, in_hours = _narrow_sums(connection, day, where), _narrow_sums(connection, hour, where)
    in_hours.add("period >= ? AND period < ?")
    hours = f"SELECT DISTINCT period FROM hour WHERE {in_hours} ORDER BY period DESC"
    days = f"SELECT DISTINCT period FROM day WHERE {in_days} ORDER BY period DESC"
    for (number,) in connection.tuples(days, in_days.values):
        first = number * _HOURS
        found = [period for (period,) in connection.tuples(hours, (*in_hours.values, first, first + _HOURS))]
        # Hours in a row are one span.
        for _, run in groupby(enumerate(found), key=lambda each: each[0] + each[1]):
            (_, last), *_, (_, begin) = [*(alike := list(run)), alike[-1]]
            yield begin * HOUR_MS, (last + 1) * HOUR_MS


def _narrow_sums(connection: Connection, table: Table, where: Mapping[str, str]) -> Conditions:
    """The conditions for the sums that may contain requests with these names. Sums of requests without a target have no
    model and no agent."""
    wanted = Conditions()
    nothing = _numbers_of(connection, "")
    for column, text in where.items():
        numbers = _numbers_of(connection, text)
        fits = f'"{column}" IN ({list_marks(numbers)})'
        if column in ("model", "agent") and nothing:
            wanted.add(f"({fits} OR target = ?)", *numbers, *nothing)
        else:
            wanted.add(fits, *numbers)
    return wanted


def list_new(connection: Connection, last: int | None, maximum: int) -> tuple[list[dict[str, Any]], int]:
    """The rows written after number `last`, in the order of writing, and the number of the newest row. Of more than
    `maximum` rows, only the newest; without `last`, none."""
    newest = connection.value("SELECT max(seq) FROM request") or 0
    if last is None or newest <= last:
        return [], newest
    return list_requests(connection, Query(after=max(last, newest - maximum), limit=maximum)), newest


def find_request(connection: Connection, request_id: str) -> dict[str, Any] | None:
    """A request with its attempts, or None if no row has the id."""
    rows = connection.rows(f"{_REQUEST} WHERE id = ? LIMIT 1", (pack_id(request_id),))
    if not rows:
        return None
    (found,) = _finish(connection, rows)
    tried = connection.rows(_ATTEMPTS, (found["seq"],))
    named = ("target", "error", "credential")
    texts = find_texts(connection, {row[column] for row in tried for column in named})
    shown = ("message", "status", "started_ms", "ended_ms", "waited_ms")
    found["tried"] = [
        {column: row[column] for column in shown} | {column: texts.get(row[column], "") for column in named}
        for row in tried
    ]
    return found


def list_sessions(
    connection: Connection,
    *,
    before: float | None = None,
    since: float | None = None,
    where: Mapping[str, str] = {},
    limit: int = PAGE,
) -> list[dict[str, Any]]:
    """Sessions, most recently used first. `before` is the last row's `last` of the previous page. `where` may contain
    tenant and key."""
    wanted = narrow(connection, session, where)
    if wanted is None:
        return []
    if before is not None:
        wanted.add('"last" < ?', round(before * 1000))
    if since is not None:
        wanted.add('"last" >= ?', round(since * 1000))
    page = f'{_SESSION} WHERE {wanted} ORDER BY "last" DESC LIMIT {min(limit, MAX_ROWS):d}'
    rows = connection.rows(page, wanted.values)
    _name(connection, rows, ("session", "tenant", "key", "agent", "model"))
    for row in rows:
        row.update(first=row["first"] / 1000, last=row["last"] / 1000)
    return rows


def sum_usage(
    connection: Connection,
    by: Sequence[str],
    since: float,
    until: float | None = None,
    where: Mapping[str, str] = {},
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Sums over whole hours, or over whole UTC days beyond MAX_HOURS. One row per group, by falling cost; at most
    `limit`.

    `by` holds names from GROUPS, "hour" or "day". Hours and days are given as their first second in unix time.
    """
    end = time.time() if until is None else until
    by_hour = "hour" in by or end - since <= MAX_HOURS * HOUR
    sums, seconds = (hour, HOUR) if by_hour else (day, DAY)
    starts = {"hour": f"period * {seconds}", "day": f"(period - period % {DAY // seconds}) * {seconds}"}
    groups = {column: starts.get(column) or f'"{_check(column, GROUPS)}"' for column in by}
    rows = _sum(connection, sums, groups, (int(since) // seconds, int(end) // seconds), where, limit)
    _name(connection, rows, [column for column in by if column in GROUPS])
    return [row for row in rows if row["requests"]]


def sum_credentials(
    connection: Connection, since: float, until: float | None = None, where: Mapping[str, str] = {}
) -> list[dict[str, Any]]:
    """Sums over whole UTC days by provider and credential, by falling cost. `where` may contain the provider."""
    end = time.time() if until is None else until
    groups = {"provider": '"provider"', "credential": '"credential"'}
    rows = _sum(connection, credential, groups, (int(since) // DAY, int(end) // DAY), where)
    _name(connection, rows, ("provider", "credential"))
    return rows


def narrow(connection: Connection, table: Table, where: Mapping[str, str]) -> Conditions | None:
    """The conditions for a table's rows. None if `where` contains an unknown name, so that no row can match."""
    wanted = Conditions()
    for column, text in where.items():
        _check(column, table.columns)
        numbers = _numbers_of(connection, text)
        if not numbers:
            return None
        if len(numbers) == 1:
            wanted.add(f'"{column}" = ?', *numbers)
        else:
            wanted.add(f'"{column}" IN ({list_marks(numbers)})', *numbers)
    return wanted


def find_texts(connection: Connection, numbers: set[int]) -> dict[int, str]:
    wanted = sorted(numbers)
    texts: dict[int, str] = {}
    for start in range(0, len(wanted), 500):
        some = wanted[start : start + 500]
        texts.update(connection.tuples(f"SELECT id, text FROM name WHERE id IN ({list_marks(some)})", some))
    return texts


def _sum(
    connection: Connection,
    sums: Table,
    groups: Mapping[str, str],
    periods: tuple[int, int],
    where: Mapping[str, str],
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """A sum table's counts from one period to another, both inclusive. `groups` maps names to SQL expressions."""
    wanted = narrow(connection, sums, where)
    if wanted is None:
        return []
    wanted.add("period >= ? AND period <= ?", *periods)
    columns = "".join(f'{expression} AS "{label}", ' for label, expression in groups.items())
    grouped = f" GROUP BY {', '.join(groups.values())}" if groups else ""
    statement = f"SELECT {columns}{_TOTALS} FROM {sums.name} WHERE {wanted}{grouped} ORDER BY {_DEAREST}"
    statement += "" if limit is None else f" LIMIT {limit:d}"
    rows = connection.rows(statement, wanted.values)
    for row in rows:
        row.update({column: int(row[column] or 0) for column in COUNTS})
    return rows


def _check(column: str, known: Container[str]) -> str:
    """A column's name, checked because it becomes part of the statement. Raises KeyError."""
    if column not in known:
        raise KeyError(column)
    return column


def _numbers_of(connection: Connection, text: str) -> list[int]:
    """The numbers of a name, or of all names that match a pattern with `*`, at most MAX_PATTERN."""
    if not 1 <= text.count("*") <= MAX_STARS:
        found = connection.tuples("SELECT id FROM name WHERE text = ?", (text,))
    else:
        pattern = "".join("%" if letter == "*" else f"\\{letter}" if letter in "%_\\" else letter for letter in text)
        statement = f"SELECT id FROM name WHERE text LIKE ? ESCAPE '\\' LIMIT {MAX_PATTERN}"
        found = connection.tuples(statement, (pattern,))
    return [number for (number,) in found]


def _name(connection: Connection, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Replaces the numbers of names by the names."""
    texts = find_texts(connection, {row[column] for row in rows for column in columns})
    for row in rows:
        row.update({column: texts.get(row[column], "") for column in columns})


def _finish(connection: Connection, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    _name(connection, rows, _NAMES)
    for row in rows:
        more = row.pop("more")
        row["id"] = unpack_id(row["id"])
        row["received"] /= 1000
        row["dialect_in"], _, row["dialect_out"] = row.pop("dialects").partition(">")
        row["failed"] = bool(row["failed"])
        row.update(msgspec.msgpack.decode(more) if more else {})
        routed, upstream_head, first_token = row.pop("times", (None, None, None))
        row.update(routed_ms=routed, upstream_head_ms=upstream_head, first_token_ms=first_token)
    return rows
