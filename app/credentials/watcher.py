"""The thread that looks after changed files: one per process, every ten seconds."""

from __future__ import annotations

import os
import threading

from app.credentials.credential import CredentialSource

INTERVAL = 10.0


class Watcher:
    """Polls every source it was given.

    Threads do not survive a fork: a pre-forking server calls `start` in each worker. Without a watcher nothing is
    wrong, only later: a source looks for itself when its token runs out or is refused.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._sources: tuple[CredentialSource, ...] = ()
        self._started_in: int | None = None
        self._stopping = threading.Event()

    def watch(self, source: CredentialSource) -> None:
        """Poll `source` too, from the next round on. The same source counts once."""
        if source not in self._sources:
            self._sources = (*self._sources, source)

    def release(self, source: CredentialSource) -> None:
        """Poll `source` no more, after a change of the configuration."""
        self._sources = tuple(other for other in self._sources if other is not source)

    def start(self) -> None:
        """Begin in this process; a second call in the same process does nothing."""
        if self._started_in == os.getpid():
            return
        self._started_in = os.getpid()
        self._stopping = threading.Event()
        threading.Thread(target=self._run, args=(self._stopping,), name="dragoman-watcher", daemon=True).start()

    def stop(self) -> None:
        """End the thread; it finishes the poll that it is in."""
        self._stopping.set()
        self._started_in = None

    def poll(self) -> None:
        """One round, now."""
        for source in self._sources:
            source.poll()

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.wait(self._interval):
            self.poll()
