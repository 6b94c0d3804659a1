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
# The characters of a date and a number between the name and the ending of a file that was put aside.
_STAMP = "%Y%m%d-%H%M%S"


class LogFile:
    """Takes whole lines, and never raises: a line that cannot be written is lost, and counted.

    Each line is appended at once, so that those of several workers stand whole beside each other. A file that another
    worker, or logrotate, has put aside is left, and a new one begun. `clock` gives unix time.
    """

    def __init__(
        self, path: Path, most_bytes: int, most_files: int, days: int, clock: Callable[[], float] = time.time
    ) -> None:
        """Raises OSError when the file cannot be opened. `most_files` and `days` limit what was put aside."""
        self.lost = 0
        self._path = path
        self._most_bytes = most_bytes
        self._most_files = most_files
        self._days = days
        self._clock = clock
        self._looked = 0.0
        self._descriptor = self._open()

    def write(self, data: bytes) -> int:
        """Takes whole lines."""
        self._look()
        try:
            os.write(self._descriptor, data)
        except OSError:
            self.lost += 1
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        os.close(self._descriptor)

    def _open(self) -> int:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _look(self) -> None:
        """Whether the file is still the one, and not full; now and then."""
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
        # The day of its last line, for the day of its birth is not known everywhere.
        return found.st_size >= self._most_bytes or _day(found.st_mtime) != _day(now)

    def _is_current(self) -> bool:
        own = os.fstat(self._descriptor)
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (own.st_dev, own.st_ino) == (named.st_dev, named.st_ino)

    def _put_aside(self, now: float) -> None:
        """Gives the file another name, unless a worker has just done so; the oldest of those are removed."""
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
        """Whether a file has a name that only this one gives."""
        if path.suffix != self._path.suffix or not path.name.startswith(f"{self._path.stem}-"):
            return False
        stamp = path.stem[len(self._path.stem) + 1 :]
        date, _, rest = stamp.partition("-")
        clock, _, number = rest.partition("-")
        return len(date) == 8 and len(clock) == 6 and all(map(str.isdecimal, (date, clock, number or "0")))


class LogFileStream:
    """A log file as a stream of text, for a handler."""

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
