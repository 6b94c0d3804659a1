"""What the workers of one server tell one another of upstreams in trouble: one small file that all read and write.

The times in it are those of the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from app.gateway.failures.learned_facts import LearnedFacts, Pause
from app.gateway.upstream_health.health import BreakerNote, UpstreamHealth

# Bytes of the file that are read, and entries of each kind that are kept; ours are far fewer.
MOST_BYTES = 4 << 20
MOST_ENTRIES = 2000


class Told(msgspec.Struct):
    """The newest word on each target, and the pauses that upstreams asked tenants for."""

    breakers: list[BreakerNote] = []
    pauses: list[Pause] = []


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Told).decode


class SharedState:
    """The file, as one worker sees it. `round` is called each second; without news it costs one look at the file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "upstreams"
        self._seen: object = None
        self._told: Told | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a folder to share, which the workers' metrics make."""
        return self._path.parent.is_dir()

    def round(self, health: UpstreamHealth, facts: LearnedFacts) -> None:
        """Tells what is new here, and takes up what is new there. Raises OSError."""
        own = Told(health.notes(), list(facts.pauses()))
        if own == self._told and self._stamp() == self._seen:
            return
        with self._hold():
            known = self._read()
            joined = _join(known, own)
            if joined != known:
                self._write(joined)
            self._seen = self._stamp()
        health.adopt(joined.breakers)
        facts.adopt_pauses(joined.pauses)
        self._told = Told(health.notes(), list(facts.pauses()))

    def _stamp(self) -> object:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    @contextlib.contextmanager
    def _hold(self) -> Iterator[None]:
        descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> Told:
        """Nothing where it cannot be read, because there is none yet or another version wrote it."""
        try:
            with self._path.open("rb") as file:
                return _decode(file.read(MOST_BYTES))
        except (OSError, msgspec.MsgspecError):
            return Told()

    def _write(self, told: Told) -> None:
        fresh = self._path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_encode(told))
        os.replace(fresh, self._path)


def _join(known: Told, own: Told) -> Told:
    breakers = {note.target: note for note in known.breakers}
    for note in own.breakers:
        before = breakers.get(note.target)
        if before is None or before.changed < note.changed:
            breakers[note.target] = note
    pauses = {(pause.upstream, pause.tenant): pause for pause in known.pauses}
    for pause in own.pauses:
        place = pause.upstream, pause.tenant
        if place not in pauses or pauses[place].until < pause.until:
            pauses[place] = pause
    newest = sorted(breakers.values(), key=lambda note: -note.changed)[:MOST_ENTRIES]
    longest = sorted(pauses.values(), key=lambda pause: -pause.until)[:MOST_ENTRIES]
    return Told(newest, longest)
