"""What pages ask of the accounts beside lists and sums: counts along a range of time, times to the first byte, and how
full the context of a session is. Each reads a bounded number of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, case, func, select
from sqlalchemy.sql.elements import ColumnElement

from app.accounts.engine import hour, name, request
from app.accounts.queries import find_texts, narrow
from app.accounts.rows import HOUR

# Rows that times to the first byte are taken from: the newest ones.
MOST_TIMED = 2000
# Longer ranges are counted by the hour, from the sums.
MOST_SCANNED = 3 * HOUR
MOST_BARS = 60

KINDS = ("well", "left", "client_error", "upstream_error", "cut")


def count_along(
    connection: Connection, since: float, until: float, where: Mapping[str, str] = {}
) -> list[dict[str, Any]]:
    """Requests along a range, oldest first: `begin` in unix time and how many ended in which way. A range of up to
    three hours is told in full, a longer one as well, left, failed and cut, as the sums know it."""
    if until - since <= MOST_SCANNED:
        return _count_rows(connection, since, until, where)
    conditions = narrow(connection, hour, where)
    if conditions is None:
        return []
    width = max(1, -(-int(until - since) // (HOUR * MOST_BARS)))
    bar = hour.c.period - hour.c.period % width
    counts = [func.sum(hour.c[column]).label(column) for column in ("requests", "failed", "cut", "left")]
    found = connection.execute(
        select(bar.label("bar"), *counts)
        .where(hour.c.period >= int(since) // HOUR, hour.c.period <= int(until) // HOUR, *conditions)
        .group_by(bar)
    )
    known = {int(row.bar): row for row in found}
    first = int(since) // HOUR // width * width
    told = []
    for number in range(first, int(until) // HOUR + 1, width):
        row = known.get(number)
        counted = dict.fromkeys(KINDS, 0)
        if row is not None:
            failed, cut, left = int(row.failed), int(row.cut), int(row.left)
            well = max(0, int(row.requests) - failed - left)
            counted |= {"well": well, "left": left, "upstream_error": max(0, failed - cut), "cut": cut}
        told.append({"begin": number * HOUR, "seconds": width * HOUR, **counted})
    return told


def list_first_bytes(
    connection: Connection, since: float, until: float, where: Mapping[str, str] = {}
) -> list[tuple[str, int]]:
    """Provider and milliseconds to the first byte of the newest requests in a range."""
    conditions = narrow(connection, request, where)
    if conditions is None:
        return []
    page = (
        select(request.c.provider, request.c.first_byte_ms)
        .where(request.c.received >= since * 1000, request.c.received < until * 1000, *conditions)
        .order_by(request.c.received.desc())
        .limit(MOST_TIMED)
    )
    rows = [row for row in connection.execute(page) if row.first_byte_ms is not None]
    texts = find_texts(connection, {row.provider for row in rows})
    return [(texts.get(row.provider, ""), row.first_byte_ms) for row in rows]


def read_last_turns(
    connection: Connection, sessions: Sequence[str], where: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """The last turn with tokens of each session: how many tokens are in its context, and its target."""
    own = narrow(connection, request, where)
    if own is None or not sessions:
        return {}
    numbers = {row.id: row.text for row in connection.execute(select(name).where(name.c.text.in_(sessions)))}
    chosen = and_(request.c.session.in_(numbers), request.c.output.is_not(None), *own)
    last = select(request.c.session, func.max(request.c.seq).label("seq")).where(chosen).group_by(request.c.session)
    newest = last.subquery()
    rows = connection.execute(select(request).join(newest, request.c.seq == newest.c.seq)).all()
    texts = find_texts(connection, {row.target for row in rows})
    return {
        numbers[row.session]: {
            "context": (row.fresh or 0) + (row.cache_read or 0) + (row.cache_written or 0) + (row.output or 0),
            "target": texts.get(row.target, ""),
        }
        for row in rows
    }


def _count_rows(connection: Connection, since: float, until: float, where: Mapping[str, str]) -> list[dict[str, Any]]:
    conditions = narrow(connection, request, where)
    if conditions is None:
        return []
    begin = int(since) // 60 * 60
    width = max(60, -(-int(until - begin) // MOST_BARS) // 60 * 60)
    bar = (request.c.received - begin * 1000) / (width * 1000)
    numbers = dict(
        connection.execute(
            select(name.c.text, name.c.id).where(name.c.text.in_(("client_closed", "upstream_cut")))
        ).all()
    )  # fmt: skip
    is_left: ColumnElement[bool] = request.c.terminal == numbers.get("client_closed", -1)
    is_cut: ColumnElement[bool] = request.c.terminal == numbers.get("upstream_cut", -1)
    kind = case(
        (is_left, "left"),
        (is_cut, "cut"),
        (request.c.failed == 0, "well"),
        (request.c.status.between(400, 499), "client_error"),
        else_="upstream_error",
    )
    number = func.floor(bar).label("bar")
    found = connection.execute(
        select(number, kind.label("kind"), func.count().label("number"))
        .where(request.c.received >= since * 1000, request.c.received < until * 1000, *conditions)
        .group_by(number, kind)
    )
    bars = {at: dict.fromkeys(KINDS, 0) for at in range(int(until - begin - 1) // width + 1)}
    for row in found:
        if int(row.bar) in bars:
            bars[int(row.bar)][row.kind] += row.number
    return [{"begin": begin + at * width, "seconds": width, **counts} for at, counts in bars.items()]
