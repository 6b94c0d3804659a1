"""What is asked of the accounts: lists of requests page by page, one request whole, and sums.

A list starts where the page before ended, never at an offset; a sum reads hours or days, never requests. That keeps
both fast however many rows there are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, TableClause, and_, func, or_, select
from sqlalchemy.sql.elements import ColumnElement

from app.accounts.engine import attempt, credential, day, hour, name, request, session
from app.accounts.rows import DAY, HOUR, NAMED, pack_id, unpack_id
from app.accounts.schema import COUNTS, GROUPS

PAGE = 50
# A longer time is summed by the day.
MOST_HOURS = 72
MOST_ROWS = 1000
# Names that one pattern stands for, and stars in it: with more of them a look at each name takes too long.
MOST_PATTERN = 500
MOST_STARS = 4
# The status of requests whose client has left.
LEFT = 499

# What a list may be narrowed by, all of them exact names.
Filter = Literal["tenant", "key", "session", "model", "provider", "target", "agent"]
FILTERS: tuple[Filter, ...] = ("tenant", "key", "session", "model", "provider", "target", "agent")
_NAMES = (*NAMED, "dialects", "terminal", "error")


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A page of requests, the newest first. `since` and `until` are unix times.

    `before` is the number of the last row of the page before. `after` asks for what was written after a row instead,
    in the order of writing, as somebody does who looks on. `status` is the lowest and the highest that is wanted. A
    name in `where` may be a pattern with `*`.
    """

    before: int | None = None
    after: int | None = None
    since: float | None = None
    until: float | None = None
    failed: bool = False
    status: tuple[int, int] | None = None
    where: Mapping[str, str] = {}
    limit: int = PAGE


def list_requests(connection: Connection, query: Query) -> list[dict[str, Any]]:
    """Rows with `seq`, the number that the next page is asked for by."""
    conditions = narrow(connection, request, query.where)
    if conditions is None:
        return []
    if query.before is not None:
        received = connection.execute(select(request.c.received).where(request.c.seq == query.before)).scalar()
        if received is None:
            return []
        conditions.append(request.c.received <= received)
        conditions.append(or_(request.c.received < received, request.c.seq < query.before))
    if query.after is not None:
        conditions.append(request.c.seq > query.after)
    if query.since is not None:
        conditions.append(request.c.received >= round(query.since * 1000))
    if query.until is not None:
        conditions.append(request.c.received < round(query.until * 1000))
    if query.failed:
        conditions.append(request.c.failed == 1)
    if query.status is not None:
        lowest, highest = query.status
        conditions.append(request.c.status.between(lowest, highest))
        # But for clients that left, whose status is 499, these are failures, which have an index.
        if lowest >= 400 and not lowest <= LEFT <= highest:
            conditions.append(request.c.failed == 1)
    newest_first = (request.c.received.desc(), request.c.seq.desc())
    order = newest_first if query.after is None else (request.c.seq.asc(),)
    page = select(request).where(*conditions).order_by(*order).limit(min(query.limit, MOST_ROWS))
    return _spell(connection, connection.execute(page).all())


def find_request(connection: Connection, request_id: str) -> dict[str, Any] | None:
    """A request with its attempts; None for an id that no row has."""
    rows = connection.execute(select(request).where(request.c.id == pack_id(request_id)).limit(1)).all()
    if not rows:
        return None
    (found,) = _spell(connection, rows)
    tried = connection.execute(
        select(attempt).where(attempt.c.request == found["seq"]).order_by(attempt.c.number)
    ).all()
    texts = find_texts(
        connection, {row._mapping[column] for row in tried for column in ("target", "error", "credential")}
    )
    found["tried"] = [
        {
            **{column: row._mapping[column] for column in ("message", "status", "started_ms", "ended_ms", "waited_ms")},
            **{column: texts.get(row._mapping[column], "") for column in ("target", "error", "credential")},
        }
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
    """Sessions, the one last used first; `before` is the `last` of the page before. `where` takes tenant and key."""
    conditions = narrow(connection, session, where)
    if conditions is None:
        return []
    if before is not None:
        conditions.append(session.c.last < round(before * 1000))
    if since is not None:
        conditions.append(session.c.last >= round(since * 1000))
    page = select(session).where(*conditions).order_by(session.c.last.desc()).limit(min(limit, MOST_ROWS))
    rows = [dict(row._mapping) for row in connection.execute(page)]
    named = ("session", "tenant", "key", "agent", "model")
    texts = find_texts(connection, {row[column] for row in rows for column in named})
    for row in rows:
        row.update({column: texts.get(row[column], "") for column in named})
        row.update(first=row["first"] / 1000, last=row["last"] / 1000)
    return rows


def sum_usage(
    connection: Connection,
    by: Sequence[str],
    since: float,
    until: float | None = None,
    where: Mapping[str, str] = {},
) -> list[dict[str, Any]]:
    """Sums over whole hours, or over whole days of UTC for more than MOST_HOURS; one row a group, the dearest first.

    `by` holds names of GROUPS, "hour" or "day"; a day is one of UTC, told as its first second in unix time.
    """
    end = time.time() if until is None else until
    by_hour = "hour" in by or end - since <= MOST_HOURS * HOUR
    sums, seconds = (hour, HOUR) if by_hour else (day, DAY)
    periods = sums.c.period
    conditions = narrow(connection, sums, where)
    if conditions is None:
        return []
    conditions += [periods >= int(since) // seconds, periods <= int(end) // seconds]
    starts = {"hour": periods * seconds, "day": (periods - periods % (DAY // seconds)) * seconds}
    groups: dict[str, Any] = {column: starts.get(column, sums.c.get(column)) for column in by}
    totals = [func.sum(sums.c[column]).label(column) for column in COUNTS]
    statement = select(*(value.label(label) for label, value in groups.items()), *totals).where(and_(*conditions))
    if groups:
        statement = statement.group_by(*groups.values())
    rows = [dict(row._mapping) for row in connection.execute(statement.order_by(func.sum(sums.c.cost).desc()))]
    named = [column for column in by if column in GROUPS]
    texts = find_texts(connection, {row[column] for row in rows for column in named})
    for row in rows:
        row.update({column: texts.get(row[column], "") for column in named})
        row.update({column: int(row[column] or 0) for column in COUNTS})
    return [row for row in rows if row["requests"]]


def sum_credentials(
    connection: Connection, since: float, until: float | None = None, where: Mapping[str, str] = {}
) -> list[dict[str, Any]]:
    """Sums over whole days of UTC by provider and credential, the dearest first. `where` takes the provider."""
    conditions = narrow(connection, credential, where)
    if conditions is None:
        return []
    end = time.time() if until is None else until
    conditions += [credential.c.period >= int(since) // DAY, credential.c.period <= int(end) // DAY]
    by = (credential.c.provider, credential.c.credential)
    totals = [func.sum(credential.c[column]).label(column) for column in COUNTS]
    statement = select(*by, *totals).where(and_(*conditions)).group_by(*by)
    rows = [dict(row._mapping) for row in connection.execute(statement.order_by(func.sum(credential.c.cost).desc()))]
    texts = find_texts(connection, {row[column] for row in rows for column in ("provider", "credential")})
    for row in rows:
        row.update({column: texts.get(row[column], "") for column in ("provider", "credential")})
        row.update({column: int(row[column] or 0) for column in COUNTS})
    return rows


def narrow(connection: Connection, table: TableClause, where: Mapping[str, str]) -> list[ColumnElement[bool]] | None:
    """What rows of a table must hold; None where a name is wanted that none of them has."""
    conditions: list[ColumnElement[bool]] = []
    for column, text in where.items():
        numbers = _numbers_of(connection, text)
        if not numbers:
            return None
        wanted = table.c[column]
        conditions.append(wanted == numbers[0] if len(numbers) == 1 else wanted.in_(numbers))
    return conditions


def _numbers_of(connection: Connection, text: str) -> list[int]:
    """The numbers of a name, or of all that a pattern with `*` is for, up to MOST_PATTERN."""
    if not 1 <= text.count("*") <= MOST_STARS:
        return [row.id for row in connection.execute(select(name.c.id).where(name.c.text == text))]
    pattern = "".join("%" if letter == "*" else f"\\{letter}" if letter in "%_\\" else letter for letter in text)
    found = select(name.c.id).where(name.c.text.like(pattern, escape="\\")).limit(MOST_PATTERN)
    return [row.id for row in connection.execute(found)]


def find_texts(connection: Connection, numbers: set[int]) -> dict[int, str]:
    wanted = sorted(numbers)
    texts: dict[int, str] = {}
    for start in range(0, len(wanted), 500):
        found = connection.execute(select(name.c.id, name.c.text).where(name.c.id.in_(wanted[start : start + 500])))
        texts.update({row.id: row.text for row in found})
    return texts


def _spell(connection: Connection, rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    texts = find_texts(connection, {row._mapping[column] for row in rows for column in _NAMES})
    spelled = []
    for row in rows:
        told = dict(row._mapping)
        more = told.pop("more")
        told["id"] = unpack_id(told["id"])
        told["received"] /= 1000
        told.update({column: texts.get(told[column], "") for column in _NAMES})
        told["dialect_in"], _, told["dialect_out"] = told.pop("dialects").partition(">")
        told["failed"] = bool(told["failed"])
        told.update(msgspec.msgpack.decode(more) if more else {})
        routed, upstream_head, first_token = told.pop("times", (None, None, None))
        told.update(routed_ms=routed, upstream_head_ms=upstream_head, first_token_ms=first_token)
        spelled.append(told)
    return spelled
