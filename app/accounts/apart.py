"""Runs the accounts' database work in a separate thread, so that no request waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import gevent
from gevent.threadpool import ThreadPool

from app.accounts.accounts import Accounts
from app.errors import DragomanError
from app.sql import Connection

T = TypeVar("T")

# Seconds. The database has shorter limits of its own. These apply if it does not keep them.
WRITE_LIMIT = 10.0
READ_LIMIT = 10.0
CLOSE_LIMIT = 5.0


class AccountsUnavailable(DragomanError):
    """The accounts cannot be read now."""


class AccountsThread:
    """One thread, started on first use, in which reads and writes take turns."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self._threads: ThreadPool | None = None
        self._writing: gevent.event.AsyncResult | None = None

    def flush(self) -> None:
        """Writes the queued records. Waits at most WRITE_LIMIT; a slower write goes on in the background."""
        if not self.accounts.waiting:
            return
        if self._writing is None or self._writing.ready():
            self._writing = self._pool().spawn(self.accounts.flush)
        self._writing.wait(WRITE_LIMIT)

    def read(self, work: Callable[[Connection], T], limit: float = READ_LIMIT) -> T:
        """The result of `work`, within `limit` seconds. Raises AccountsUnavailable."""
        return self._ask(self.accounts.read, work, limit)

    def change(self, work: Callable[[Connection], T], limit: float = WRITE_LIMIT) -> T:
        """The result of `work`, in one transaction and within `limit` seconds. Raises AccountsUnavailable. If the time
        was too short, it may still be done later."""
        return self._ask(self.accounts.change, work, limit)

    def _ask(self, how: Callable[[Callable[[Connection], T]], T], work: Callable[[Connection], T], limit: float) -> T:
        asked = self._pool().spawn(how, work)
        try:
            found: T = asked.get(timeout=limit)
        except gevent.Timeout as late:
            raise AccountsUnavailable("the accounts' database does not answer") from late
        except DragomanError:
            raise
        except Exception as error:
            raise AccountsUnavailable(f"cannot read the accounts ({type(error).__name__})") from error
        return found

    def close(self) -> None:
        """Writes the queued records and closes the database. Waits at most CLOSE_LIMIT."""
        if self._threads is None and not self.accounts.waiting:
            return
        self._pool().spawn(self.accounts.close).wait(CLOSE_LIMIT)

    def _pool(self) -> ThreadPool:
        if self._threads is None:
            self._threads = ThreadPool(1)
        return self._threads
