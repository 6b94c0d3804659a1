"""Runs work on large bodies in threads, so that other requests can continue.

A greenlet yields only when it waits, and parsing, translating or patching never waits: a megabyte would block all other
requests for the whole time. Between threads the interpreter itself switches. Only work without I/O may run this way.
Small bodies are processed directly, because a thread would cost more than the work.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

import gevent
from gevent.hub import Hub
from gevent.threadpool import ThreadPool

Ts = TypeVarTuple("Ts")
R = TypeVar("R")

# Maximum bytes of a body that is processed directly: some milliseconds at worst.
SMALL = 64 * 1024
# More threads would only compete for the interpreter, and delay the other requests.
_THREADS = 2
# Seconds that a thread may run while others wait.
_TURN = 0.001

_pools: WeakKeyDictionary[Hub, ThreadPool] = WeakKeyDictionary()


def run_heavy(size: int, work: Callable[[*Ts], R], *args: *Ts) -> R:
    """Runs `work` and returns or raises its outcome. With more than SMALL bytes it runs in a thread, so that other
    requests can continue."""
    if size <= SMALL:
        return work(*args)
    box: list[Any] = [(work, args)]
    _pool().apply(_do, (box,))
    failure, result = box.pop()
    if failure is None:
        return result  # type: ignore[no-any-return]
    try:
        raise failure
    finally:
        del failure  # an error kept by this frame would keep the frame and everything read alive


def _do(box: list[Any]) -> None:
    """Does the work in the box and puts the outcome there. A box, because a thread keeps its last arguments alive until
    the next ones, and the pool would print the traceback of anything raised."""
    work, args = box.pop()
    try:
        box.append((None, work(*args)))
    except Exception as failure:
        box.append((failure, None))


def _pool() -> ThreadPool:
    """The pool of this hub; pools cannot be shared between hubs."""
    hub = gevent.get_hub()
    pool = _pools.get(hub)
    if pool is None:
        sys.setswitchinterval(min(sys.getswitchinterval(), _TURN))
        pool = _pools[hub] = ThreadPool(_THREADS, hub=hub)
    return pool
