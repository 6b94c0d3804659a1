"""gunicorn's master, which also handles early signals and reports what a stop waits for.

gunicorn's own master blocks in its reload until the old workers have drained, ignoring all signals, and measures its
waits by the wall clock.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import time
from collections.abc import Iterable
from typing import Any

from gunicorn import sock, util
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

# The signals that tell a worker to end.
ENDING = (signal.SIGTERM, signal.SIGQUIT)
# Seconds that workers have to report their running requests.
_INFORMATIVE = 0.5
# The most seconds that an immediate stop takes.
_QUICK = 3.0
# Seconds that workers have after their last stream to clean up: programs' folders, rows of the accounts.
_CLEARING = 3.0
# If a worker cannot start within these first seconds, the whole start has failed.
_FIRST_START = 5.0
# Seconds that new workers have to start. Then the old ones end in any case.
_HANDING_OVER = 30.0
# Seconds before a worker that could not start is replaced.
_PAUSE = 0.2


class Master(Arbiter):  # type: ignore[misc]  # gunicorn is untyped
    """`_leaving` are workers that serve until their replacements do, and `_retired` those that were told to end.
    `parent` is the process of an agent that we serve exclusively: Ctrl-C in its terminal is meant for the agent, and we
    end when it does."""

    LISTENERS: list[Any]

    def __init__(self, app: Any, parent: int | None = None) -> None:
        self._parent = parent
        self._leaving: set[int] = set()
        self._retired: set[int] = set()
        self._handed_over_by = 0.0
        self._reload_again = False
        self._stopping = False
        self._begun = time.monotonic()
        super().__init__(app)

    def reload(self) -> None:
        """Starts new workers with the current settings. The old ones serve until the new ones do, and then drain.
        Reloads requested meanwhile are coalesced and run once afterwards."""
        if self._leaving:
            self._reload_again = True
            return
        self._stats["reloads"] += 1
        old_address = self.cfg.address
        self.app.reload()
        self.setup(self.app)
        if old_address != self.cfg.address:
            self._move()
        self._leaving = self.WORKERS.keys() - self._retired
        self._handed_over_by = time.monotonic() + _HANDING_OVER
        self.app.reloading = True  # the new workers log this when they are ready
        for _ in range(self.cfg.workers):
            self.spawn_worker()
        self.app.reloading = False

    def manage_workers(self) -> None:
        """Starts or retires workers until the wanted number serves, not counting those about to end. Raises
        StopIteration if the parent is gone."""
        if self._parent is not None and os.getppid() != self._parent:
            raise StopIteration
        self._retired &= self.WORKERS.keys()
        self._leaving &= self.WORKERS.keys()
        ending = self._retired | self._leaving
        serving = sorted((worker.age, pid) for pid, worker in self.WORKERS.items() if pid not in ending)
        if self._leaving and (self._are_ready(pid for _, pid in serving) or time.monotonic() > self._handed_over_by):
            for pid in self._leaving:
                self._retire(pid)
            self._leaving = set()
            if self._reload_again:
                self._reload_again = False
                self.reload()
                return
        for _ in range(self.num_workers - len(serving)):
            self.spawn_worker()
        for _, pid in serving[: max(0, len(serving) - self.num_workers)]:
            self._retire(pid)

    def reap_workers(self) -> None:
        """Handles workers that have ended. If one could not start, gunicorn would end. It does so only during the first
        start, not later while others serve or during a stop."""
        try:
            super().reap_workers()
        except HaltServer:
            if not self._stopping and time.monotonic() - self._begun < _FIRST_START:
                raise
            self.log.error("a worker could not start; starting another one")
            time.sleep(_PAUSE)

    def handle_int(self) -> None:
        """The first Ctrl-C lets running streams finish, the second ends at once."""
        if self._parent is not None:
            return
        self._announce_draining()
        raise StopIteration

    def stop(self, graceful: bool = True) -> None:
        """Ends the workers, each after its last stream if `graceful`, else at once. Another Ctrl-C, or QUIT, makes a
        graceful stop immediate."""
        if self._stopping:
            return
        self._stopping = True
        sock.close_sockets(self.LISTENERS, self.reexec_pid == self.master_pid == 0 and not self.systemd)
        self.LISTENERS = []
        self.kill_workers(signal.SIGTERM if graceful else signal.SIGQUIT)
        end = time.monotonic() + (self.cfg.graceful_timeout + _CLEARING if graceful else _QUICK)
        while self.WORKERS and time.monotonic() < end:
            if graceful and self._is_urged():
                graceful = False
                self.kill_workers(signal.SIGQUIT)
                end = time.monotonic() + _QUICK
            self.reap_workers()
            time.sleep(0.05)
        self.kill_workers(signal.SIGKILL)
        self.reap_workers()

    def _move(self) -> None:
        """Listens at the new address, which was checked before."""
        for listener in self.LISTENERS:
            listener.close()
        self.LISTENERS = sock.create_sockets(self.cfg, self.log)

    def _are_ready(self, pids: Iterable[int]) -> bool:
        """Whether enough of these workers accept requests. Those of other classes do not report, and count as ready."""
        serve = [getattr(self.WORKERS[pid], "serves", None) for pid in pids]
        return len(serve) >= self.num_workers and all(shown is None or shown.count for shown in serve)

    def _retire(self, pid: int) -> None:
        self._retired.add(pid)
        self.kill_worker(pid, signal.SIGTERM)

    def _is_urged(self) -> bool:
        with contextlib.suppress(queue.Empty):
            while True:
                if self.SIG_QUEUE.get_nowait() in (signal.SIGINT, signal.SIGQUIT):
                    return True
        return False

    def _announce_draining(self) -> None:
        self.kill_workers(signal.SIGTERM)
        running = _count_running(list(self.WORKERS.values()))
        if running:
            what = "1 stream" if running == 1 else f"{running} streams"
            print(f"dragoman: finishing {what}, Ctrl-C again to stop at once", file=sys.stderr, flush=True)

    def spawn_worker(self) -> Any:
        # Until a new worker has its own handlers, a copy of ours would swallow its signals. Blocked, they stay pending.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            pid = super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        util._setproctitle(f"master [{self.proc_name}]")
        return pid


def _count_running(workers: list[Any]) -> int:
    """The number of running requests, as far as workers report in time."""
    end = time.monotonic() + _INFORMATIVE
    shown = [worker.shown for worker in workers if hasattr(worker, "shown")]
    while any(each.count is None for each in shown) and time.monotonic() < end:
        time.sleep(0.02)
    return sum(each.count or 0 for each in shown)
