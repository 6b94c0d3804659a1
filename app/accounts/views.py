"""Queries for the dashboard's charts: counts over time, times to first byte, context sizes. Each reads a bounded
number of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.accounts.queries import Query, find_texts, list_requests, narrow
from app.accounts.rows import HOUR
from app.accounts.schema import hour, request
from app.sql import Connection, list_marks

# The number of newest rows from which times to the first byte are taken.
MAX_TIMED = 2000
# Seconds. Longer ranges are counted by the hour, from the sums.
MAX_SCANNED = 3 * HOUR
MAX_BARS = 60

KINDS = ("well", "left", "client_error", "upstream_error", "cut")


def count_along(
    connection: Connection, since: float, until: float, where: Mapping[str, str] = {}
) -> list[dict[str, Any]]:
    """Requests over a range, oldest first: `begin` in unix time, and how many ended in which way. In ranges of more
    than three hours, all failures count as `upstream_error` or `cut`, since the sums do not know more."""
    if until - since <= MAX_SCANNED:
        return _count_rows(connection, since, until, where)
    wanted = narrow(connection, hour, where)
    if wanted is None:
        return []
    width = max(1, -(-int(until - since) // (HOUR * MAX_BARS)))
    wanted.add("period >= ? AND period <= ?", int(since) // HOUR, int(until) // HOUR)
    bar = f"period - period % {width}"
    counts = ", ".join(f'sum("{column}")' for column in ("requests", "failed", "cut", "left"))
    found = connection.tuples(f"SELECT {bar}, {counts} FROM hour WHERE {wanted} GROUP BY {bar}", wanted.values)
    known = {int(at): map(int, counted) for at, *counted in found}
    first = int(since) // HOUR // width * width
    views = []
    for number in range(first, int(until) // HOUR + 1, width):
        row = known.get(number)
        counted = dict.fromkeys(KINDS, 0)
        if row is not None:
            requests, failed, cut, left = row
            well = max(0, requests - failed - left)
            counted |= {"well": well, "left": left, "upstream_error": max(0, failed - cut), "cut": cut}
        views.append({"begin": number * HOUR, "seconds": width * HOUR, **counted})
    return views


def list_first_bytes(
    connection: Connection, since: float, until: float, where: Mapping[str, str] = {}
) -> list[tuple[str, int]]:
    """The provider and the milliseconds to the first byte, for the newest requests in a range."""
    wanted = narrow(connection, request, where)
    if wanted is None:
        return []
    wanted.add("received >= ? AND received < ?", since * 1000, until * 1000)
    page = f"SELECT provider, first_byte_ms FROM request WHERE {wanted} ORDER BY received DESC LIMIT {MAX_TIMED}"
    rows = [(provider, ms) for provider, ms in connection.tuples(page, wanted.values) if ms is not None]
    texts = find_texts(connection, {provider for provider, _ in rows})
    return [(texts.get(provider, ""), ms) for provider, ms in rows]


def find_last_uses(connection: Connection, keys: Iterable[str]) -> dict[str, float]:
    """When each of these keys was last used, as unix time."""
    found = {}
    for key in keys:
        newest = list_requests(connection, Query(where={"key": key}, limit=1)) if key else []
        if newest:
            found[key] = newest[0]["received"]
    return found


def find_last_hours(
    connection: Connection, since: float, where: Mapping[str, str]
) -> dict[str, tuple[float, float | None]]:
    """For each target, the hours of its last request and of its last failure, as unix times of their beginnings."""
    wanted = narrow(connection, hour, where)
    if wanted is None:
        return {}
    wanted.add("period >= ?", int(since) // HOUR)
    last = "max(period), max(CASE WHEN failed > 0 THEN period END)"
    rows = connection.tuples(f"SELECT target, {last} FROM hour WHERE {wanted} GROUP BY target", wanted.values)
    texts = find_texts(connection, {target for target, *_ in rows})
    return {
        texts.get(target, ""): (used * HOUR, None if failed is None else failed * HOUR) for target, used, failed in rows
    }


def read_last_turns(
    connection: Connection, sessions: Sequence[str], where: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """For each session, the tokens in the context of its last turn that has tokens, and its target."""
    own = narrow(connection, request, where)
    if own is None or not sessions:
        return {}
    names = connection.tuples(f"SELECT id, text FROM name WHERE text IN ({list_marks(sessions)})", sessions)
    if not names:
        return {}
    own.add(f"session IN ({list_marks(names)}) AND output IS NOT NULL", *(number for number, _ in names))
    newest = f"SELECT max(seq) FROM request WHERE {own} GROUP BY session"
    counts = "session, target, fresh, cache_read, cache_written, output"
    rows = connection.tuples(f"SELECT {counts} FROM request WHERE seq IN ({newest})", own.values)
    texts = find_texts(connection, {target for _, target, *_ in rows})
    sessions_by_number = dict(names)
    return {
        sessions_by_number[number]: {
            "context": sum(count or 0 for count in counted),
            "target": texts.get(target, ""),
        }
        for number, target, *counted in rows
    }


def _count_rows(connection: Connection, since: float, until: float, where: Mapping[str, str]) -> list[dict[str, Any]]:
    wanted = narrow(connection, request, where)
    if wanted is None:
        return []
    begin = int(since) // 60 * 60
    width = max(60, -(-int(until - begin) // MAX_BARS) // 60 * 60)
    names = "SELECT text, id FROM name WHERE text IN ('client_closed', 'upstream_cut')"
    numbers = dict(connection.tuples(names))
    kind = (
        f"CASE WHEN terminal = {numbers.get('client_closed', -1)} THEN 'left' "
        f"WHEN terminal = {numbers.get('upstream_cut', -1)} THEN 'cut' WHEN failed = 0 THEN 'well' "
        "WHEN status BETWEEN 400 AND 499 THEN 'client_error' ELSE 'upstream_error' END"
    )
    bar = f"(received - {begin * 1000}) / {width * 1000}"
    wanted.add("received >= ? AND received < ?", since * 1000, until * 1000)
    found = connection.tuples(
        f"SELECT {bar}, {kind}, count(*) FROM request WHERE {wanted} GROUP BY {bar}, {kind}", wanted.values
    )
    bars = {at: dict.fromkeys(KINDS, 0) for at in range(int(until - begin - 1) // width + 1)}
    for number, ended, count in found:
        if int(number) in bars:
            bars[int(number)][ended] += count
    return [{"begin": begin + at * width, "seconds": width, **counts} for at, counts in bars.items()]
