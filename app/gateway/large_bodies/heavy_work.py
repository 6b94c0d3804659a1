"""Runs work on large bodies in threads, beside the other requests.

A greenlet gives way only where it waits, and reading, translating or patching waits for nothing: a megabyte of it would
hold up everybody for as long as it takes. In a thread the interpreter itself takes turns. Only what does no I/O may be
run so; small bodies are worked on at once, for a thread costs more than they do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import gevent
from gevent.hub import Hub
from gevent.threadpool import ThreadPool

P = ParamSpec("P")
R = TypeVar("R")

# Bytes up to which a body is worked on at once: some milliseconds at worst.
SMALL = 64 * 1024
# More threads would only have more of them wait for the interpreter, and the other requests with them.
_THREADS = 2
# How long a thread may go on when others want to; seconds.
_TURN = 0.001

_pools: WeakKeyDictionary[Hub, ThreadPool] = WeakKeyDictionary()


def work_on(size: int, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `work` returns or raises; the other requests have their turns meanwhile if it is about many bytes."""
    if size <= SMALL:
        return work(*args, **kwargs)
    box: list[Any] = [(work, args, kwargs)]
    _pool().apply(_do, (box,))
    failure, result = box.pop()
    if failure is None:
        return result  # type: ignore[no-any-return]
    try:
        raise failure
    finally:
        del failure  # an error that this frame keeps would keep this frame, and all that was read


def _do(box: list[Any]) -> None:
    """What is in the box, with the outcome in its place: a thread keeps its last arguments until the next ones, and the
    pool would write the traceback of what is raised."""
    work, args, kwargs = box.pop()
    try:
        box.append((None, work(*args, **kwargs)))
    except Exception as failure:
        box.append((failure, None))


def _pool() -> ThreadPool:
    """One for each hub, as pools cannot be shared between them."""
    hub = gevent.get_hub()
    pool = _pools.get(hub)
    if pool is None:
        sys.setswitchinterval(min(sys.getswitchinterval(), _TURN))
        pool = _pools[hub] = ThreadPool(_THREADS, hub=hub)
    return pool
