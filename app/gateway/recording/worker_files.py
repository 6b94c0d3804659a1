"""Files that the workers of one server share, in a folder only their user can read.

Each worker holds a lock on its own file; a file that nobody holds is that of a worker that has died.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

# Bytes of one file that are read; ours are far smaller.
MOST_BYTES = 16 << 20
# Requests that were asked to end last, which a look finds.
MOST_ENDED = 100


class WorkerFiles:
    """The files of this process among those in `folder`. Methods raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = f"{os.getpid()}"
        self._lock: int | None = None
        self._leading: int | None = None
        self._ended = _changed(folder / "ended")

    def join(self) -> None:
        """Counts as a living worker from now on, until this process ends."""
        self.prepare()
        self._lock = os.open(self._folder / f"{self._own}.alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _sweep(self._folder.parent)

    def prepare(self) -> None:
        """Makes the folder, which nobody else may read."""
        _make_private(self._folder)

    def publish(self, data: bytes) -> None:
        """Replaces what this worker tells."""
        replace_file(self._folder / f"{self._own}.told", self._folder / f"{self._own}.new", data)

    def others(self) -> Mapping[str, bytes]:
        """What the other living workers tell, by their process id."""
        return {pid: _read(self._folder / f"{pid}.told") for pid in self._find_told() if pid != self._own}

    def ask(self) -> None:
        """Lets the others know that somebody wants to hear from them."""
        touch(self._folder / "asked")

    def is_asked(self) -> bool:
        """Whether somebody wants to hear something newer than what this worker has told."""
        return _changed(self._folder / "asked") > _changed(self._folder / f"{self._own}.told")

    def ask_to_end(self, request_id: str) -> None:
        """Asks whichever worker it is at to end a request."""
        descriptor = os.open(self._folder / "ended", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{request_id}\n")

    def asked_to_end(self) -> list[str]:
        """The requests that are to be ended, where somebody has asked since the last look."""
        changed = _changed(self._folder / "ended")
        if changed == self._ended:
            return []
        self._ended = changed
        return _read(self._folder / "ended").decode("ascii", "replace").split()[-MOST_ENDED:]

    def have_answered(self) -> bool:
        """Whether all others that live have told something since the last `ask`."""
        asked = _changed(self._folder / "asked")
        others = [pid for pid in self._find_told() if pid != self._own]
        return all(_changed(self._folder / f"{pid}.told") >= asked or self._has_died(pid) for pid in others)

    def lead(self) -> bool:
        """Whether this worker speaks for all: the first that wants to, as long as it lives."""
        if self._leading is None:
            descriptor = os.open(self._folder / "leader.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                return False
            self._leading = descriptor
        return True

    def collect_dead(self, fold: Callable[[bytes, list[bytes]], bytes]) -> bytes:
        """What the dead tell, all together: `fold` adds to what was known of the dead the files of the newly dead,
        which are gone then."""
        # Nobody waits for longer than a few file operations.
        with hold(self._folder / "dead.lock"):
            path = self._folder / "dead"
            known = _read(path)
            dead = [pid for pid in self._find_told() if pid != self._own and self._has_died(pid)]
            if not dead:
                return known
            told = fold(known, [_read(self._folder / f"{pid}.told") for pid in dead])
            fresh = self._folder / "dead.new"
            fresh.write_bytes(told)
            for pid in dead:
                for kind in ("told", "alive", "new"):
                    (self._folder / f"{pid}.{kind}").unlink(missing_ok=True)
            os.replace(fresh, path)
            return told

    def leave(self) -> None:
        """Counts as dead from now on; what was told stays for the others, while there are any."""
        if self._lock is None:
            return
        alone = all(path.stem == self._own or self._has_died(path.stem) for path in self._folder.glob("*.alive"))
        for descriptor in (self._lock, self._leading):
            if descriptor is not None:
                os.close(descriptor)
        self._lock = self._leading = None
        if alone:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _find_told(self) -> list[str]:
        return sorted(path.stem for path in self._folder.glob("*.told"))

    def _has_died(self, pid: str) -> bool:
        try:
            descriptor = os.open(self._folder / f"{pid}.alive", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """One process at a time. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace_file(path: Path, fresh: Path, data: bytes) -> None:
    """Gives a file another content, which nobody sees half of; `fresh` is the writer's own place for it."""
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.replace(fresh, path)


def touch(path: Path) -> None:
    """Says by a file's time that something has happened."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)


def server_folder(environ: Mapping[str, str]) -> Path:
    """The folder of the server that this worker belongs to: its master's process id names it."""
    base = environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"dragoman-{os.getuid()}" / f"{os.getppid()}"


def _make_private(folder: Path) -> None:
    """Temporary folders are everybody's: raises OSError where the folder, or the one it is in, is somebody else's."""
    for each in (folder.parent, folder):
        with contextlib.suppress(FileExistsError):
            each.mkdir(mode=0o700)
        found = each.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise PermissionError(f"{each} is not a folder of this user alone")


def _sweep(base: Path) -> None:
    """Removes the folders of servers that were killed."""
    for folder in base.iterdir():
        if folder.name.isdecimal() and not _is_running(int(folder.name)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _changed(path: Path) -> int:
    """When a file was written, in nanoseconds; 0 for one that is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES)
    except OSError:
        return b""
