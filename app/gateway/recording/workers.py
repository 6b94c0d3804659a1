"""Combines the counts, states and running requests of all workers of one server."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from app.accounts.record import RequestRecord
from app.gateway.large_bodies.heavy_work import run_heavy
from app.gateway.recording.metrics import Counts, Gauge, Metrics, add_counts
from app.gateway.recording.recorder import Recorder
from app.gateway.recording.worker_files import WorkerFiles

log = logging.getLogger("dragoman")

# Maximum running requests that one worker publishes.
MAX_RUNNING = 500
# Seconds between two publications if nobody asks.
UNASKED_PERIOD = 10.0
# Maximum seconds that an asking worker waits for the others.
TELLING_LIMIT = 4.0
_LOOK_AGAIN = 0.02
# Maximum reloads that a worker remembers, and seconds within which all workers make the same one.
MAX_RELOADS = 10
SAME_RELOAD = 5.0
# Milliseconds from which a request counts as long.
LONG_MS = 30_000


class Reload(msgspec.Struct, frozen=True):
    """A changed configuration, loaded at `at` (unix time) or rejected for its `faults`. `late` are settings that need a
    restart; `workers` is how many made it."""

    at: float
    faults: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    workers: int = 1


class WorkerState(msgspec.Struct):
    """What one worker publishes for the others."""

    counts: Counts
    gauges: list[Gauge] = []
    running: list[RequestRecord] = []
    reloads: list[Reload] = []


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(WorkerState).decode


class Running(msgspec.Struct):
    """The requests that run in all workers, the oldest first. `complete` is False if some could not be included."""

    records: list[RequestRecord]
    workers: int
    complete: bool


class Whole(msgspec.Struct):
    """The counts of all workers combined. `complete` is False if some could not be included."""

    counts: Counts
    gauges: list[Gauge]
    workers: int
    complete: bool


class Workers:
    """This worker's exchange with the others. `gauges` are called whenever its state is published or read."""

    def __init__(self, recorder: Recorder, metrics: Metrics, telling_limit: float = TELLING_LIMIT) -> None:
        self.gauges: list[Callable[[], Sequence[Gauge]]] = []
        self.reloads: deque[Reload] = deque(maxlen=MAX_RELOADS)
        self.metrics = metrics
        self._recorder = recorder
        self._telling_limit = telling_limit
        self._files: WorkerFiles | None = None
        self._published_at = 0.0
        # Ends a request if it runs in this worker, and returns whether it did.
        self.end_own: Callable[[str], bool] = lambda request_id: False

    def join(self, folder: Path) -> None:
        """Begins to exchange with the other workers. If the folder cannot be used, a worker knows only itself."""
        files = WorkerFiles(folder)
        try:
            files.join()
        except OSError as error:
            log.warning("metrics cover single workers only: %s", error)
            return
        self._files = files
        self._publish()

    def round(self) -> None:
        """Counts waiting records, and publishes if another worker asks or UNASKED_PERIOD is over; called a few times a
        second."""
        self._recorder.hand_out()
        if self._files is None:
            return
        for request_id in self._files.asked_to_end():
            self.end_own(request_id)
        overdue = time.monotonic() - self._published_at >= UNASKED_PERIOD
        if overdue or self._files.is_asked():
            self._publish()
        if overdue:
            self._collect_dead()

    def end(self, request_id: str) -> None:
        """Ends a request in whichever worker runs it, within one round."""
        if not self.end_own(request_id) and self._files is not None:
            try:
                self._files.ask_to_end(request_id)
            except OSError as error:
                log.warning("cannot ask the other workers to end a request: %s", error)

    def leave(self) -> None:
        """Publishes a last time when this worker ends."""
        if self._files is not None:
            self._publish()
            self._files.leave()
            self._files = None

    def leads(self) -> bool:
        """Whether this worker is the leader."""
        try:
            return self._files is None or self._files.lead()
        except OSError:
            return True

    def look(self) -> Whole:
        """The current counts of all workers. Waits at most `telling_limit` seconds for the others to publish."""
        states, dead, complete = self._look_at_others()
        states.append(self._describe())
        # Counts that were shown must not shrink if this worker is killed now.
        self._publish(states[-1])
        every = [dead, *(state.counts for state in states)]
        return Whole(
            counts=run_heavy(sum(counts.size for counts in every), add_counts, every),
            gauges=_merge(gauge for state in states for gauge in state.gauges),
            workers=len(states),
            complete=complete,
        )

    def look_running(self) -> Running:
        """The requests that run now in all workers. Waits as `look` does."""
        states, _, complete = self._look_at_others()
        records = self._recorder.running(MAX_RUNNING)
        records += chain.from_iterable(state.running for state in states)
        records.sort(key=lambda record: record.received)
        return Running(records, len(states) + 1, complete)

    def _look_at_others(self) -> tuple[list[WorkerState], Counts, bool]:
        """What the other workers have just published, what the dead ones had counted, and whether none is missing."""
        if self._files is None:
            return [], Counts(), False
        try:
            complete = self._ask_others()
            dead = self._read_counts(self._files.collect_dead(self._fold))
            others = self._read_others()
        except OSError as error:
            log.warning("cannot receive from the other workers: %s", error)
            return [], Counts(), False
        states = [state for state in others if state is not None]
        return states, dead, complete and len(states) == len(others)

    def note_reload(self, reload: Reload) -> None:
        """Tells the other workers of a reload at once."""
        self.reloads.append(reload)
        self._publish()

    def list_reloads(self) -> tuple[list[Reload], int]:
        """The last reloads of all workers, newest first, and how many workers there are. Nobody is waited for."""
        known = [list(self.reloads)]
        if self._files is not None:
            self._collect_dead()
            known += [state.reloads for state in self._read_others() if state is not None]
        return _merge_reloads(known), len(known)

    def _read_others(self) -> list[WorkerState | None]:
        assert self._files is not None
        return [_read(data) for data in self._files.others().values()]

    def _publish(self, state: WorkerState | None = None) -> None:
        if self._files is None:
            return
        try:
            self._files.publish(_encode(state or self._describe()))
            self._published_at = time.monotonic()
        except OSError as error:
            log.warning("cannot send to the other workers: %s", error)

    def _ask_others(self) -> bool:
        """Asks the others to publish; returns whether all have done so in time."""
        assert self._files is not None
        self._files.ask()
        end = time.monotonic() + self._telling_limit
        while not self._files.have_answered():
            if time.monotonic() >= end:
                return False
            time.sleep(_LOOK_AGAIN)
        return True

    def _collect_dead(self) -> None:
        assert self._files is not None
        try:
            self._files.collect_dead(self._fold)
        except OSError as error:
            log.warning("cannot count workers that died: %s", error)

    def _describe(self) -> WorkerState:
        # First, since others run meanwhile: counts that are published late could replace later ones.
        running = self._recorder.running(MAX_RUNNING)
        self._recorder.hand_out()
        gauges = [gauge for ask in self.gauges for gauge in ask()]
        return WorkerState(self.metrics.count(), gauges, running, list(self.reloads))

    def _fold(self, known: bytes, newly_dead: list[bytes]) -> bytes:
        """Combines the counts of dead workers. Long requests that ran when a worker died are recorded as stopped. Short
        ones are not, because they may have ended and been recorded after the worker last published."""
        states = [state for data in newly_dead if (state := _read(data)) is not None]
        for state in states:
            for running in state.running:
                if running.times.end >= LONG_MS:
                    self._recorder.hand_on(msgspec.structs.replace(running, terminal="stopped"))
        return _encode(WorkerState(add_counts([self._read_counts(known), *(state.counts for state in states)])))

    @staticmethod
    def _read_counts(data: bytes) -> Counts:
        state = _read(data)
        return Counts() if state is None else state.counts


def _read(data: bytes) -> WorkerState | None:
    """A worker's published state; None if it cannot be read because another version wrote it."""
    try:
        return _decode(data) if data else WorkerState(Counts())
    except msgspec.MsgspecError as error:
        log.warning("cannot read a message from another worker: %s", error)
        return None


def _merge_reloads(known: Sequence[Sequence[Reload]]) -> list[Reload]:
    """Reloads of several workers, newest first; those with the same outcome at about the same time are one."""
    merged: list[tuple[Reload, set[int]]] = []
    made = ((reload, worker) for worker, reloads in enumerate(known) for reload in reloads)
    for reload, worker in sorted(made, key=lambda each: each[0].at):
        for first, workers in merged:
            alike = (reload.faults, reload.late) == (first.faults, first.late)
            if alike and reload.at - first.at < SAME_RELOAD and worker not in workers:
                workers.add(worker)
                break
        else:
            merged.append((reload, {worker}))
    newest = merged[: -MAX_RELOADS - 1 : -1]
    return [msgspec.structs.replace(reload, workers=len(workers)) for reload, workers in newest]


def _merge(gauges: Iterable[Gauge]) -> list[Gauge]:
    merged: dict[tuple[str, tuple[tuple[str, str], ...]], Gauge] = {}
    for gauge in gauges:
        place = (gauge.name, tuple(sorted(gauge.labels.items())))
        before = merged.get(place)
        if before is None:
            merged[place] = gauge
            continue
        match gauge.merge:
            case "sum":
                value = before.value + gauge.value
            case "max":
                value = max(before.value, gauge.value)
            case "min":
                value = min(before.value, gauge.value)
        merged[place] = msgspec.structs.replace(before, value=value)
    return list(merged.values())
