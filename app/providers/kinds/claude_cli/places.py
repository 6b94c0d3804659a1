"""Working folders of Claude programs: one per session, or one per request.

A session belongs to one tenant and runs one request at a time. Only the program's own transcript outlives a request.
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
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from app.errors import UpstreamBusy

# Seconds that a request waits for the preceding one in its session, and between two checks.
QUEUE_TIMEOUT = 60.0
PERIOD = 0.05
# The part of what other tenants' running sessions leave that one tenant's may use, if there are several.
SHARE = 0.75

# The file that names the owner of a session's folder.
OWNER = "owner"

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9]")


class Place(Struct):
    """`work` is the folder that the program runs in, `config` the one for its persistent files, `session` its name for
    the conversation. `folder` belongs to the gateway."""

    session: str
    folder: Path
    work: Path
    config: Path
    lock: int | None = None

    @property
    def transcript(self) -> Path:
        """The file in which the program stores the conversation."""
        return self.config / "projects" / _NOT_IN_NAMES.sub("-", str(self.work)) / f"{self.session}.jsonl"

    @property
    def has_begun(self) -> bool:
        return self.transcript.exists()

    def forget(self) -> None:
        """Removes the program's transcript of the conversation."""
        with contextlib.suppress(OSError):
            self.transcript.unlink()
            self.transcript.parent.rmdir()

    def leave(self) -> None:
        """Releases the place after the program has ended: a session is kept, the place of a single request is
        removed."""
        if self.lock is None:
            self.forget()
            return
        with contextlib.suppress(OSError):
            os.utime(self.folder)
        lock, self.lock = self.lock, None
        os.close(lock)


class Places:
    """The places of one provider; its sessions are stored below `root`. `work` is the folder that programs run in,
    `config` the one for their persistent files; if None, each place has its own. A session expires `lifetime` seconds
    after its last use; at most `maximum` are kept."""

    def __init__(self, root: Path, work: Path | None, config: Path | None, lifetime: float, maximum: int) -> None:
        self._root = root
        self._work = work
        self._config = config
        self._lifetime = lifetime
        self._most = maximum

    def enter(self, tenant: str, name: str) -> Place:
        """The session that `tenant` calls `name`, held until `Place.leave`. Raises UpstreamBusy if another request runs
        in it for too long, if the tenant's running sessions use up its share, or if as many sessions run as may be
        kept; OSError if the folder cannot be created."""
        session = uuid.UUID(
            bytes=hashlib.sha256(f"{tenant}\0{name}".encode("utf-8", "replace")).digest()[:16], version=4
        )
        folder = self._root / str(session)
        owner = hashlib.sha256(tenant.encode("utf-8", "replace")).hexdigest()
        if tenant:
            self._check_share(owner, folder)
        if not folder.exists():
            self._make_room()
        (folder / "work").mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / OWNER).write_text(owner)
        lock = self._lock(folder, QUEUE_TIMEOUT)
        if lock is None:
            raise UpstreamBusy(
                f"another request has been running in this session for {QUEUE_TIMEOUT:g} s; try again later"
            )
        return self._place(folder.name, folder, lock)

    def _check_share(self, owner: str, folder: Path) -> None:
        """Raises UpstreamBusy if another running session of this owner would leave the others too little. `folder` is
        not counted, because a session waits for its own requests."""
        if not self._root.exists():
            return
        kept = [each for each in self._root.iterdir() if each != folder]
        if len(kept) < int(self._most * SHARE):
            return  # spares the look at each lock
        running = Counter(_owner_of(each) for each in kept if self._runs(each))
        own = running[owner]
        left = self._most - (running.total() - own)
        if own and own >= int(left * SHARE):
            raise UpstreamBusy(
                f"{own} of your sessions with the Claude program are running, and the rest is for others "
                f"(max_sessions: {self._most}); wait until one of them is answered"
            )

    def _make_room(self) -> None:
        """Removes expired sessions, and if there are still too many, the oldest idle one of the tenant with the most.
        Raises UpstreamBusy if all of them run."""
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
            raise UpstreamBusy(
                f"all sessions of the Claude program are in use (max_sessions: {self._most}); try again later"
            )

    def _runs(self, folder: Path) -> bool:
        lock = self._lock(folder, 0.0)
        if lock is None:
            return folder.exists()
        os.close(lock)
        return False

    def _remove(self, folder: Path) -> bool:
        """Removes a session unless it runs; returns whether it is gone."""
        lock = self._lock(folder, 0.0)
        if lock is None:
            return not folder.exists()
        self._place(folder.name, folder, lock).forget()
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        return True

    def single(self, folder: Path) -> Place:
        """A place for one request, whose program runs in `folder`."""
        return self._place(str(uuid.uuid4()), folder)

    def _place(self, session: str, folder: Path, lock: int | None = None) -> Place:
        return Place(session, folder, self._work or folder / "work", self._config or folder / "config", lock)

    def _lock(self, folder: Path, seconds: float) -> int | None:
        """The lock of a session, released at the latest when this process ends; None if another request keeps it."""
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
    """Time of the last use in unix seconds; 0 if another worker has just removed the folder."""
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
