"""Shares log lines between workers while a page shows the log live."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from app.gateway.recording.worker_files import WorkerFiles, touch
from app.logs import recent_lines

# Seconds that one `watch` lasts, and bytes after which a worker starts its file anew.
WATCHED = 10.0
MAX_BYTES = 4 << 20
# Maximum lines that one look returns.
MAX_LINES = 5000

_TIME = re.compile(rb'(?:\{"time":\s?")?(\d{4}-\d\d-\d\d[T ][\d:.,]{8,15})')


class SharedLog:
    """Merges this worker's lines with those of the others. If the folder cannot be used, it shows nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = folder / f"{os.getpid()}.lines"
        self._written = 0
        self._writing = False

    def watch(self) -> None:
        """Makes the workers share their lines for the next WATCHED seconds. Raises OSError."""
        WorkerFiles(self._folder).prepare()
        touch(self._folder / "log.watched")

    def round(self) -> None:
        """Writes new lines to this worker's file while the log is watched; called a few times a second."""
        try:
            watched = time.time() - os.stat(self._folder / "log.watched").st_mtime < WATCHED
        except OSError:
            watched = False
        if not watched:
            if self._writing:
                self._writing = False
                self._own.unlink(missing_ok=True)
            return
        fresh = recent_lines.since(self._written if self._writing else 0)
        if not fresh and self._writing:
            return
        how = os.O_APPEND
        if not self._writing or self._own.stat().st_size > MAX_BYTES:
            how = os.O_TRUNC
        self._written, self._writing = recent_lines.count, True
        descriptor = os.open(self._own, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | how, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(b"".join(fresh))

    def count_writers(self) -> int:
        """How many workers share their lines now."""
        return sum(1 for _ in self._folder.glob("*.lines"))

    def follow(self) -> Callable[[], list[bytes]]:
        """A function that returns all workers' lines since its last call, in order of time."""
        places: dict[Path, int] = {}

        def look() -> list[bytes]:
            with contextlib.suppress(OSError):
                self.watch()
            with contextlib.suppress(OSError):
                self.round()
            lines: list[bytes] = []
            for path in sorted(self._folder.glob("*.lines")):
                with contextlib.suppress(OSError):
                    lines += _read(path, places)
            return sort_lines(lines)

        return look


def sort_lines(lines: list[bytes]) -> list[bytes]:
    """The latest lines, in order of time."""
    return sorted(lines, key=_time_of)[-MAX_LINES:]


def _read(path: Path, places: dict[Path, int]) -> list[bytes]:
    """The complete lines of a file after the place where the last read ended."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        begin = places.get(path, 0)
        if size < begin:
            begin = 0
        file.seek(begin)
        data = file.read(MAX_BYTES)
    end = data.rfind(b"\n") + 1
    places[path] = begin + end
    return data[:end].splitlines()


def _time_of(line: bytes) -> bytes:
    found = _TIME.match(line)
    return found[1].replace(b" ", b"T") if found else b""
