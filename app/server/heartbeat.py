"""Tells the master that a worker is alive and how many requests it runs, without a temporary file."""

from __future__ import annotations

import mmap
import os
import struct
from typing import Any

from gunicorn.workers.workertmp import WorkerTmp

_COUNT = struct.Struct("=i")


class Heartbeat(WorkerTmp):  # type: ignore[misc]  # gunicorn is untyped
    """Keeps the time of the last sign of life, in an anonymous memory file if the system has such files."""

    def __init__(self, cfg: Any) -> None:
        if hasattr(os, "memfd_create"):
            self._tmp = os.fdopen(os.memfd_create("dragoman-worker"), "w+b", 0)
        else:
            super().__init__(cfg)


class Shown:
    """A number in memory that master and worker share. None until the worker sets it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _COUNT.size)
        _COUNT.pack_into(self._memory, 0, -1)

    @property
    def count(self) -> int | None:
        count = int(_COUNT.unpack_from(self._memory)[0])
        return None if count < 0 else count

    @count.setter
    def count(self, count: int) -> None:
        _COUNT.pack_into(self._memory, 0, count)
