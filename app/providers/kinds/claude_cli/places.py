"""Working folders of Claude programs: one per session, or one per request.

A session belongs to one tenant; one request at a time runs in it. What outlives a request is the program's own
transcript.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from app.errors import UpstreamBusy

# Seconds that a request waits for the one before it in the same session, and between two looks.
QUEUE_TIMEOUT = 60.0
PERIOD = 0.05

# The file that tells whose session a folder is.
OWNER = "owner"

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9]")


class Place(Struct):
    """`work` is the folder that the program runs in, `config` the one where it keeps what it must remember, `session`
    what it calls the conversation. `folder` is the gateway's own."""

    session: str
    folder: Path
    work: Path
    config: Path
    lock: int | None = None

    @property
    def transcript(self) -> Path:
        """The file in which the program keeps the conversation."""
        return self.config / "projects" / _NOT_IN_NAMES.sub("-", str(self.work)) / f"{self.session}.jsonl"

    @property
    def has_begun(self) -> bool:
        return self.transcript.exists()

    def forget(self) -> None:
        """Removes what the program has written down of the conversation."""
        with contextlib.suppress(OSError):
            self.transcript.unlink()
            self.transcript.parent.rmdir()

    def leave(self) -> None:
        """The program has ended; a session stays, what was for one request goes."""
        if self.lock is None:
            self.forget()
            return
        with contextlib.suppress(OSError):
            os.utime(self.folder)
        lock, self.lock = self.lock, None
        os.close(lock)


class Places:
    """The places of one provider; its sessions are kept below `root`. `work` is the folder that programs run in, and
    `config` where they keep what they must remember; None is one of each place. `lifetime` is seconds since a session
    was last used, `most` how many are kept."""

    def __init__(self, root: Path, work: Path | None, config: Path | None, lifetime: float, most: int) -> None:
        self._root = root
        self._work = work
        self._config = config
        self._lifetime = lifetime
        self._most = most

    def enter(self, tenant: str, name: str) -> Place:
        """The session that `tenant` calls `name`, held until `Place.leave`. Raises UpstreamBusy while another request
        runs in it for too long, or as many sessions run as may be kept; OSError where none can be kept."""
        session = uuid.UUID(
            bytes=hashlib.sha256(f"{tenant}\0{name}".encode("utf-8", "replace")).digest()[:16], version=4
        )
        folder = self._root / str(session)
        if not folder.exists():
            self._make_room()
        (folder / "work").mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / OWNER).write_text(hashlib.sha256(tenant.encode("utf-8", "replace")).hexdigest())
        lock = self._lock(folder, QUEUE_TIMEOUT)
        if lock is None:
            raise UpstreamBusy(f"another request runs in this session, for {QUEUE_TIMEOUT:g} s now")
        return self._place(folder, lock)

    def _make_room(self) -> None:
        """Removes sessions that nobody has used for long and, where there are too many, the oldest of whoever has
        most: nobody pushes out those of others."""
        if not self._root.exists():
            self._root.mkdir(mode=0o700, parents=True)
            return
        oldest = time.time() - self._lifetime
        kept: dict[str, list[Path]] = {}
        for used, folder in sorted((_last_used(each), each) for each in self._root.iterdir()):
            if used >= oldest or not self._remove(folder):
                kept.setdefault(_owner_of(folder), []).append(folder)
        over = sum(map(len, kept.values())) + 1 - self._most
        while over > 0 and kept:
            owner = max(kept, key=lambda each: len(kept[each]))
            gone = next(filter(self._remove, kept[owner]), None)
            if gone is None:
                del kept[owner]  # all of them run
            else:
                kept[owner].remove(gone)
                over -= 1
        if over > 0:
            raise UpstreamBusy(f"as many sessions of the Claude program run as are kept (max_sessions: {self._most})")

    def _remove(self, folder: Path) -> bool:
        """Whether it is gone: one that runs stays."""
        lock = self._lock(folder, 0.0)
        if lock is None:
            return not folder.exists()
        self._place(folder, lock).forget()
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        return True

    def single(self, folder: Path) -> Place:
        """A place for one request, whose program runs in `folder`."""
        return Place(str(uuid.uuid4()), folder, self._work or folder / "work", self._config or folder / "config")

    def _place(self, folder: Path, lock: int) -> Place:
        return Place(folder.name, folder, self._work or folder / "work", self._config or folder / "config", lock)

    def _lock(self, folder: Path, seconds: float) -> int | None:
        """The lock of a session, which ends with this process at the latest; None while another has it."""
        end = time.monotonic() + seconds
        try:
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return None
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    os.close(lock)
                    return None
                time.sleep(PERIOD)
            else:
                return lock


def _last_used(folder: Path) -> float:
    """In unix seconds; 0 for what another worker has just removed."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _owner_of(folder: Path) -> str:
    try:
        return (folder / OWNER).read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def own_config(environ: Mapping[str, str]) -> Path:
    """The folder that the program uses with its own login."""
    return Path(environ.get("CLAUDE_CONFIG_DIR") or Path(environ.get("HOME", "/")) / ".claude")
