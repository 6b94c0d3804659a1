"""Lets all threads of a process allocate from one heap."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# glibc's parameter for the most heaps, which it calls arenas.
_M_ARENA_MAX = -8


def share_heap() -> None:
    """Must be called before the first thread starts. Does nothing without glibc.

    glibc gives each thread a heap of its own, so that none waits for another. Our threads hold the interpreter's lock
    while they allocate, and each further heap would keep a megabyte or two that nobody else can use.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
