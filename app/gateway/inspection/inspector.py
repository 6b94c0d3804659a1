"""Decides which of a worker's requests are recorded, and stores the recordings."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable

from app.accounts.apart import AccountsThread
from app.accounts.recordings import keep_recordings
from app.gateway.inspection.orders import RecordingOrder, order_of_settings, orders_file, read_orders
from app.gateway.inspection.wire_copy import WireCopy
from app.gateway.record import Record
from app.settings import ServerSettings

log = logging.getLogger("dragoman")

# Maximum bytes held for all requests until stored; further requests are not recorded, and counted.
MAX_HELD = 48 << 20
# Maximum recordings prepared and stored at a time.
MAX_AT_ONCE = 20


class Inspector:
    """Records requests. It is `active` while there are orders; `lost` counts requests that could not be recorded or
    stored."""

    def __init__(self, settings: ServerSettings, clock: Callable[[], float] = time.time) -> None:
        self._file = orders_file()
        self._clock = clock
        self._own = order_of_settings(settings)
        self._given: list[RecordingOrder] = []
        self._seen: object = None
        self._dice = random.Random()
        self._waiting: deque[tuple[WireCopy, str]] = deque()
        self.held = 0
        self.lost = 0

    def apply_settings(self, settings: ServerSettings) -> None:
        """Applies `[server] record` of new settings."""
        self._own = order_of_settings(settings)

    @property
    def orders(self) -> list[RecordingOrder]:
        now = self._clock()
        return [*self._own, *(order for order in self._given if order.until is not None and now < order.until)]

    @property
    def active(self) -> bool:
        return bool(self.orders)

    def follow(self) -> None:
        """Reads the orders given by pages and commands, if they changed."""
        try:
            stamp = self._file.stat().st_mtime_ns
        except OSError:
            stamp = None
        if stamp != self._seen:
            self._seen = stamp
            self._given = read_orders(self._file, self._clock()) if stamp is not None else []

    def open(self, record: Record) -> WireCopy | None:
        """A copier for a request, or None if no order can match it. The request's model is not known yet."""
        key = record.key or ""
        if not any(order.is_for(key, order.model, failed=True, dice=0) for order in self.orders):
            return None
        if self.held >= MAX_HELD:
            self.lost += 1
            return None
        return WireCopy(self, record)

    def take(self, copied: WireCopy, record: Record) -> None:
        """Takes the copy of a finished request, and keeps it if an order matches."""
        failed, dice = record.terminal in ("error", "upstream_cut", "stopped"), self._dice.randrange(100)
        wanted = any(order.is_for(record.key or "", record.model, failed=failed, dice=dice) for order in self.orders)
        if wanted and record.operation:
            self._waiting.append((copied, record.tenant))
        else:
            self.held -= copied.size

    def flush(self, accounts: AccountsThread | None, hours: int, megabytes: int) -> None:
        """Stores the waiting recordings; called by one loop. Raises AccountsUnavailable, and then the batch is lost."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(MAX_AT_ONCE, len(self._waiting)))]
            self.held -= sum(copied.size for copied, _ in batch)
            if accounts is None:
                self.lost += len(batch)
                continue

            now = self._clock()

            def keep(connection: object, batch: list[tuple[WireCopy, str]] = batch, now: float = now) -> None:
                made = [(copied.finish(), tenant) for copied, tenant in batch]
                keep_recordings(connection, made, now, hours, megabytes)  # type: ignore[arg-type]

            try:
                accounts.change(keep)
            except Exception:
                self.lost += len(batch)
                raise

    def describe(self) -> str | None:
        """What is currently recorded, as a sentence; None if nothing is."""
        orders = self.orders
        if not orders:
            return None
        ends = [order.until for order in orders if order.until is not None]
        until = ""
        if len(ends) == len(orders):
            until = f" until {time.strftime('%H:%M', time.gmtime(max(ends)))} UTC"
        return f"Recorded with their content: {'; '.join(dict.fromkeys(order.describe() for order in orders))}{until}."
