"""Stores small records by tenant, and deletes them when they are old."""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from app.errors import LedgerSilent, LedgerUnavailable
from app.ledger.database import Database, RunHeavy, run_directly
from app.settings import LedgerSettings, data_folder

log = logging.getLogger("dragoman.ledger")

T = TypeVar("T")

DAY = 86_400
MEGABYTE = 1024 * 1024
# Seconds for which reasoning is kept: as long as a client may continue what a model has begun.
REASONING_LIFETIME = 6 * 3600
# Seconds, or writes of this worker, between two prunings of old or excess records.
PRUNE_PERIOD = 60.0
PRUNE_WRITES = 250
# Seconds for which a failed database is not written to: waiting for a lock would block the whole worker.
RETRY_PERIOD = 10.0
# The most tries to change a record that other workers keep changing too.
MAX_RACES = 20
# The most bytes of a record: more than a request and its answer can have.
MAX_RECORD = 256 * MEGABYTE

# Keys come from clients. Whatever does not look like an id is not looked up.
_KEY = re.compile(r"[\w.:/-]{1,200}", re.ASCII)


class Limits(msgspec.Struct, frozen=True):
    """How many seconds records are kept, and the most bytes that they take together."""

    lifetime: int
    maximum: int


# Requests for permission are small, and useless once they are answered or expired.
PERMISSIONS = Limits(lifetime=900, maximum=16 * MEGABYTE)


class Collection:
    """The records of one kind. Tenants never see each other's records. Clients without a key share the empty tenant.

    Every method raises LedgerUnavailable.
    """

    def __init__(self, ledger: Ledger, kind: str, limits: Limits | None = None) -> None:
        """`limits` are a collection's own limits. Without them, it shares its space with others."""
        self._ledger = ledger
        self._run_heavy = ledger.run_heavy
        self._kind = kind
        self._limits = limits

    def put(self, tenant: str, key: str, value: bytes) -> None:
        """Stores a value, and replaces an older one with the same key. It is stored when this returns."""
        packed = self._run_heavy(len(value), _pack, value)
        self._write(lambda database, now: database.put(self._kind, tenant, key, packed, now), len(packed))

    def get(self, tenant: str, key: str) -> bytes | None:
        """The value, or None if it is missing, too old, or another tenant's."""
        packed = self._find(tenant, key)
        return None if packed is None else self._run_heavy(len(packed), _unpack, packed)

    def get_many(self, tenant: str, keys: Sequence[str]) -> dict[str, bytes]:
        """The values of all keys that have one, in one query."""
        sound = [key for key in keys if _KEY.fullmatch(key)]
        if not sound:
            return {}
        found = self._read(lambda database, oldest: database.get_many(self._kind, tenant, sound, oldest))
        unpacked = {key: self._run_heavy(len(packed), _unpack, packed) for key, packed in found.items()}
        return {key: value for key, value in unpacked.items() if value is not None}

    def scan(self, tenant: str | None = None) -> list[tuple[str, bytes]]:
        """The tenant and the value of each record, of one tenant or of all, oldest first. For shelves with few
        records."""
        found = self._read(lambda database, oldest: database.scan(self._kind, oldest, tenant))
        return [(tenant, value) for tenant, packed in found if (value := _unpack(packed)) is not None]

    def update(self, tenant: str, key: str, change: Callable[[bytes], bytes | None]) -> bytes | None:
        """Replaces a value by the result of `change`, and returns that. None if there is no value, or `change` returns
        None.

        `change` is called again if another worker has changed the value meanwhile.
        """
        for _ in range(MAX_RACES):
            packed = self._find(tenant, key)
            before = None if packed is None else self._run_heavy(len(packed), _unpack, packed)
            value = None if before is None else change(before)
            if packed is None or value is None:
                return None
            if self._replace(tenant, key, packed, self._run_heavy(len(value), _pack, value)):
                return value
        raise LedgerUnavailable("too many requests are writing the same record at once; try again")

    def renew(self, tenant: str, keys: Sequence[str]) -> None:
        """Makes records as young as if they were written now."""
        if keys:
            self._write(lambda database, now: database.renew(self._kind, tenant, keys, now), 0)

    def delete(self, tenant: str, *keys: str) -> bool:
        """Deletes records. Returns whether there was one."""
        sound = [key for key in keys if _KEY.fullmatch(key)]
        if not sound:
            return False
        return self._read(lambda database, oldest: database.delete(self._kind, tenant, sound, oldest))

    def _find(self, tenant: str, key: str) -> bytes | None:
        if not _KEY.fullmatch(key):
            return None
        return self._read(lambda database, oldest: database.get(self._kind, tenant, key, oldest))

    def _replace(self, tenant: str, key: str, before: bytes, value: bytes) -> bool:
        def work(database: Database, now: int) -> bool:
            return database.replace(self._kind, tenant, key, before, value, now)

        return self._write(work, len(value))

    def _read(self, work: Callable[[Database, int], T]) -> T:
        return self._ledger.read(work, self._limits)

    def _write(self, work: Callable[[Database, int], T], size: int) -> T:
        return self._ledger.write(work, size, self._limits)


def _pack(value: bytes) -> bytes:
    import zstandard  # many workers store nothing

    return zstandard.compress(value, 1)


def _unpack(packed: bytes) -> bytes | None:
    """A record's value; None if it is damaged, as if there were none."""
    import zstandard

    try:
        if zstandard.frame_content_size(packed) > MAX_RECORD:
            raise zstandard.ZstdError("it is too large")
        return zstandard.decompress(packed, max_output_size=MAX_RECORD)
    except zstandard.ZstdError as error:
        _note_damage(error)
        return None


def read_record(decoder: msgspec.json.Decoder[T], value: bytes) -> T | None:
    """A record's content; None if it is damaged, or if another version wrote it in another shape."""
    try:
        return decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        _note_damage(error)
        return None


def _note_damage(error: Exception) -> None:
    log.warning("a stored record cannot be read and counts as missing: %s", error)


class Ledger:
    """All shelves of one database.

    Without a URL it is a SQLite file in the user's data folder. Safe to use from several threads and, through the
    database, from several processes and hosts.
    """

    def __init__(
        self,
        settings: LedgerSettings,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        run_heavy: RunHeavy = run_directly,
    ) -> None:
        """`clock` returns unix seconds and dates records. `monotonic` measures pauses. `run_heavy` packs, unpacks and
        writes large records."""
        self.run_heavy = run_heavy
        self._url = settings.url
        if settings.url and settings.url.startswith("postgresql"):
            # Imported now, since the first request to need it would block all others. If it is missing, opening the
            # database reports that.
            with contextlib.suppress(ImportError):
                importlib.import_module("psycopg")
        self._limits = Limits(settings.ttl_days * DAY, settings.max_mb * MEGABYTE)
        self._clock = clock
        self._database: Database | None = None
        self._opening = threading.Lock()
        self._wait = monotonic
        # Why nothing can be stored, or None.
        self.problem: str | None = None
        self._broken_until = 0.0
        self._silent_until = 0.0
        self._pruned = 0.0
        self._writes = 0
        self.responses = Collection(self, "response")
        self.leases = Collection(self, "lease")
        self.events = Collection(self, "events")
        self.conversations = Collection(self, "conversation")
        self.conversation_parts = Collection(self, "items")
        # Own limits, so that reasoning takes no space from what clients were promised to find again.
        self._apart = {
            "reasoning": Limits(REASONING_LIFETIME, settings.reasoning_mb * MEGABYTE),
            "permission": PERMISSIONS,
        }
        self.reasoning = Collection(self, "reasoning", self._apart["reasoning"])
        self.permissions = Collection(self, "permission", PERMISSIONS)

    def read(self, work: Callable[[Database, int], T], limits: Limits | None = None) -> T:
        """Returns the result of `work`, which gets the database and the unix time before which records are too old."""
        lifetime = (limits or self._limits).lifetime
        return self._run(lambda database: work(database, int(self._clock() - lifetime)))

    def write(self, work: Callable[[Database, int], T], size: int, limits: Limits | None = None) -> T:
        """Returns the result of `work`, which writes `size` bytes. It gets the database and the current unix time.
        Prunes the shelves first now and then."""
        if size > (limits or self._limits).maximum:
            raise LedgerUnavailable("the record is larger than ledger.max_mb or ledger.reasoning_mb allows")
        now, moment = self._clock(), self._wait()
        if moment < self._broken_until:
            raise LedgerUnavailable("the ledger's database failed a moment ago; see the log")
        self._writes += 1
        if moment - self._pruned >= PRUNE_PERIOD or self._writes >= PRUNE_WRITES:
            self._pruned, self._writes = moment, 0
            self._prune(now)
        return self._run(lambda database: work(database, int(now)))

    def close(self) -> None:
        """Closes the database. The next use opens it again."""
        with self._opening:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _prune(self, now: float) -> None:
        self._clear(now, self._limits, apart=tuple(self._apart))
        for kind, limits in self._apart.items():
            self._clear(now, limits, only=kind)

    def _clear(self, now: float, limits: Limits, *, only: str | None = None, apart: Sequence[str] = ()) -> None:
        oldest = int(now - limits.lifetime)
        self._run(lambda database: database.prune(oldest, limits.maximum, only=only, apart=apart))

    def _run(self, work: Callable[[Database], T]) -> T:
        if self._wait() < self._silent_until:
            raise LedgerUnavailable("the ledger's database did not answer a moment ago; see the log")
        try:
            done = work(self._open())
        except LedgerUnavailable as error:
            now = self._wait()
            if isinstance(error, LedgerSilent):
                # Otherwise all callers would wait in vain, one after the other.
                self._silent_until = now + RETRY_PERIOD
            if now >= self._broken_until:
                self._broken_until = now + RETRY_PERIOD
                self.problem = error.reason or str(error)
                log.warning("storing is suspended: %s", self.problem)
            raise
        if self.problem is not None and self._wait() >= self._broken_until:
            self.problem = None
        return done

    def _open(self) -> Database:
        database = self._database
        if database is not None:
            if not database.is_lost():
                return database
            log.warning("the ledger's file was removed; creating a new one")
            self.close()
        if self._wait() < self._broken_until:
            raise LedgerUnavailable("cannot open the ledger's database; see the log")
        with self._opening:
            if self._database is None:
                self._database = Database(self._url or data_folder() / "ledger.sqlite3", self.run_heavy)
            return self._database
