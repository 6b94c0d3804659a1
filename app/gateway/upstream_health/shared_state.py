"""Shares upstream health between the workers of a host: breakers, learned facts, resting credentials, retries,
last outcomes.

The workers of one host share a small file that all read and write; its times are those of the machine's monotonic
clock, which all processes share. Hosts share what is in the file through Redis (shared_redis.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from app.credentials.pool import Cooldown, CredentialPool
from app.gateway.failures.learned_facts import FactNote, LearnedFacts
from app.gateway.recording.worker_files import hold, replace_file
from app.gateway.upstream_health.health import BreakerNote, RetryNote, UpstreamHealth
from app.providers.health import OutcomeNote, ProviderHealth

# Maximum bytes read of the file, and maximum entries kept of each kind; ours are far fewer.
MAX_BYTES = 4 << 20
MAX_ENTRIES = 2000

T = TypeVar("T")


class CooldownNote(msgspec.Struct, frozen=True):
    """A credential of a pool that its upstream limits or refuses until the clock time `until`, for one `tenant`, or for
    all if that is None."""

    provider: str
    credential: str
    until: float
    tenant: str | None = None


class SharedNotes(msgspec.Struct):
    """The newest note on each target, fact, credential and worker."""

    breakers: list[BreakerNote] = []
    facts: list[FactNote] = []
    cooldowns: list[CooldownNote] = []
    retries: list[RetryNote] = []
    outcomes: list[OutcomeNote] = []


class Upstreams(msgspec.Struct, frozen=True):
    """One worker's state. `pools` are the credential pools, by provider, and `outcomes` the last
    outcomes, by provider and settings."""

    health: UpstreamHealth
    facts: LearnedFacts
    pools: Mapping[str, CredentialPool]
    outcomes: Mapping[str, ProviderHealth] = {}

    def take_notes(self, worker: str) -> SharedNotes:
        cooldowns = [
            CooldownNote(name, cooldown.member, cooldown.until, cooldown.tenant)
            for name, pool in self.pools.items()
            for cooldown in pool.cooldowns()
        ]
        outcomes = [note for name, each in self.outcomes.items() if (note := each.take_note(name)) is not None]
        retries = self.health.retry_notes(worker)
        return SharedNotes(self.health.notes(), self.facts.notes(), cooldowns, retries, outcomes)

    def adopt(self, notes: SharedNotes, worker: str) -> None:
        self.health.adopt(notes.breakers)
        self.facts.adopt(notes.facts)
        self.health.adopt_retries(notes.retries, worker)
        for name, pool in self.pools.items():
            cooldowns = (note for note in notes.cooldowns if note.provider == name)
            pool.adopt_cooldowns(Cooldown(note.credential, note.until, note.tenant) for note in cooldowns)
        for outcome in notes.outcomes:
            if outcome.provider in self.outcomes:
                self.outcomes[outcome.provider].adopt(outcome)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SharedNotes).decode


class SharedState:
    """One worker's access to the file. `round` is called every second; without news it costs one `stat` of the file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "upstreams"
        self._seen: object = None
        self._notes: SharedNotes | None = None
        self._retries: list[RetryNote] = []
        self._worker = str(os.getpid())

    @property
    def ready(self) -> bool:
        """Whether the shared folder exists; the workers' metrics create it."""
        return self._path.parent.is_dir()

    def round(self, upstreams: Upstreams, heard: SharedNotes | None = None) -> SharedNotes:
        """Writes what is new in this worker and takes over what is new in the file; returns the joined state. `heard`
        is what other hosts have shared. Raises OSError."""
        own = upstreams.take_notes(self._worker)
        if heard is not None:
            own = join(own, heard)
        if own == self._notes and self._stamp() == self._seen:
            if self._retries:
                upstreams.health.adopt_retries(self._retries, self._worker)  # they count for a minute only
            return own
        with hold(self._path.with_suffix(".lock")):
            known = self._read()
            joined = join(known, own)
            if joined != known:
                self._write(joined)
            self._seen = self._stamp()
        upstreams.adopt(joined, self._worker)
        self._notes, self._retries = upstreams.take_notes(self._worker), joined.retries
        return joined

    def _stamp(self) -> object:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    def _read(self) -> SharedNotes:
        """The file's state; empty if the file does not exist yet."""
        try:
            with self._path.open("rb") as file:
                return decode_notes(file.read(MAX_BYTES))
        except OSError:
            return SharedNotes()

    def _write(self, notes: SharedNotes) -> None:
        replace_file(self._path, self._path.with_suffix(f".{os.getpid()}"), encode_notes(notes))


def decode_notes(notes: bytes) -> SharedNotes:
    """Decodes shared state; empty if it cannot be decoded because another version wrote it."""
    try:
        return _decode(notes)
    except msgspec.MsgspecError:
        return SharedNotes()


def encode_notes(notes: SharedNotes) -> bytes:
    return _encode(notes)


def join(known: SharedNotes, own: SharedNotes) -> SharedNotes:
    """The newer note on each subject."""
    return SharedNotes(
        _join(known.breakers, own.breakers, lambda note: note.target, lambda note: note.changed),
        _join(known.facts, own.facts, lambda note: (note.upstream, note.tenant, note.name), lambda note: note.until),
        _join(
            known.cooldowns,
            own.cooldowns,
            lambda note: (note.provider, note.credential, note.tenant),
            lambda note: note.until,
        ),
        _join(known.retries, own.retries, lambda note: (note.provider, note.worker), lambda note: note.at),
        _join_outcomes(known.outcomes, own.outcomes),
    )


def _join(known: Sequence[T], own: Sequence[T], place: Callable[[T], Any], age: Callable[[T], float]) -> list[T]:
    newest = {place(note): note for note in known}
    for note in own:
        before = newest.get(place(note))
        if before is None or age(before) < age(note):
            newest[place(note)] = note
    return sorted(newest.values(), key=lambda note: -age(note))[:MAX_ENTRIES]


def _join_outcomes(known: Sequence[OutcomeNote], own: Sequence[OutcomeNote]) -> list[OutcomeNote]:
    joined = {note.provider: note for note in known}
    for note in own:
        before = joined.get(note.provider)
        joined[note.provider] = note if before is None else before.join(note)
    return list(joined.values())[-MAX_ENTRIES:]
