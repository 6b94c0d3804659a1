"""Reads the accounts for pages, with limits on concurrency and time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from gevent.lock import BoundedSemaphore

from app.blueprints.operations.reports import ask_accounts
from app.dashboard.visitors import Visitor
from app.errors import TooMany
from app.sql import Connection

T = TypeVar("T")

# Maximum seconds that a page waits for the accounts, and pages per worker that may read them at once.
READ_LIMIT = 2.0
MAX_READING = 4

_reading = BoundedSemaphore(MAX_READING)


def ask(work: Callable[[Connection], T]) -> T:
    """The result of `work`. Raises AccountsUnavailable, and TooMany if other pages occupy the readers for too long."""
    with _take_turn():
        return ask_accounts(work, READ_LIMIT)


def list_requests(visitor: Visitor, **query: Any) -> list[dict[str, Any]]:
    """The rows that a visitor may see; `query` has the fields of `Query`."""
    from app.accounts import queries

    query["where"] = {**query.get("where", {}), **visitor.own}
    return ask(lambda connection: queries.list_requests(connection, queries.Query(**query)))


@contextmanager
def _take_turn() -> Iterator[None]:
    if not _reading.acquire(timeout=READ_LIMIT):
        raise TooMany("too many pages are being read at once; try again soon")
    try:
        yield
    finally:
        _reading.release()
