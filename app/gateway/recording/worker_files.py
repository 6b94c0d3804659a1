"""Files shared by the workers of one server, in a folder that only their user can read.

Each worker holds a lock on its own file; an unlocked file belongs to a worker that has died.
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

# Maximum bytes read of one file; ours are far smaller.
MAX_BYTES = 16 << 20
# Maximum requests to end that one look returns, the latest ones.
MAX_ENDED = 100


class WorkerFiles:
    """The files of this process among those in `folder`. Methods raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = f"{os.getpid()}"
        self._lock: int | None = None
        self._leading: int | None = None
        self._ended = _changed(folder / "ended")

    def join(self) -> None:
        """Marks this worker as alive until its process ends."""
        self.prepare()
        self._lock = os.open(self._folder / f"{self._own}.alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _sweep(self._folder.parent)

    def prepare(self) -> None:
        """Makes the folder, private to this user."""
        _make_private(self._folder)

    def publish(self, data: bytes) -> None:
        """Replaces what this worker publishes."""
        replace_file(self._folder / f"{self._own}.worker", self._folder / f"{self._own}.new", data)

    def others(self) -> Mapping[str, bytes]:
        """What the other workers have published, by process id."""
        return {pid: _read(self._folder / f"{pid}.worker") for pid in self._find_published() if pid != self._own}

    def ask(self) -> None:
        """Asks the other workers to publish, if there are any: this one would publish, too."""
        if any(pid != self._own for pid in self._find_published()):
            touch(self._folder / "asked")

    def is_asked(self) -> bool:
        """Whether a worker has asked since this one last published."""
        return _changed(self._folder / "asked") > _changed(self._folder / f"{self._own}.worker")

    def ask_to_end(self, request_id: str) -> None:
        """Asks the worker that runs a request to end it."""
        descriptor = os.open(self._folder / "ended", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{request_id}\n")

    def asked_to_end(self) -> list[str]:
        """The ids of requests to be ended, if any were added since the last call."""
        changed = _changed(self._folder / "ended")
        if changed == self._ended:
            return []
        self._ended = changed
        return _read(self._folder / "ended").decode("ascii", "replace").split()[-MAX_ENDED:]

    def have_answered(self) -> bool:
        """Whether all other living workers have published since the last `ask`."""
        asked = _changed(self._folder / "asked")
        others = [pid for pid in self._find_published() if pid != self._own]
        return all(_changed(self._folder / f"{pid}.worker") >= asked or self._has_died(pid) for pid in others)

    def lead(self) -> bool:
        """Whether this worker is the leader: the first that asked, as long as it lives."""
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
        """What the dead workers published, combined. `fold` merges the files of the newly dead, which are then removed,
        into what was known of the dead before."""
        # The lock is held for a few file operations only.
        with hold(self._folder / "dead.lock"):
            path = self._folder / "dead"
            known = _read(path)
            dead = [pid for pid in self._find_published() if pid != self._own and self._has_died(pid)]
            if not dead:
                return known
            folded = fold(known, [_read(self._folder / f"{pid}.worker") for pid in dead])
            fresh = self._folder / "dead.new"
            fresh.write_bytes(folded)
            for pid in dead:
                for kind in ("worker", "alive", "new"):
                    (self._folder / f"{pid}.{kind}").unlink(missing_ok=True)
            os.replace(fresh, path)
            return folded

    def leave(self) -> None:
        """Marks this worker as dead. What it published stays for the others; the last worker removes the folder."""
        if self._lock is None:
            return
        alone = all(path.stem == self._own or self._has_died(path.stem) for path in self._folder.glob("*.alive"))
        for descriptor in (self._lock, self._leading):
            if descriptor is not None:
                os.close(descriptor)
        self._lock = self._leading = None
        if alone:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _find_published(self) -> list[str]:
        return sorted(path.stem for path in self._folder.glob("*.worker"))

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
    """Holds an exclusive lock between processes. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace_file(path: Path, fresh: Path, data: bytes) -> None:
    """Replaces a file's content atomically; `fresh` is a temporary path that only this writer uses."""
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.replace(fresh, path)


def touch(path: Path) -> None:
    """Sets a file's modification time, as a signal to other processes."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)


def server_folder(environ: Mapping[str, str]) -> Path:
    """The folder of the server that this worker belongs to, named by the master's process id."""
    base = environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"dragoman-{os.getuid()}" / f"{os.getppid()}"


def _make_private(folder: Path) -> None:
    """Makes a folder and its parent with private access. Anybody can write to temporary folders, so it raises OSError
    if either belongs to another user or is accessible to others."""
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
    """A file's modification time in nanoseconds; 0 if it does not exist."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES)
    except OSError:
        return b""
