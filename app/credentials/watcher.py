"""Watches credential files for changes, in one loop per process."""

from __future__ import annotations

from app.credentials.credential import CredentialSource
from app.loops import Loop

INTERVAL = 10.0


class Watcher:
    """Polls every source it was given.

    Threads do not survive a fork: a pre-forking server calls `start` in each worker. Without a watcher nothing is
    wrong, only later: a source looks for itself when its token runs out or is refused.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self.loop = Loop("credential watcher", self.poll, interval)
        self._sources: tuple[CredentialSource, ...] = ()

    def watch(self, source: CredentialSource) -> None:
        """Poll `source` too, from the next round on. The same source counts once."""
        if source not in self._sources:
            self._sources = (*self._sources, source)

    def release(self, source: CredentialSource) -> None:
        """Poll `source` no more, after a change of the configuration."""
        self._sources = tuple(other for other in self._sources if other is not source)

    def start(self) -> None:
        """Begin in this process; a second call in the same process does nothing."""
        self.loop.start()

    def stop(self) -> None:
        """End; the poll that is under way is finished."""
        self.loop.stop()

    def poll(self) -> None:
        """One round, now. A source that fails keeps none of the others from its poll."""
        faults = []
        for source in self._sources:
            try:
                source.poll()
            except Exception as fault:
                faults.append(fault)
        if faults:
            raise faults[0]
