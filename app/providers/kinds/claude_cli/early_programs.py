"""Starts Claude programs ahead of requests, to save their start-up time."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque

from app.providers.kinds.claude_cli.order import Order
from app.transport.process import Process

log = logging.getLogger("dragoman")

# Seconds that a started program waits to be used.
LIFETIME = 600.0


class EarlyPrograms:
    """Up to `maximum` waiting programs, each started for the `pool_key` of an order: its program, login and headers."""

    def __init__(self, maximum: int) -> None:
        self._most = maximum
        self._waiting: deque[tuple[object, float, Process]] = deque()
        self._starting = 0

    def take(self, order: Order) -> Process | None:
        """A waiting program with the same `pool_key`, with `order` passed to it; None if there is none."""
        for each in tuple(self._waiting):
            pool_key, started, process = each
            if pool_key != order.pool_key or time.monotonic() - started > LIFETIME or not process.runs:
                continue
            with contextlib.suppress(ValueError):
                self._waiting.remove(each)
                try:
                    process.write(order.input())
                except OSError:
                    process.end()
                else:
                    return process
        return None

    def prepare(self, order: Order) -> None:
        """Starts a program for the next request like this one, without waiting for it."""
        if self._most:
            threading.Thread(target=self._start, args=(order,), daemon=True).start()

    def end(self) -> None:
        """Ends all waiting programs."""
        self._most = 0
        while self._waiting:
            self._waiting.popleft()[2].end()

    def _start(self, order: Order) -> None:
        self._drop_stale()
        ours = sum(1 for pool_key, _, _ in self._waiting if pool_key == order.pool_key)
        if ours + self._starting >= self._most:
            return
        self._starting += 1
        try:
            process = Process(order.early_command())
        except OSError as error:
            log.warning("cannot start a Claude program in advance: %s", error.strerror)
            return
        finally:
            self._starting -= 1
        self._waiting.append((order.pool_key, time.monotonic(), process))
        while len(self._waiting) > self._most:
            self._waiting.popleft()[2].end()
        timer = threading.Timer(LIFETIME, self._drop_stale)
        timer.daemon = True
        timer.start()

    def _drop_stale(self) -> None:
        oldest = time.monotonic() - LIFETIME
        for each in tuple(self._waiting):
            if each[1] <= oldest or not each[2].runs:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(each)
                    each[2].end()
