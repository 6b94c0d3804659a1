"""Turns records into database rows: requests, attempts, and hourly and daily sums.

These functions run for every request, so they build tuples by hand. The constants with the columns give their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from app.accounts.record import RequestRecord
from app.accounts.schema import COUNTS, GROUPS, SESSION_COUNTS
from app.conversation.response import Usage

# Seconds.
HOUR = 3600
DAY = 86_400

Number = Callable[[str], int]

_encode = msgspec.msgpack.Encoder().encode

NAMED = ("tenant", "key", "agent", "session", "path", "operation", "model", "rule", "provider", "target")
REQUEST_COLUMNS = (
    *("id", "received", *NAMED, "dialects", "terminal", "error"),
    *("status", "failed", "ms", "first_byte_ms", "attempts"),
    *("fresh", "cache_read", "cache_written", "output", "reasoning", "cost", "more"),
)
ATTEMPT_COLUMNS = (
    *("request", "number", "target", "error", "credential", "message"),
    *("status", "started_ms", "ended_ms", "waited_ms"),
)
SUM_COLUMNS = ("period", *GROUPS, *COUNTS)
CREDENTIAL_COLUMNS = ("period", "provider", "credential", *COUNTS)
SESSION_COLUMNS = ("session", "tenant", "first", "last", "key", "agent", "model", *SESSION_COUNTS)

_NO_USAGE = (None, None, None, None, None)
_NOTHING_USED = Usage()


def request_row(record: RequestRecord, number: Number) -> tuple[Any, ...]:
    """The values of REQUEST_COLUMNS for a record. `number` returns a name's number."""
    usage, times = record.usage, record.times
    return (
        pack_id(record.id),
        round(record.received * 1000),
        number(record.tenant),
        number(record.key),
        number(record.agent),
        number(record.session),
        number(record.path),
        number(record.operation),
        number(record.model),
        number(record.rule),
        number(record.provider),
        number(record.target),
        number(f"{record.dialect_in}>{record.dialect_out}"),
        number(record.terminal),
        number(record.error),
        record.status,
        int(record.failed),
        times.end,
        times.first_byte,
        len(record.attempts),
        *(
            (usage.fresh, usage.cache_read, usage.cache_written, usage.output, usage.reasoning)
            if usage is not None
            else _NO_USAGE
        ),
        record.cost,
        _encode(_shown(record)),
    )


def needs_attempt_rows(record: RequestRecord) -> bool:
    """Whether the attempts get rows of their own: unless there is just one, and it succeeded."""
    tried = record.attempts
    return len(tried) > 1 or (len(tried) == 1 and bool(tried[0].error))


def attempt_rows(record: RequestRecord, seq: int, number: Number) -> Iterable[tuple[Any, ...]]:
    """The values of ATTEMPT_COLUMNS for each attempt of the request in row `seq`."""
    for position, tried in enumerate(record.attempts, 1):
        names = (number(tried.target), number(tried.error), number(tried.credential))
        yield (seq, position, *names, tried.message, tried.status, tried.started, tried.ended, tried.waited)


def sum_by_hour(records: Iterable[RequestRecord], number: Number) -> dict[tuple[int, ...], list[int]]:
    """The COUNTS of records by hour and GROUPS, to be added to the stored ones."""
    alike: dict[tuple[Any, ...], list[int]] = {}
    for record in records:
        # Without an upstream, these names may be arbitrary text from a client, and new with every request.
        model, agent = (record.model, record.agent) if record.target else ("", "")
        received = int(record.received) // HOUR
        place = (received, record.tenant, record.key, record.provider, model, record.target, agent)
        counts = alike.get(place)
        if counts is None:
            counts = alike[place] = [0] * len(COUNTS)
        _count(record, counts)
    sums: dict[tuple[int, ...], list[int]] = {}
    for (received, *names), counts in alike.items():
        _add(sums, (received, *map(number, names)), counts)
    return sums


def sum_by_day(hours: Mapping[tuple[int, ...], list[int]]) -> dict[tuple[int, ...], list[int]]:
    """The same counts by UTC day."""
    sums: dict[tuple[int, ...], list[int]] = {}
    for (hour, *group), counts in hours.items():
        _add(sums, (hour // (DAY // HOUR), *group), counts)
    return sums


def sum_by_credential(records: Iterable[RequestRecord], number: Number) -> dict[tuple[int, ...], list[int]]:
    """The COUNTS of records by UTC day, provider and the last credential used. Only named credentials count, which are
    those of providers with several."""
    sums: dict[tuple[int, ...], list[int]] = {}
    for record in records:
        if record.attempts and (shown := record.attempts[-1].credential):
            place = (int(record.received) // DAY, number(record.provider), number(shown))
            _count(record, sums.setdefault(place, [0] * len(COUNTS)))
    return sums


def session_rows(records: Iterable[RequestRecord], number: Number) -> list[tuple[int, ...]]:
    """The values of SESSION_COLUMNS for each session of the records, to be merged with the stored ones."""
    rows: dict[tuple[int, int], tuple[int, int, int, int, int, list[int]]] = {}
    for record in records:
        if not record.session:
            continue
        place = (number(record.session), number(record.tenant))
        received = round(record.received * 1000)
        counts = _session_counts(record)
        first, last, *_names, known = rows.get(place, (received, received, 0, 0, 0, [0] * len(counts)))
        names = (number(record.key), number(record.agent), number(record.model))
        added = [a + b for a, b in zip(known, counts, strict=True)]
        rows[place] = (min(first, received), max(last, received), *names, added)
    return [(*place, *times_and_names, *counts) for place, (*times_and_names, counts) in sorted(rows.items())]


def pack_id(request_id: str) -> bytes:
    """A request's id as stored. Our own ids are hexadecimal, and take half the space as bytes."""
    try:
        return b"\0" + bytes.fromhex(request_id)
    except ValueError:
        return request_id.encode()


def unpack_id(packed: bytes) -> str:
    """A stored id as clients know it."""
    return packed[1:].hex() if packed[:1] == b"\0" else packed.decode()


def _add(sums: dict[tuple[int, ...], list[int]], place: tuple[int, ...], counts: list[int]) -> None:
    known = sums.get(place)
    sums[place] = counts if known is None else [a + b for a, b in zip(known, counts, strict=True)]


def _count(record: RequestRecord, counts: list[int]) -> None:
    """Adds a record to counts in the order of COUNTS."""
    usage, times, terminal = record.usage, record.times, record.terminal
    counts[0] += 1
    if terminal != "completed":
        counts[1] += record.failed
        counts[2] += terminal == "upstream_cut"
        counts[3] += terminal == "client_closed"
    if usage is not None:
        counts[4] += usage.fresh
        counts[5] += usage.cache_read
        counts[6] += usage.cache_written
        counts[7] += usage.output
        counts[8] += usage.reasoning
        if record.cost is None:
            counts[10] += 1
    if record.cost:
        counts[9] += record.cost
    counts[11] += times.end
    if times.first_byte is not None:
        counts[12] += times.first_byte
        counts[13] += 1


def _session_counts(record: RequestRecord) -> list[int]:
    """A record's counts, in the order of SESSION_COUNTS."""
    usage = record.usage or _NOTHING_USED
    tokens = (usage.fresh, usage.cache_read, usage.cache_written, usage.output, usage.reasoning)
    return [1, int(record.failed), *tokens, record.cost or 0, int(record.usage is not None and record.cost is None)]


def _shown(record: RequestRecord) -> dict[str, Any]:
    times = record.times
    shown: dict[str, Any] = {"times": (times.routed, times.upstream_head, times.first_token)}
    if record.upstream_status:
        shown["upstream_status"] = record.upstream_status
    if record.upstream_request_id:
        shown["upstream_request_id"] = record.upstream_request_id
    if record.message:
        shown["message"] = record.message
    if record.origin:
        shown["origin"] = record.origin
    if record.bytes_in:
        shown["bytes_in"] = record.bytes_in
    if record.bytes_out:
        shown["bytes_out"] = record.bytes_out
    if record.losses:
        shown["losses"] = record.losses
    if record.lowered:
        shown["lowered"] = record.lowered
    if record.rate_limits:
        shown["rate_limits"] = record.rate_limits
    if record.usage is not None and record.usage.estimated:
        shown["estimated"] = True
    if not record.billed:
        shown["billed"] = False
    return shown
