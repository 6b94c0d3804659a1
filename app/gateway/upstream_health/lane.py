"""The way to one provider that takes so many requests at a time: the others wait, and tenants take turns."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque

from app.transport import Exchange


class Ticket:
    """A place in a lane, or the wait for one. To be given back by `Lane.leave`, which may be called more than once."""

    __slots__ = ("_called", "given", "left", "tenant")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.given = False
        self.left = False
        self._called: threading.Event | None = None

    def give(self) -> None:
        self.given = True
        if self._called is not None:
            self._called.set()

    def wait(self, seconds: float) -> bool:
        """Whether the place was given within so many seconds."""
        if self._called is None:
            self._called = threading.Event()
        if not self.given:
            self._called.wait(seconds)
        return self.given


class Lane:
    """At most `most` tickets are given at a time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.given = 0
        self.timeouts = 0
        self._lock = threading.RLock()  # a forgotten exchange may be collected, and leave, while it is held
        self._waiting: OrderedDict[str, deque[Ticket]] = OrderedDict()  # the tenant whose turn it is comes first

    @property
    def waiting(self) -> int:
        return sum(len(tickets) for tickets in self._waiting.values())

    def enter(self, tenant: str) -> Ticket:
        ticket = Ticket(tenant)
        with self._lock:
            self._waiting.setdefault(tenant, deque()).append(ticket)
            self._call()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        with self._lock:
            if ticket.left:
                return
            ticket.left = True
            if ticket.given:
                self.given -= 1
                self._call()
                return
            tickets = self._waiting[ticket.tenant]
            tickets.remove(ticket)
            if not tickets:
                del self._waiting[ticket.tenant]

    def resize(self, most: int) -> None:
        """Another limit. What is under way goes on."""
        with self._lock:
            self.most = most
            self._call()

    def _call(self) -> None:
        while self.given < self.most and self._waiting:
            tenant, tickets = self._waiting.popitem(last=False)
            ticket = tickets.popleft()
            if tickets:
                self._waiting[tenant] = tickets  # at the end: the others are next
            self.given += 1
            ticket.give()


class LaneExchange(Exchange):
    """An exchange that gives its place back when it is closed."""

    def __init__(self, exchange: Exchange, lane: Lane, ticket: Ticket) -> None:
        self._exchange = exchange
        self._lane = lane
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
            self._lane.leave(self._ticket)

    def __del__(self) -> None:
        # A stream whose client left before the first byte of it is never read, and never closed.
        self._lane.leave(self._ticket)
