"""Tracks the running requests of one worker, and hands their records to the sinks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Any

from app.accounts.prices import Prices
from app.accounts.record import RequestRecord, Sink
from app.fairness import give_way
from app.gateway.record import Bill, Record

log = logging.getLogger("dragoman")

# Maximum records waiting for the loop that hands them out: handling many at once costs half as much.
MAX_WAITING = 64
# Running requests whose records are made before others run.
FROZEN_AT_ONCE = 16


class Recorder:
    """Survives a change of the configuration, which replaces only `prices` and `sinks`.

    A sink that raises loses the record, which is counted in `lost`; the request and other sinks are not affected.
    """

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self.sinks: tuple[Sink, ...] = tuple(sinks)
        self.prices: Prices | None = None
        self.lost: dict[str, int] = {}
        self.taken = 0
        # Whether a loop calls `hand_out`, so that records may wait for it.
        self.batched = False
        self._over: list[Record | RequestRecord] = []
        self._running: dict[int, Record] = {}
        self._end = self._finish  # the same for all records

    def begin(self, request_id: str, client: str, environ: Mapping[str, Any] | None = None) -> Record:
        """Opens the record of a new request, which counts as running until the record is written."""
        if environ is None:
            record = Record(request_id, client, self._end)
        else:  # from the WSGI environ, whose PATH_INFO no longer contains a mount
            get = environ.get
            record = Record(
                request_id, client, self._end, get("REQUEST_METHOD", ""),
                get("dragoman.path") or get("PATH_INFO", ""), get("HTTP_USER_AGENT"), get("REMOTE_ADDR"),
                get("HTTP_TRACEPARENT"),
            )  # fmt: skip
        self._running[id(record)] = record
        return record

    def running(self, maximum: int | None = None) -> list[RequestRecord]:
        """The current records of the running requests, the oldest first. Other requests run in between."""
        records = []
        for number, record in enumerate(list(islice(self._running.values(), maximum)), 1):
            records.append(record.freeze(self._bill, running=True))
            if not number % FROZEN_AT_ONCE:
                give_way()
        return records

    def find(self, request_id: str) -> Record | None:
        """The record of a request running in this worker, or None."""
        return next((record for record in list(self._running.values()) if record.id == request_id), None)

    @property
    def unanswered(self) -> int:
        """How many running requests have no answer from an upstream yet."""
        return sum(record.upstream_head is None for record in list(self._running.values()))

    def __len__(self) -> int:
        """How many requests are running."""
        return len(self._running)

    def hand_out(self) -> None:
        """Hands the waiting records to every sink."""
        over, self._over = self._over, []
        done = [each if isinstance(each, RequestRecord) else self._freeze(each) for each in over]
        self._give([frozen for frozen in done if frozen is not None])

    def hand_on(self, done: RequestRecord) -> None:
        """Hands one record to every sink."""
        self._give((done,))

    def _give(self, records: Sequence[RequestRecord]) -> None:
        """Hands all records to one sink after the other. One that raises loses the record that it took last, and gets
        those after it."""
        for sink in self.sinks:
            left = iter(records)
            for first in left:
                try:
                    sink.take(chain((first,), left))
                    break
                except Exception as fault:
                    self._lose(type(sink).__name__, fault)

    def _finish(self, record: Record) -> None:
        self._running.pop(id(record), None)
        self.taken += 1
        reservation, counted = record.reservation, record.counted
        stands = (reservation is None or reservation.stands) and (counted is None or counted.stands)
        over: Record | RequestRecord | None = record
        if not stands:
            over = self._freeze(record)
            self._settle(record, over)
        if over is None:
            return
        self._over.append(over)
        if not self.batched or len(self._over) >= MAX_WAITING:
            self.hand_out()

    def _freeze(self, record: Record) -> RequestRecord | None:
        """The final record of a request, or None if freezing it fails."""
        try:
            return record.freeze(None if self.prices is None else self.prices.bill)
        except Exception as fault:
            self._lose("record", fault)
            return None

    def _settle(self, record: Record, done: RequestRecord | None) -> None:
        """Replaces what was counted in advance by what was used."""
        for reserved in (record.reservation, record.counted):
            if reserved is None:
                continue
            try:
                reserved.settle(done)
            except Exception as fault:
                self._lose("limits", fault)

    @property
    def _bill(self) -> Bill | None:
        return None if self.prices is None else self.prices.bill

    def _lose(self, name: str, fault: Exception) -> None:
        if name not in self.lost:
            log.error("the %s loses records", name, exc_info=fault)
        self.lost[name] = self.lost.get(name, 0) + 1
