"""Shares upstream health between hosts through Redis.

Times in Redis are unix time by the clock of Redis. They are rounded, and the difference to the machine's clock stays
as it was first measured, so that a note is unchanged after going to another host and back. It is taken anew when one
of the clocks has jumped: Redis' was set, or this machine was suspended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from app.gateway.upstream_health.breaker import FOR_ALL
from app.gateway.upstream_health.health import LONGEST_OPEN
from app.gateway.upstream_health.shared_state import MAX_BYTES, SharedNotes, decode_notes, encode_notes, join
from app.rate_limits.redis_link import open_redis

if TYPE_CHECKING:
    from redis import Redis

KEY = "dragoman:upstreams:1"
# Seconds after which Redis may drop state that is no longer renewed, and the limit for a note's time; longer than any
# note holds.
LIFETIME = 8 * 86_400
# Seconds between two measurements of the clocks' difference that only a jump explains.
JUMP = 2.0
# Decimal places of a second.
DIGITS = 3


class SharedRedis:
    """`problem` says why hosts cannot exchange state; None while they can. `knows_tenants`: the hosts share a ledger
    and its tenant marks; otherwise only what holds for all tenants is shared."""

    def __init__(self, url: str, *, knows_tenants: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.problem: str | None = None
        self._url = url
        self._knows_tenants = knows_tenants
        self._clock = clock
        self._redis: Redis | None = None
        self._ahead = 0.0

    def exchange(self, notes: SharedNotes) -> SharedNotes | None:
        """Shares this host's state with the others, and returns the joined state; None if that fails."""
        from redis import RedisError, WatchError

        try:
            redis = self._connect()
            self._compare_clocks(redis)
            own = _shift(self._leave_private(notes), self._ahead)
            with redis.pipeline() as pipeline:
                pipeline.watch(KEY)  # type: ignore[no-untyped-call]
                size: Any = pipeline.strlen(KEY)
                value = pipeline.get(KEY) if 0 < size <= MAX_BYTES else None
                known = _leave_impossible(
                    decode_notes(value) if isinstance(value, bytes) else SharedNotes(), self._clock() + self._ahead
                )
                joined = join(known, own)
                if joined != known:
                    pipeline.multi()
                    pipeline.set(KEY, encode_notes(joined), ex=LIFETIME)
                    pipeline.execute()
        except WatchError:
            return None  # another host was faster; the next round tries again
        except (RedisError, OSError) as error:
            self._redis = None
            self.problem = f"hosts do not share the state of upstreams: no Redis ({type(error).__name__})"
            return None
        self.problem = None
        return _shift(joined, -self._ahead)

    def close(self) -> None:
        if self._redis is not None:
            self._redis.close()
            self._redis = None

    def _connect(self) -> Redis:
        if self._redis is None:
            self._redis = open_redis(self._url)
        return self._redis

    def _compare_clocks(self, redis: Redis) -> None:
        seconds, microseconds = redis.time()
        ahead = round(seconds + microseconds / 1e6 - self._clock(), DIGITS)
        if abs(ahead - self._ahead) > JUMP:
            self._ahead = ahead

    def _leave_private(self, notes: SharedNotes) -> SharedNotes:
        """The part that other hosts can use. Retries stay within a host."""
        if self._knows_tenants:
            return SharedNotes(notes.breakers, notes.facts, notes.cooldowns)
        breakers = [note for note in notes.breakers if note.until is None or note.fault in FOR_ALL]
        return SharedNotes(breakers, [], [note for note in notes.cooldowns if note.tenant is None])


def _leave_impossible(notes: SharedNotes, now: float) -> SharedNotes:
    """Drops notes with impossible times, because no note would ever be newer."""
    return SharedNotes(
        [note for note in notes.breakers if note.changed <= now + LONGEST_OPEN],
        [note for note in notes.facts if note.until <= now + LIFETIME],
        [note for note in notes.cooldowns if note.until <= now + LIFETIME],
    )


def _shift(notes: SharedNotes, seconds: float) -> SharedNotes:
    """The notes with their times converted to another clock."""

    def moved(at: float) -> float:
        return round(at + seconds, DIGITS)

    replace = msgspec.structs.replace
    return SharedNotes(
        [
            replace(note, changed=moved(note.changed), until=None if note.until is None else moved(note.until))
            for note in notes.breakers
        ],
        [replace(note, until=moved(note.until)) for note in notes.facts],
        [replace(note, until=moved(note.until)) for note in notes.cooldowns],
    )
