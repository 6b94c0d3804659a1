"""Loops that run besides requests and survive any failure."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

log = logging.getLogger("dragoman")


class Loop:
    """Calls `work` every `period` seconds, whatever it raises.

    Threads, which are greenlets under gevent, do not survive a fork: a pre-forking server calls `start` in each worker.
    """

    def __init__(self, name: str, work: Callable[[], object], period: float) -> None:
        self.name = name
        self.period = period
        self.faults = 0
        self._work = work
        self._last: float | None = None
        self._last_problem = ""
        self._started_in: int | None = None
        # Set when a round is due before its time. Each start has its own, so that a thread knows when it is to end.
        self._due = threading.Event()

    @property
    def age(self) -> float | None:
        """Seconds since the last round ended, successful or not, or since the start; None before the start."""
        return None if self._last is None else time.monotonic() - self._last

    def start(self) -> None:
        """Start in this process. A second call in the same process does nothing."""
        if self._started_in == os.getpid():
            return
        self._started_in = os.getpid()
        self._due = threading.Event()
        self._last = time.monotonic()
        name = f"dragoman-{self.name}"
        threading.Thread(target=self._run, args=(self._due,), name=name, daemon=True).start()

    def stop(self) -> None:
        """Stop after the current round."""
        due, self._due = self._due, threading.Event()
        due.set()
        self._started_in = None

    def wake(self) -> None:
        """Run the next round at once, or right after the current one."""
        self._due.set()

    def round(self) -> None:
        """Run one round now. Faults are counted; equal ones in a row are logged once."""
        try:
            self._work()
            self._last_problem = ""
        except Exception as fault:
            self.faults += 1
            problem = f"{type(fault).__name__}: {fault}"[:200]
            if problem != self._last_problem:
                self._last_problem = problem
                log.error("the %s failed and will run again", self.name, exc_info=fault)
        finally:
            self._last = time.monotonic()

    def _run(self, due: threading.Event) -> None:
        while True:
            due.wait(self.period)
            due.clear()
            if due is not self._due:
                return
            self.round()
