"""Writes files atomically. Those with secrets are readable by their owner only."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

# Errors of a rename if a single file is mounted into a container: it can be written, but not replaced.
_CANNOT_REPLACE = frozenset({errno.EBUSY, errno.EXDEV})

_TEMPORARY = ".dragoman-tmp"


def write_private(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the content of `path`: temporary file, fsync, rename. Missing folders get mode 0700.

    Readers see either the old content or the new one. The target of a symbolic link is replaced, not the link. Raises
    OSError.
    """
    path = path.resolve()
    make_private_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=_temporary_prefix(path), suffix=_TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            _keep_owner(path, file.fileno())
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.replace(name, path)
        except OSError as error:
            if error.errno not in _CANNOT_REPLACE:
                raise
            _overwrite(path, data)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    _sync_folder(path.parent)


def close_to_others(file: int) -> None:
    """Restricts an open file to its owner, if possible. A mounted one may be read-only."""
    mode = stat.S_IMODE(os.fstat(file).st_mode)
    if mode & 0o077:
        with contextlib.suppress(OSError):
            os.fchmod(file, mode & 0o700)


def make_private_folder(folder: Path) -> None:
    """Create `folder` and its missing parents with mode 0700. Existing ones keep their mode."""
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    for part in reversed(missing):
        part.mkdir(mode=0o700, exist_ok=True)


def sweep_leftovers(path: Path) -> None:
    """Remove temporary files of a process that died while it wrote `path`. The caller must hold the lock of `path`."""
    path = path.resolve()
    with contextlib.suppress(OSError):
        for leftover in path.parent.glob(f"{_temporary_prefix(path)}*{_TEMPORARY}"):
            leftover.unlink()


def companion_places(path: Path, runtime: Path | None, suffix: str) -> list[Path]:
    """The possible places of a file that belongs to `path`: beside it, or in `runtime` if that folder is read-only."""
    path = path.resolve()
    places = [path.with_name(f".{path.name.lstrip('.')}.dragoman.{suffix}")]
    if runtime is not None:
        places.append(runtime / f"{hashlib.sha256(bytes(path)).hexdigest()[:32]}.{suffix}")
    return places


def runtime_folder(environ: Mapping[str, str]) -> Path | None:
    """A private folder for files that cannot be created beside a read-only login file. None if there cannot be one.

    It is shared by the processes of one user on one machine, and is lost when the machine restarts.
    """
    for base in (environ.get("XDG_RUNTIME_DIR"), _temporary_folder()):
        folder = Path(base) / f"dragoman-{os.getuid()}" if base else None
        if folder is not None and _is_private(folder):
            return folder
    return None


def _temporary_folder() -> str | None:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:  # in a completely read-only container
        return None


def _is_private(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    # In a world-writable folder, somebody else may have created it first.
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _temporary_prefix(path: Path) -> str:
    return f".{path.name.lstrip('.')}."


def _keep_owner(path: Path, handle: int) -> None:
    # A service that runs as root must not lock users out of their own logins.
    with contextlib.suppress(OSError):
        owner = path.stat()
        if (owner.st_uid, owner.st_gid) != (os.getuid(), os.getgid()):
            os.fchown(handle, owner.st_uid, owner.st_gid)


def _overwrite(path: Path, data: bytes) -> None:
    with open(path, "r+b") as file:
        if data and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, len(data))  # on a full disk, before anything is overwritten
        file.write(data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    # Some file systems cannot sync a folder. The rename itself has succeeded.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
