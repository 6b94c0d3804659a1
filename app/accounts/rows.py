"""Turns records into database rows: requests, attempts, and hourly and daily sums.

What runs for every request builds tuples by hand. Records that differ only in their figures form a `Group`, whose names
are looked up once and whose counts go into all sums. The constants with the columns give the order of values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from app.accounts.record import RequestRecord, StepRecord
from app.accounts.schema import COUNTS, GROUPS, SESSION_COUNTS

# Seconds.
HOUR = 3600
DAY = 86_400
HOUR_MS = HOUR * 1000

Number = Callable[[str], int]
# Counts by the key of a table of sums.
Sums = dict[tuple[int, ...], list[int]]

_encode_into = msgspec.msgpack.Encoder().encode_into

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

# Where each of COUNTS stands: names are looked up too often for a dict.
(
    _REQUESTS, _FAILED, _CUT, _LEFT, _FRESH, _CACHE_READ, _CACHE_WRITTEN, _OUTPUT, _REASONING, _COST, _UNPRICED, _MS,
    _FIRST_BYTE_MS, _FIRST_BYTES,
) = range(len(COUNTS))  # fmt: skip
_NO_USAGE: tuple[int | None, ...] = (None, None, None, None, None)
# Where each of SESSION_COUNTS stands in COUNTS.
_SESSION_COUNTS = tuple(map(COUNTS.index, SESSION_COUNTS))


class _More(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    times: tuple[int | None, int | None, int | None]
    upstream_status: int | None = None
    upstream_request_id: str = ""
    message: str = ""
    origin: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    losses: tuple[str, ...] = ()
    lowered: tuple[str, ...] = ()
    rate_limits: dict[str, str] = {}
    estimated: bool = False
    billed: bool = True
    skipped: tuple[str, ...] = ()
    steps: tuple[StepRecord, ...] = ()


class Group:
    """Records of a batch that have the same names and the same hour. `first` is one of them. `counts` are in the order
    of COUNTS; `began` and `last` are when the first and the last of them were received, in milliseconds."""

    __slots__ = ("began", "counts", "failed", "first", "last", "names")

    def __init__(self, record: RequestRecord, number: Number) -> None:
        """`number` returns a name's number."""
        self.first = record
        self.failed = int(record.failed)
        self.counts = [0] * len(COUNTS)
        self.began = self.last = round(record.received * 1000)
        dialects = f"{record.dialect_in}>{record.dialect_out}"
        named = (*(getattr(record, name) for name in NAMED), dialects, record.terminal, record.error)
        self.names = tuple(map(number, named))

    def finish(self) -> None:
        """Completes the counts that follow from how the requests ended."""
        terminal, counts = self.first.terminal, self.counts
        if terminal != "completed":
            requests = counts[_REQUESTS]
            counts[_FAILED] = requests * self.failed
            counts[_CUT] = requests * (terminal == "upstream_cut")
            counts[_LEFT] = requests * (terminal == "client_closed")


def request_values(records: Iterable[RequestRecord], number: Number) -> tuple[list[Any], list[Group]]:
    """The values of REQUEST_COLUMNS of one record after the other, and the records' groups. `number` returns a name's
    number. Bytes are in bytearrays, since SQLite's driver seeks an adapter for each value of any other type."""
    values: list[Any] = []
    groups: dict[tuple[Any, ...], Group] = {}
    for record in records:
        usage, times, tried = record.usage, record.times, record.attempts
        received = round(record.received * 1000)
        alike = (
            received // HOUR_MS, record.tenant, record.key, record.agent, record.session, record.path,
            record.operation, record.model, record.rule, record.provider, record.target, record.dialect_in,
            record.dialect_out, record.terminal, record.error, tried[-1].credential if tried else "",
        )  # fmt: skip
        group = groups.get(alike)
        if group is None:
            group = groups[alike] = Group(record, number)
        if received > group.last:
            group.last = received
        elif received < group.began:
            group.began = received
        _count(group.counts, record)
        values += (bytearray(pack_id(record.id)), received)
        values += group.names
        values += (record.status, group.failed, times.end, times.first_byte, len(tried))
        if usage is None:
            values += _NO_USAGE
        else:
            values += (usage.fresh, usage.cache_read, usage.cache_written, usage.output, usage.reasoning)
        values += (record.cost, _pack_more(record))
    for group in groups.values():
        group.finish()
    return values, list(groups.values())


def _count(counts: list[int], record: RequestRecord) -> None:
    """Adds a record's figures to counts in the order of COUNTS."""
    usage, times = record.usage, record.times
    counts[_REQUESTS] += 1
    if usage is not None:
        counts[_FRESH] += usage.fresh
        counts[_OUTPUT] += usage.output
        if usage.cache_read or usage.cache_written or usage.reasoning:
            counts[_CACHE_READ] += usage.cache_read
            counts[_CACHE_WRITTEN] += usage.cache_written
            counts[_REASONING] += usage.reasoning
        if record.cost is None:
            counts[_UNPRICED] += 1
        else:
            counts[_COST] += record.cost
    counts[_MS] += times.end
    if times.first_byte is not None:
        counts[_FIRST_BYTE_MS] += times.first_byte
        counts[_FIRST_BYTES] += 1


def needs_attempt_rows(record: RequestRecord) -> bool:
    """Whether the attempts get rows of their own: unless there is just one, and it succeeded."""
    tried = record.attempts
    return len(tried) > 1 or bool(tried and tried[0].error)


def attempt_rows(record: RequestRecord, seq: int, number: Number) -> Iterable[tuple[Any, ...]]:
    """The values of ATTEMPT_COLUMNS for each attempt of the request in row `seq`."""
    for position, tried in enumerate(record.attempts, 1):
        names = (number(tried.target), number(tried.error), number(tried.credential))
        yield (seq, position, *names, clean_text(tried.message), tried.status, tried.started, tried.ended, tried.waited)


def sum_by_hour(groups: Iterable[Group], number: Number) -> Sums:
    """The COUNTS of records by hour and GROUPS, to be added to the stored ones."""
    sums: Sums = {}
    for group in groups:
        record = group.first
        # Without an upstream, these names may be arbitrary text from a client, and new with every request.
        model, agent = (record.model, record.agent) if record.target else ("", "")
        names = (record.tenant, record.key, record.provider, model, record.target, agent)
        _add(sums, (group.began // HOUR_MS, *map(number, names)), group.counts)
    return sums


def sum_by_day(hours: Sums) -> Sums:
    """The same counts by UTC day."""
    sums: Sums = {}
    for (hour, *group), counts in hours.items():
        _add(sums, (hour // (DAY // HOUR), *group), counts)
    return sums


def sum_by_credential(groups: Iterable[Group], number: Number) -> Sums:
    """The COUNTS of records by UTC day, provider and the last credential used. Only named credentials count, which are
    those of providers with several."""
    sums: Sums = {}
    for group in groups:
        record = group.first
        if record.attempts and (shown := record.attempts[-1].credential):
            place = (group.began // (DAY * 1000), number(record.provider), number(shown))
            _add(sums, place, group.counts)
    return sums


def session_rows(groups: Iterable[Group], number: Number) -> list[tuple[int, ...]]:
    """The values of SESSION_COLUMNS for each session of the records, to be merged with the stored ones. Its names are
    those of its last request."""
    sums: Sums = {}
    spans: dict[tuple[int, ...], tuple[int, Group]] = {}
    for group in groups:
        record = group.first
        if not record.session:
            continue
        place: tuple[int, ...] = (number(record.session), number(record.tenant))
        _add(sums, place, [group.counts[column] for column in _SESSION_COUNTS])
        began, latest = spans.get(place, (group.began, group))
        spans[place] = min(began, group.began), max(latest, group, key=lambda each: each.last)
    rows = []
    for place, counts in sorted(sums.items()):
        began, latest = spans[place]
        names = (latest.first.key, latest.first.agent, latest.first.model)
        rows.append((*place, began, latest.last, *map(number, names), *counts))
    return rows


def clean_text(text: str) -> str:
    """Text as both databases take it: without half surrogates and zeros."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def pack_id(request_id: str) -> bytes:
    """A request's id as stored. Our own ids are hexadecimal, and take half the space as bytes."""
    try:
        return b"\0" + bytes.fromhex(request_id)
    except ValueError:
        return request_id.encode()


def unpack_id(packed: bytes) -> str:
    """A stored id as clients know it."""
    return packed[1:].hex() if packed[:1] == b"\0" else packed.decode()


def _add(sums: Sums, place: tuple[int, ...], counts: list[int]) -> None:
    known = sums.get(place)
    sums[place] = counts if known is None else [a + b for a, b in zip(known, counts, strict=True)]


def _pack_more(record: RequestRecord) -> bytearray:
    """The values that are only shown, as MessagePack of the fields that have one."""
    times, usage, packed = record.times, record.usage, bytearray()
    _encode_into(_More(
        (times.routed, times.upstream_head, times.first_token),
        record.upstream_status, record.upstream_request_id, record.message, record.origin, record.bytes_in,
        record.bytes_out, record.losses, record.lowered, record.rate_limits,
        usage is not None and usage.estimated, record.billed, record.skipped, record.steps,
    ), packed)  # fmt: skip
    return packed
