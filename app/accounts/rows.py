"""Records as rows: what the database keeps of a request, its attempts and its hour."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from app.accounts.record import AttemptRecord, RequestRecord
from app.accounts.schema import COUNTS, GROUPS

# Seconds.
HOUR = 3600
DAY = 86_400

_encode = msgspec.msgpack.Encoder().encode

# What a page about one request shows and nothing ever searches.
_SHOWN_ONLY = (
    "upstream_status",
    "upstream_request_id",
    "message",
    "origin",
    "bytes_in",
    "bytes_out",
    "losses",
    "lowered",
    "rate_limits",
)
NAMED = ("tenant", "key", "agent", "session", "path", "operation", "model", "rule", "provider", "target")


def names_in(record: RequestRecord) -> Iterable[str]:
    """Every text of the record that rows hold by its number."""
    yield from (getattr(record, column) for column in NAMED)
    yield from (dialects(record), record.terminal, record.error)
    for tried in record.attempts:
        yield from (tried.target, tried.error, tried.credential)


def dialects(record: RequestRecord) -> str:
    return f"{record.dialect_in}>{record.dialect_out}"


def request_row(record: RequestRecord, number: Callable[[str], int]) -> dict[str, Any]:
    """The row of a request. `number` gives a name's number."""
    usage = record.usage
    shown = {field: value for field in _SHOWN_ONLY if (value := getattr(record, field))}
    times = (record.times.routed, record.times.upstream_head, record.times.first_token)
    if times != (None, None, None):
        shown["times"] = times
    if usage is not None and usage.estimated:
        shown["estimated"] = True
    if not record.billed:
        shown["billed"] = False
    return {
        "id": pack_id(record.id),
        "received": round(record.received * 1000),
        **{column: number(getattr(record, column)) for column in NAMED},
        "dialects": number(dialects(record)),
        "terminal": number(record.terminal),
        "error": number(record.error),
        "status": record.status,
        "failed": int(record.failed),
        "ms": record.times.end,
        "first_byte_ms": record.times.first_byte,
        "attempts": len(record.attempts),
        "fresh": usage and usage.fresh,
        "cache_read": usage and usage.cache_read,
        "cache_written": usage and usage.cache_written,
        "output": usage and usage.output,
        "reasoning": usage and usage.reasoning,
        "cost": record.cost,
        "more": _encode(shown) if shown else None,
    }


def attempt_rows(record: RequestRecord, seq: int, number: Callable[[str], int]) -> list[dict[str, Any]]:
    """The rows of the attempts, where there is more to tell than that the first one succeeded."""
    tried = record.attempts
    if len(tried) < 2 and not any(each.error for each in tried):
        return []
    return [_attempt_row(each, position, seq, number) for position, each in enumerate(tried, 1)]


def _attempt_row(tried: AttemptRecord, position: int, seq: int, number: Callable[[str], int]) -> dict[str, Any]:
    return {
        "request": seq,
        "number": position,
        "target": number(tried.target),
        "error": number(tried.error),
        "credential": number(tried.credential),
        "message": tried.message,
        "status": tried.status,
        "started_ms": tried.started,
        "ended_ms": tried.ended,
        "waited_ms": tried.waited,
    }


def sum_rows(records: Iterable[RequestRecord], number: Callable[[str], int], seconds: int) -> list[dict[str, int]]:
    """The sums of records by period and group, to be added to those that are there."""
    sums: dict[tuple[int, ...], list[int]] = {}
    for record in records:
        # A name that reached no upstream may be anything that a client wrote, a new one with every request.
        group = {name: getattr(record, name) if record.target or name in ("tenant", "key") else "" for name in GROUPS}
        place = (int(record.received) // seconds, *(number(group[name]) for name in GROUPS))
        counted = _counts(record)
        known = sums.get(place)
        sums[place] = counted if known is None else [a + b for a, b in zip(known, counted, strict=True)]
    return [
        dict(zip(("period", *GROUPS, *COUNTS), (*place, *counted), strict=True))
        for place, counted in sorted(sums.items())
    ]


def _counts(record: RequestRecord) -> list[int]:
    usage = record.usage
    counts: Mapping[str, int] = {
        "requests": 1,
        "failed": int(record.failed),
        "cut": int(record.terminal == "upstream_cut"),
        "left": int(record.terminal == "client_closed"),
        "fresh": usage.fresh if usage else 0,
        "cache_read": usage.cache_read if usage else 0,
        "cache_written": usage.cache_written if usage else 0,
        "output": usage.output if usage else 0,
        "reasoning": usage.reasoning if usage else 0,
        "cost": record.cost or 0,
        "unpriced": int(usage is not None and record.cost is None),
        "ms": record.times.end,
        "first_byte_ms": record.times.first_byte or 0,
        "first_bytes": int(record.times.first_byte is not None),
    }
    return [counts[name] for name in COUNTS]


def pack_id(request_id: str) -> bytes:
    """The id of a request as its row has it: ids of ours are hex, which takes half the room as bytes."""
    try:
        return b"\0" + bytes.fromhex(request_id)
    except ValueError:
        return request_id.encode()


def unpack_id(packed: bytes) -> str:
    """The id of a row as clients know it."""
    return packed[1:].hex() if packed[:1] == b"\0" else packed.decode()
