"""The lock beside a login file, with a note for other processes about the last renewal.

A note is valid only while the login file still holds the refresh token that it names, so a stale one does no harm. It
passes three things between processes: tokens that were granted but are not in the file yet (after a crash while saving,
or if the file is read-only), a time before which the token endpoint wants no call, and a refusal.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.credentials.stores.private_files import make_private_folder, write_private
from app.credentials.tokens import Tokens, hash_token

if TYPE_CHECKING:
    from filelock import BaseFileLock

log = logging.getLogger("dragoman.credentials")


# Seconds by which the clocks of processes that share a login may differ at most.
_CLOCK_SKEW = 60.0


class RenewalNote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A note about a renewal. `replaces` is the hash of the refresh token in the login file.

    `tokens` are newer than the file. The token endpoint is not called for `pause` seconds from `noted_at` (unix
    seconds). `failures` counts consecutive failed calls. `refused` says that the issuer will never accept the newest
    refresh token again.
    """

    replaces: str
    tokens: Tokens | None = None
    noted_at: float = 0.0
    pause: float = 0.0
    failures: int = 0
    refused: bool = False

    def wait_left(self, now: float) -> float:
        """Seconds until the token endpoint may be called again; 0 or less if it may be called now.

        A note from the future was written before the clock was set back. Its age is unknown, so it is ignored.
        """
        if self.noted_at > now + _CLOCK_SKEW:
            return 0.0
        return min(self.noted_at + self.pause - now, self.pause)


class RenewalLock:
    """Keeps the note and the lock of one login, in the first of its places that is writable; else the note in memory.

    `places` returns the paths for a suffix ("json", "lock"), best first. They may change as the login file does.
    """

    def __init__(self, places: Callable[[str], list[Path]]) -> None:
        self._places = places
        self._kept: RenewalNote | None = None

    def read(self, refresh_token: str | None) -> RenewalNote:
        """The note about a login whose file holds `refresh_token`; an empty one if nothing is noted."""
        replaces = hash_token(refresh_token)
        # A note in memory is newer than any on the disk, which refused it.
        if self._kept is not None and self._kept.replaces == replaces:
            return self._kept
        for place in self._places("json"):
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                note = msgspec.json.decode(place.read_bytes(), type=RenewalNote)
                if note.replaces == replaces:
                    return note
        return RenewalNote(replaces=replaces)

    def write(self, note: RenewalNote) -> bool:
        """Store `note`. Returns whether it outlives this process."""
        data = msgspec.json.encode(note)
        for place in self._places("json"):
            with contextlib.suppress(OSError):
                write_private(place, data)
                self._kept = None
                return True
        self._kept = note
        return False

    def clear(self) -> None:
        """Remove the note, because its tokens are in the login file now or the login is gone."""
        self._kept = None
        for place in self._places("json"):
            with contextlib.suppress(OSError):
                place.unlink()

    @contextlib.contextmanager
    def lock(self, timeout: float) -> Iterator[None]:
        """Keep other processes from renewing the same login. Waits at most `timeout` seconds for them.

        Raises TimeoutError. If no lock file can be created, proceeds without a lock.
        """
        held = self._acquire(timeout)
        try:
            yield
        finally:
            if held is not None:
                held.release()

    def _acquire(self, timeout: float) -> BaseFileLock | None:
        # Imported with the first renewal: it takes half a megabyte, and most gateways have no login.
        from filelock import FileLock, Timeout

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
