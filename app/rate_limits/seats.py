"""Numbers the living workers of a host.

A seat is a lock on one byte of a file. The kernel releases it when its holder dies, however it dies. So if the byte is
not locked, nobody is responsible any more for what was counted in that seat.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

SEATS = 60

# A process loses its locks on a file when it closes it, so each file is opened once per process and stays open.
_held: dict[tuple[int, Path], Seats] = {}


class Seats:
    """The seats in one file. `mine` is the seat of this process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        found = next((seat for seat in range(SEATS) if self._lock(seat)), None)
        if found is None:
            os.close(self._file)
            raise OSError(f"more than {SEATS} workers on one host share {path}; start fewer workers")
        self.mine = found

    def is_deserted(self, seat: int) -> bool:
        """Whether the holder of a seat is gone."""
        if seat == self.mine or not self._lock(seat):
            return False
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, seat)
        return True

    def _lock(self, seat: int) -> bool:
        with contextlib.suppress(BlockingIOError, PermissionError):
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, seat)
            return True
        return False


def take_seat(path: Path) -> tuple[Seats, bool]:
    """The seats of a file, and whether this process has just taken its own. Raises OSError."""
    key = (os.getpid(), path)
    if key in _held:
        return _held[key], False
    _held[key] = seats = Seats(path)
    return seats, True
