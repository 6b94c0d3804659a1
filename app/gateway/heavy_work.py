"""Pure work on large bodies, done beside the other requests instead of before them.

A greenlet gives way only where it waits, and reading, translating or patching waits for nothing: a megabyte of it would
hold up everybody for as long as it takes. In a thread the interpreter itself takes turns. Only what does no I/O may be
run so; small bodies are worked on at once, for a thread costs more than they do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar
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
    failure, result = _pool().apply(_catch, (work, args, kwargs))
    if failure is None:
        return result  # type: ignore[no-any-return]
    try:
        raise failure
    finally:
        del failure  # an error that this frame keeps would keep this frame, and all that was read


def _catch(
    work: Callable[..., R], args: tuple[object, ...], kwargs: dict[str, object]
) -> tuple[Exception | None, R | None]:
    """A failure as a value: a pool would write the traceback of what is raised."""
    try:
        return None, work(*args, **kwargs)
    except Exception as failure:
        return failure, None


def _pool() -> ThreadPool:
    """One for each hub, as pools cannot be shared between them."""
    hub = gevent.get_hub()
    pool = _pools.get(hub)
    if pool is None:
        sys.setswitchinterval(min(sys.getswitchinterval(), _TURN))
        pool = _pools[hub] = ThreadPool(_THREADS, hub=hub)
    return pool
