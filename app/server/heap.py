"""Keeps a process's heap small: all threads share one, and what is free goes back to the system."""

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


def trim_heap() -> None:
    """Gives the heap's free pages back to the system. Does nothing without glibc. For quiet moments: it takes a tenth
    of a millisecond after small requests, and up to 75 ms for a gigabyte in small pieces.

    By itself glibc gives back only what is free at the heap's end. After a long history, or after many requests at
    once, a process would keep most of what they took.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
