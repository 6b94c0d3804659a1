"""A log file shared by workers, and its rotation."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

# Seconds between two looks at the file.
LOOK_PERIOD = 1.0
# The time between name and extension of a rotated file.
_STAMP = "%Y%m%d-%H%M%S"


class LogFile:
    """A log file that accepts whole lines and never raises. A line that cannot be written is lost, and counted.

    Each write is appended at once, so that lines of several workers stay whole. If another worker, or logrotate, has
    rotated the file, a new one is begun. `clock` returns unix time.
    """

    def __init__(
        self, path: Path, most_bytes: int, most_files: int, days: int, clock: Callable[[], float] = time.time
    ) -> None:
        """Raises OSError if the file cannot be opened. `most_files` and `days` limit the rotated files."""
        self.lost = 0
        self._path = path
        self._most_bytes = most_bytes
        self._most_files = most_files
        self._days = days
        self._clock = clock
        self._looked = 0.0
        self._descriptor = self._open()

    def write(self, data: bytes) -> int:
        """Appends whole lines."""
        self._look()
        try:
            os.write(self._descriptor, data)
        except OSError:
            self.lost += 1
        return len(data)

    def flush(self) -> None:
        """Does nothing, since lines are written at once."""

    def close(self) -> None:
        os.close(self._descriptor)

    def _open(self) -> int:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _look(self) -> None:
        """Rotates the file if it is due, and opens the new one if it was rotated. Checks this at most every LOOK_PERIOD
        seconds."""
        now = self._clock()
        if 0 <= now - self._looked < LOOK_PERIOD:
            return
        self._looked = now
        with contextlib.suppress(OSError):
            if self._is_due(now):
                self._put_aside(now)
            if not self._is_current():
                fresh = self._open()
                os.close(self._descriptor)
                self._descriptor = fresh

    def _is_due(self, now: float) -> bool:
        found = os.fstat(self._descriptor)
        if not found.st_size or not self._is_current():
            return False
        # Compares the day of its last line, since not all systems record when a file was created.
        return found.st_size >= self._most_bytes or _day(found.st_mtime) != _day(now)

    def _is_current(self) -> bool:
        own = os.fstat(self._descriptor)
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (own.st_dev, own.st_ino) == (named.st_dev, named.st_ino)

    def _put_aside(self, now: float) -> None:
        """Rotates the file, unless another worker has just done so, and removes the oldest rotated ones."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            if self._is_current():
                os.rename(self._path, self._find_name(now))
                self._prune(now)
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _find_name(self, now: float) -> Path:
        stamp = datetime.fromtimestamp(now).strftime(_STAMP)
        number = 0
        while True:
            more = f"-{number}" if number else ""
            path = self._path.with_name(f"{self._path.stem}-{stamp}{more}{self._path.suffix}")
            if not path.exists():
                return path
            number += 1

    def _prune(self, now: float) -> None:
        aside = [path for path in self._path.parent.iterdir() if self._was_put_aside(path)]
        aside.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for position, path in enumerate(aside):
            if position >= self._most_files or now - path.stat().st_mtime > self._days * 86_400:
                path.unlink(missing_ok=True)

    def _was_put_aside(self, path: Path) -> bool:
        """Whether a file's name is that of a rotated file of this log."""
        if path.suffix != self._path.suffix or not path.name.startswith(f"{self._path.stem}-"):
            return False
        stamp = path.stem[len(self._path.stem) + 1 :]
        date, _, rest = stamp.partition("-")
        clock, _, number = rest.partition("-")
        return len(date) == 8 and len(clock) == 6 and all(map(str.isdecimal, (date, clock, number or "0")))


class LogFileStream:
    """A log file as a text stream, for a handler."""

    def __init__(self, file: LogFile) -> None:
        self._file = file

    def write(self, text: str) -> int:
        self._file.write(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        self._file.flush()


def _day(moment: float) -> tuple[int, int]:
    local = time.localtime(moment)
    return local.tm_year, local.tm_yday
