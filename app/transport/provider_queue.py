"""Limits a provider's concurrent requests; the others wait, and tenants take turns."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import OrderedDict, deque
from typing import Any, Protocol

from app.transport.exchange import Exchange

# Approximate seconds between two looks for a place returned by another worker, and the factor by which a worker that
# already has its share waits longer.
LOOK_AGAIN = 0.02
MODESTY = 3
_dice = random.Random()  # a separate generator, because threads use it concurrently with other users of `random`
os.register_at_fork(after_in_child=_dice.seed)


class Places(Protocol):
    """The places of one queue, shared by several workers. Its methods do not raise."""

    @property
    def is_shared(self) -> bool:
        """Whether the places of all workers can currently be counted together."""
        ...

    def take(self, maximum: int) -> Any:
        """A token for a place; None while `maximum` are taken."""
        ...

    def give_back(self, place: Any) -> None: ...


class Ticket:
    """A place in a queue, or the wait for one. Return it with `ProviderQueue.leave`, which may be called repeatedly."""

    __slots__ = ("_called", "given", "left", "place", "tenant")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.given = False
        self.left = False
        self.place: Any = None
        self._called: threading.Event | None = None

    def give(self) -> None:
        self.given = True
        if self._called is not None:
            self._called.set()

    def wait(self, seconds: float) -> bool:
        """Waits at most `seconds`; returns whether the place was given."""
        if self._called is None:
            self._called = threading.Event()
        if not self.given:
            self._called.wait(seconds)
        return self.given


class ProviderQueue:
    """Gives at most `maximum` tickets at a time, over all workers that share the `places`.

    A worker that has no more than its `share` reuses a returned place at once; one that has more looks a moment later,
    so that each gets its share when all are busy. With fewer places than workers the share is 0: otherwise the worker
    that has a place would never let it go while its own clients keep asking.
    """

    def __init__(self, maximum: int, share: int | None = None, places: Places | None = None) -> None:
        self.maximum = maximum
        self.given = 0
        self.timeouts = 0
        self._share = maximum if share is None else share
        self._places = places
        self._taking = 0
        self._looking = False
        self._lock = threading.RLock()  # an exchange may be garbage-collected, and leave, while it is held
        self._waiting: OrderedDict[str, deque[Ticket]] = OrderedDict()  # the tenant whose turn it is comes first

    @property
    def waiting(self) -> int:
        return sum(len(tickets) for tickets in self._waiting.values())

    def enter(self, tenant: str) -> Ticket:
        ticket = Ticket(tenant)
        with self._lock:
            is_first = not self._waiting
            self._waiting.setdefault(tenant, deque()).append(ticket)
        if is_first or self._places is None:
            self._call(self._bound)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        with self._lock:
            if ticket.left:
                return
            ticket.left = True
            if not ticket.given:
                tickets = self._waiting[ticket.tenant]
                tickets.remove(ticket)
                if not tickets:
                    del self._waiting[ticket.tenant]
                return
            self.given -= 1
        if self._places is not None:
            self._places.give_back(ticket.place)
        if self._waiting:
            self._call(self._bound if self._places is None else min(self._share, self._bound))

    def resize(self, maximum: int, share: int | None = None) -> None:
        """Sets another limit; running requests continue."""
        with self._lock:
            self.maximum = maximum
            self._share = maximum if share is None else share
        self._call(self._bound)

    @property
    def _bound(self) -> int:
        """How many places this worker may have: its share if it cannot count the others'."""
        return self.maximum if self._places is None or self._places.is_shared else max(1, self._share)

    def _call(self, bound: int) -> None:
        """Gives places to waiting requests until this worker has `bound` of them or all are taken."""
        while True:
            with self._lock:
                if not self._waiting:
                    return
                if self.given + self._taking >= bound:
                    break
                self._taking += 1
            place = None
            try:
                place = True if self._places is None else self._places.take(self.maximum)
            finally:
                with self._lock:
                    self._taking -= 1
                    ticket = self._pop() if place is not None else None
                    if ticket is not None:
                        self.given += 1
            if ticket is not None:
                ticket.place = place
                ticket.give()
                continue
            if place is not None:  # nobody waits any more
                if self._places is not None:
                    self._places.give_back(place)
                return
            break
        self._look_again()

    def _pop(self) -> Ticket | None:
        if not self._waiting:
            return None
        tenant, tickets = self._waiting.popitem(last=False)
        ticket = tickets.popleft()
        if tickets:
            self._waiting[tenant] = tickets  # at the end: the others are next
        return ticket

    def _look_again(self) -> None:
        """Looks for places returned by other workers, as long as a request waits here."""
        if self._places is None:
            return
        with self._lock:
            if self._looking:
                return
            self._looking = True
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            modesty = MODESTY if self.given >= self._share else 1
            time.sleep(LOOK_AGAIN * modesty * (0.5 + _dice.random()))
            with self._lock:
                if not self._waiting:
                    self._looking = False
                    return
            self._call(self._bound)


class QueuedExchange(Exchange):
    """An exchange that gives its place back when it is closed."""

    def __init__(self, exchange: Exchange, queue: ProviderQueue, ticket: Ticket) -> None:
        self._exchange = exchange
        self._queue = queue
        self._ticket = ticket
        self.status = exchange.status
        self.headers = exchange.headers

    def wait_head(self, wait: float | None = None) -> bool:
        return self._exchange.wait_head(wait)

    def read_part(self, wait: float | None = None) -> bytes | None:
        return self._exchange.read_part(wait)

    def close(self) -> None:
        try:
            self._exchange.close()
        finally:
            self._queue.leave(self._ticket)

    def __del__(self) -> None:
        # A stream whose client left before its first byte is never read, and never closed.
        self._queue.leave(self._ticket)
