"""The lock beside a login file, which also tells other processes how the renewal went.

A note speaks only while the login file still holds the refresh token that the note names, so it needs no clean-up to
be harmless. It carries three things from process to process: tokens that were granted but are not in the file yet
(a crash while saving, a read-only file), a date before which the token endpoint wants no call, and a refusal.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from filelock import BaseFileLock, FileLock, Timeout

from app.credentials.stores.private_files import make_private_folder, write_private
from app.credentials.tokens import Tokens, hash_token

log = logging.getLogger("dragoman.credentials")


# Seconds by which the clocks of processes that share a login may differ.
_CLOCK_SKEW = 60.0


class RenewalNote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`replaces` is the hash of the refresh token that stands in the login file.

    `tokens` are newer than the file. `pause` is how many seconds from `noted_at` (unix seconds) the token endpoint is
    left alone; `failures` counts calls that failed in a row. `refused` tells that the issuer will never take the newest
    refresh token again.
    """

    replaces: str
    tokens: Tokens | None = None
    noted_at: float = 0.0
    pause: float = 0.0
    failures: int = 0
    refused: bool = False

    def wait_left(self, now: float) -> float:
        """Seconds until the token endpoint may be asked again; 0 or less where it may be asked.

        A note from the future was written before the clock was set back: nobody knows how long ago, so it is void.
        """
        if self.noted_at > now + _CLOCK_SKEW:
            return 0.0
        return min(self.noted_at + self.pause - now, self.pause)


class RenewalLock:
    """Keeps one note and one lock for one login, in the first of its places that can be written, else in memory.

    `places` gives the paths for a suffix ("json", "lock"), best first; they may change as the login file does.
    """

    def __init__(self, places: Callable[[str], list[Path]]) -> None:
        self._places = places
        self._kept: RenewalNote | None = None

    def read(self, refresh_token: str | None) -> RenewalNote:
        """The note about a login whose file holds `refresh_token`; an empty one if nothing is noted."""
        replaces = hash_token(refresh_token)
        # The note that only this process has is newer than any on a disk that refused it.
        if self._kept is not None and self._kept.replaces == replaces:
            return self._kept
        for place in self._places("json"):
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                note = msgspec.json.decode(place.read_bytes(), type=RenewalNote)
                if note.replaces == replaces:
                    return note
        return RenewalNote(replaces=replaces)

    def write(self, note: RenewalNote) -> bool:
        """Keep `note` and tell whether it would survive this process."""
        data = msgspec.json.encode(note)
        for place in self._places("json"):
            with contextlib.suppress(OSError):
                write_private(place, data)
                self._kept = None
                return True
        self._kept = note
        return False

    def clear(self) -> None:
        """Forget what was noted: it is in the login file, or the login is gone."""
        self._kept = None
        for place in self._places("json"):
            with contextlib.suppress(OSError):
                place.unlink()

    @contextlib.contextmanager
    def lock(self, timeout: float) -> Iterator[None]:
        """Keep other processes from renewing the same login, waiting `timeout` seconds for them at most.

        Raises TimeoutError. Where no lock file can be made, there is nobody to share with and no lock.
        """
        held = self._acquire(timeout)
        try:
            yield
        finally:
            if held is not None:
                held.release()

    def _acquire(self, timeout: float) -> BaseFileLock | None:
        for place in self._places("lock"):
            lock = FileLock(place, timeout=timeout, mode=0o600, thread_local=False)
            try:
                make_private_folder(place.parent)
                lock.acquire()
            except Timeout as error:
                raise TimeoutError(f"another process has been renewing this login for {timeout:g} s") from error
            except OSError:
                continue
            return lock
        log.warning("Cannot create a lock file: processes that share a login may interfere with each other.")
        return None
