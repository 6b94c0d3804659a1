"""Counts a worker's requests, and adds up the counts of all workers.

Labels are bounded: clients choose the names of models, so only MAX_MODELS of them are kept; the rest count as "other".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Literal, TypeVar

import msgspec

from app.accounts.record import AttemptRecord, RequestRecord, Times
from app.conversation.response import Usage
from app.logs import clean_line

MAX_MODELS = 200
# Maximum groups of labels of one kind. Statuses and error kinds are few, but the bound must be certain.
MAX_GROUPS = 5000
# Bytes of text that a group takes, roughly.
GROUP_SIZE = 1000
OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})

# Upper bounds recommended by OpenTelemetry's semantic conventions for generative AI: seconds, and tokens.
DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68)
FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)

# OpenTelemetry's names for our operations, where they differ.
OPERATION_NAMES = {"generate": "chat", "completions": "text_completion"}
TRAFFIC_LABELS = ("method", "operation", "dialect_in", "dialect_out", "provider", "model", "status", "error")
ATTEMPT_LABELS = ("provider", "status", "error")


@dataclass(slots=True)
class Histogram:
    """`counts` has one more entry than there are bounds, for values above them all; counts are not cumulative."""

    counts: list[int]
    sum: float = 0.0

    @classmethod
    def empty(cls, bounds: Sequence[float]) -> Histogram:
        return cls([0] * (len(bounds) + 1))

    def note(self, bounds: Sequence[float], value: float) -> None:
        self.counts[bisect_left(bounds, value)] += 1
        self.sum += value

    def add(self, other: Histogram) -> None:
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


@dataclass(slots=True)
class Traffic:
    """Counts of the requests with the same TRAFFIC_LABELS. `cost` is in billionths of a dollar."""

    labels: tuple[str, ...]
    requests: int = 0
    fresh: int = 0
    cache_read: int = 0
    cache_written: int = 0
    output: int = 0
    reasoning: int = 0
    cost: int = 0
    unpriced: int = 0
    lossy: int = 0
    lowered: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    def note(self, record: RequestRecord) -> None:
        """Counts one request."""
        usage = record.usage
        self.requests += 1
        self.bytes_in += record.bytes_in
        self.bytes_out += record.bytes_out
        if usage is not None:
            self.fresh += usage.fresh
            self.output += usage.output
            if usage.cache_read or usage.cache_written or usage.reasoning:
                self.cache_read += usage.cache_read
                self.cache_written += usage.cache_written
                self.reasoning += usage.reasoning
            if record.cost is None:
                self.unpriced += 1
            else:
                self.cost += record.cost
        if record.losses:
            self.lossy += 1
        if record.lowered:
            self.lowered += 1

    def add(self, other: Traffic) -> None:
        for field in _SUMMED:
            setattr(self, field, getattr(self, field) + getattr(other, field))


_SUMMED = [field.name for field in fields(Traffic)][1:]


class Timing(msgspec.Struct, array_like=True):
    """How long answers took (seconds) and how many tokens they had, by operation, provider and model."""

    labels: tuple[str, ...]
    duration: Histogram
    first_token: Histogram
    per_token: Histogram
    input: Histogram
    output: Histogram

    @classmethod
    def empty(cls, labels: tuple[str, ...]) -> Timing:
        return cls(labels, *(Histogram.empty(bounds) for bounds in (DURATION, FIRST_TOKEN, PER_TOKEN, TOKENS, TOKENS)))

    def note(self, times: Times, usage: Usage | None) -> None:
        """Counts one answer; its times are in milliseconds."""
        end, first = times.end / 1000, times.first_token
        duration = self.duration
        duration.counts[bisect_left(DURATION, end)] += 1
        duration.sum += end
        if first is not None:
            self.first_token.note(FIRST_TOKEN, first / 1000)
        if usage is not None:
            input_tokens, output_tokens = usage.fresh + usage.cache_read + usage.cache_written, usage.output
            asked, output = self.input, self.output
            asked.counts[bisect_left(TOKENS, input_tokens)] += 1
            asked.sum += input_tokens
            output.counts[bisect_left(TOKENS, output_tokens)] += 1
            output.sum += output_tokens
            if first is not None and output_tokens > 1:
                self.per_token.note(PER_TOKEN, (times.end - first) / 1000 / (output_tokens - 1))

    def add(self, other: Timing) -> None:
        for field in Timing.__struct_fields__[1:]:
            getattr(self, field).add(getattr(other, field))


@dataclass(slots=True)
class Attempts:
    """Counts of the attempts with the same ATTEMPT_LABELS."""

    labels: tuple[str, ...]
    attempts: int = 0

    def add(self, other: Attempts) -> None:
        self.attempts += other.attempts


class Gauge(msgspec.Struct, array_like=True):
    """A current value of one worker. `merge` is how the values of several workers are combined."""

    name: str
    help: str
    value: float | bool
    labels: dict[str, str] = {}
    merge: Literal["sum", "max", "min"] = "max"


class Counts(msgspec.Struct):
    """Everything counted by one worker, or by several."""

    traffic: list[Traffic] = []
    timing: list[Timing] = []
    attempts: list[Attempts] = []

    @property
    def size(self) -> int:
        """About the bytes of text that they take."""
        return GROUP_SIZE * (len(self.traffic) + len(self.timing))


class Metrics:
    """A sink of records."""

    def __init__(self) -> None:
        self._traffic: dict[tuple[str, ...], Traffic] = {}
        self._timing: dict[tuple[str, ...], Timing] = {}
        self._attempts: dict[tuple[str, ...], Attempts] = {}
        self._models: set[str] = set()
        # Where similar records are counted, so that their labels are built only once.
        self._places: dict[tuple[str | int, ...], tuple[Traffic, Timing | None]] = {}
        self._tried: dict[tuple[str, int, str], Attempts] = {}

    def count(self) -> Counts:
        """All requests so far. The lists are new, but their elements keep changing."""
        return Counts([*self._traffic.values()], [*self._timing.values()], [*self._attempts.values()])

    def take(self, records: Iterable[RequestRecord]) -> None:
        places = self._places
        for record in records:
            alike = (
                record.method, record.operation, record.dialect_in, record.dialect_out, record.provider, record.target,
                record.status, record.error,
            )  # fmt: skip
            place = places.get(alike)
            if place is None:
                if len(places) >= MAX_GROUPS:
                    places.clear()
                place = places[alike] = self._find_place(record)
            traffic, timing = place
            traffic.note(record)
            for attempt in record.attempts:
                self._count_attempt(attempt)
            if timing is not None:
                timing.note(record.times, record.usage)

    def _count_attempt(self, attempt: AttemptRecord) -> None:
        place = (attempt.target, attempt.status, attempt.error)
        tried = self._tried.get(place)
        if tried is None:
            if len(self._tried) >= MAX_GROUPS:
                self._tried.clear()
            labels = (attempt.target.partition("/")[0], str(attempt.status), attempt.error)
            tried = self._tried[place] = self._attempts.setdefault(labels, Attempts(labels))
        tried.attempts += 1

    def _find_place(self, record: RequestRecord) -> tuple[Traffic, Timing | None]:
        """Where to count records with the labels of this one."""
        provider = record.provider
        model = self._bound(record.target[len(provider) + 1 :]) if provider else ""
        method = record.method if record.method in METHODS else OTHER
        labels: tuple[str, ...] = (
            *(method, record.operation, record.dialect_in, record.dialect_out, provider, model),
            *(str(record.status), record.error),
        )
        if labels not in self._traffic and len(self._traffic) >= MAX_GROUPS:
            labels = (OTHER,) * len(TRAFFIC_LABELS)
        traffic = self._traffic.setdefault(labels, Traffic(labels))
        if not (record.operation and provider):
            return traffic, None
        timed = (record.operation, provider, model)
        if timed not in self._timing:
            self._timing[timed] = Timing.empty(timed)
        return traffic, self._timing[timed]

    def _bound(self, model: str) -> str:
        if model in self._models:
            return model
        model = clean_line(model)
        if len(self._models) >= MAX_MODELS:
            return OTHER
        self._models.add(model)
        return model


def add_counts(all_counts: Iterable[Counts]) -> Counts:
    """Adds up the counts of several workers."""
    traffic: dict[tuple[str, ...], Traffic] = {}
    timing: dict[tuple[str, ...], Timing] = {}
    attempts: dict[tuple[str, ...], Attempts] = {}
    for counts in all_counts:
        _join(traffic, counts.traffic)
        _join(timing, counts.timing)
        _join(attempts, counts.attempts)
    return Counts([*traffic.values()], [*timing.values()], [*attempts.values()])


_Group = TypeVar("_Group", Traffic, Timing, Attempts)


def _join(known: dict[tuple[str, ...], _Group], more: Iterable[_Group]) -> None:
    """Adds groups to those that are known, within their bound: each new worker may bring other models."""
    for group in more:
        labels = group.labels
        if labels not in known and len(known) >= MAX_GROUPS:
            labels = (OTHER,) * len(labels)
        before = known.get(labels)
        if before is None:
            known[labels] = deepcopy(group)
            known[labels].labels = labels
        else:
            before.add(group)
