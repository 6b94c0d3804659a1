"""Stores that can hold a login: a file, the environment, the system's keyring.

A store reads and writes bytes, which a login format interprets. `stamp` is cheap and changes whenever the bytes may
have changed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import time
from codecs import BOM_UTF8
from collections.abc import Callable
from importlib import import_module
from os.path import exists
from pathlib import Path
from typing import Any, Protocol

from app.credentials.stores.private_files import close_to_others, companion_places, sweep_leftovers, write_private

# Seconds. A file that changed less than this before we read it may change again without a new time: file systems record
# times in steps of up to two seconds.
_SETTLED_AFTER = 2.0

# Bytes. A file with the keys of many programs has some thousands.
_LARGEST = 4 * 1024 * 1024

Stamp = tuple[int | str, ...]


class LoginStore(Protocol):
    @property
    def label(self) -> str:
        """The place of the login, for humans."""

    @property
    def is_own(self) -> bool:
        """Whether the login belongs to this program, which then may remove it once it is dead."""

    def stamp(self) -> Stamp | None:
        """A value that differs after a change. None if there is no login."""

    def read(self) -> bytes:
        """The login's bytes. Raises OSError; FileNotFoundError if there is no login."""

    def write(self, data: bytes) -> None:
        """Replace the login's bytes. Raises OSError."""

    def discard(self) -> None:
        """Remove the login. Raises OSError."""

    def places(self, suffix: str) -> list[Path]:
        """The paths at which this login's renewal lock may keep a file, best first."""


class FileStore:
    """A login in the first of `paths` that exists, or the very first if none does. Chosen anew at each access.

    `own` is the path that belongs to this program alone.
    """

    def __init__(
        self,
        paths: tuple[Path, ...],
        *,
        own: Path | None = None,
        runtime: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._paths = paths
        self._own = own
        self._runtime = runtime
        self._clock = clock

    @property
    def path(self) -> Path:
        return next((path for path in self._paths if exists(path)), self._paths[0])

    @property
    def label(self) -> str:
        return str(self.path)

    @property
    def is_own(self) -> bool:
        return self.path == self._own

    def stamp(self) -> Stamp | None:
        for path in self._paths:
            with contextlib.suppress(OSError):
                found = os.stat(path)
                stamp = (found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns)
                if abs(self._clock() - found.st_mtime) < _SETTLED_AFTER:
                    return (*stamp, time.monotonic_ns())
                return stamp
        return None

    def read(self) -> bytes:
        with open(self.path, "rb") as file:
            if self._own is not None and self.path == self._own:
                close_to_others(file.fileno())
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise OSError(errno.EFBIG, "it is too large for a login")
        return data.removeprefix(BOM_UTF8)

    def write(self, data: bytes) -> None:
        sweep_leftovers(self.path)
        write_private(self.path, data)

    def discard(self) -> None:
        self.path.unlink()

    def places(self, suffix: str) -> list[Path]:
        return companion_places(self.path, self._runtime, suffix)


class EnvironmentStore:
    """A login in an environment variable, as JSON text. Renewed tokens cannot be written back to it."""

    is_own = False

    def __init__(self, variable: str, text: str, runtime: Path | None = None) -> None:
        self.label = variable
        self._data = text.encode().removeprefix(BOM_UTF8)
        self._name = f"{variable}-{hashlib.sha256(self._data).hexdigest()[:16]}"
        self._runtime = runtime

    def stamp(self) -> Stamp | None:
        return (0,)

    def read(self) -> bytes:
        return self._data

    def write(self, data: bytes) -> None:
        raise PermissionError(f"{self.label} cannot be written")

    def discard(self) -> None:
        raise PermissionError(f"{self.label} cannot be removed from here")

    def places(self, suffix: str) -> list[Path]:
        return [self._runtime / f"{self._name}.{suffix}"] if self._runtime is not None else []


class KeyringStore:
    """An entry of the system's keyring, through the optional package `keyring`."""

    is_own = False

    def __init__(self, service: str, account: str, runtime: Path | None = None) -> None:
        self.label = f"keyring entry {service!r}"
        self._entry = (service, account)
        self._runtime = runtime

    def stamp(self) -> Stamp | None:
        # A keyring has no modification time, so each stamp is new and causes a read.
        return (time.monotonic_ns(),)

    def read(self) -> bytes:
        text = _call_keyring("get_password", *self._entry)
        if not text:
            raise FileNotFoundError(f"{self.label} does not exist")
        return str(text).encode()

    def write(self, data: bytes) -> None:
        _call_keyring("set_password", *self._entry, data.decode())

    def discard(self) -> None:
        _call_keyring("delete_password", *self._entry)

    def places(self, suffix: str) -> list[Path]:
        return [self._runtime / f"keyring-{'-'.join(self._entry).replace(' ', '-')}.{suffix}"] if self._runtime else []


def _call_keyring(function: str, *arguments: str) -> Any:
    try:
        keyring = import_module("keyring")
    except ImportError as error:
        raise FileNotFoundError("the package `keyring` is not installed") from error
    try:
        return getattr(keyring, function)(*arguments)
    except keyring.errors.KeyringError as error:
        raise OSError(f"the keyring denied access ({type(error).__name__})") from None
