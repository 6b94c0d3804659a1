"""Watches credential files for changes, in one loop per process."""

from __future__ import annotations

from app.credentials.credential import CredentialSource
from app.loops import Loop

INTERVAL = 10.0


class Watcher:
    """Polls every source that it was given.

    Threads do not survive a fork: a pre-forking server calls `start` in each worker. Without a watcher, changes are
    only noticed later: a source reads its store itself when its token expires or is refused.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self.loop = Loop("credential watcher", self.poll, interval)
        self._sources: tuple[CredentialSource, ...] = ()

    def watch(self, source: CredentialSource) -> None:
        """Poll `source` too, from the next round on. Adding the same source again does nothing."""
        if source not in self._sources:
            self._sources = (*self._sources, source)

    def release(self, source: CredentialSource) -> None:
        """Stop polling `source`, after a change of the configuration."""
        self._sources = tuple(other for other in self._sources if other is not source)

    def start(self) -> None:
        """Start in this process. A second call in the same process does nothing."""
        self.loop.start()

    def stop(self) -> None:
        """Stop after the current poll."""
        self.loop.stop()

    def poll(self) -> None:
        """Run one round now. A failing source does not keep the others from being polled. Raises the first fault."""
        faults = []
        for source in self._sources:
            try:
                source.poll()
            except Exception as fault:
                faults.append(fault)
        if faults:
            raise faults[0]
