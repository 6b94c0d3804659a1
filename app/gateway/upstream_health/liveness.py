"""Finds out whether a silent provider is alive, by asking for its list of models.

Only a request with another target left needs to know. A model may think for minutes before its first word. But a server
that does not even answer this question is gone, and no request has to wait for a whole time limit to find that out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from app.errors import UpstreamGone
from app.transport import Exchange, Obtaining

# Seconds of silence after which the provider is asked, and between two looks at the result.
ASK_AFTER = 10.0
LOOK_PERIOD = 0.5
# Consecutive questions without an answer after which a provider is gone, and seconds for which an answer is valid.
SILENCES = 2
BELIEVED = 5.0


class LivenessCheck:
    """The liveness check of one provider; only one runs at a time, however many requests wait. `ask` returns whether
    there was an answer, and does not raise; `clock` never goes backwards."""

    def __init__(self, ask: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self.ask = ask
        self.silences = 0
        self._clock = clock
        self._asking = False
        self._told_at: float | None = None

    @property
    def is_gone(self) -> bool:
        return self.silences >= SILENCES

    def is_fresh(self, since: float) -> bool:
        """Whether a check has ended, with or without an answer, since `since`."""
        return self._told_at is not None and self._told_at >= since

    def take(self) -> None:
        """Starts a check in a thread, unless one is running or the last answer is still valid."""
        if self._asking or (not self.silences and self.is_fresh(self._clock() - BELIEVED)):
            return
        self._asking = True
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        try:
            answered = self.ask()
            self.silences = 0 if answered else self.silences + 1
        finally:
            self._told_at = self._clock()
            self._asking = False

    def wait(self, exchange: Exchange, wait: float) -> Obtaining[None]:
        """Waits for the response head; yields after each `wait` seconds of silence. Raises UpstreamGone."""
        began = heard = self._clock()
        step = min(wait, ASK_AFTER)
        while not exchange.wait_head(step):
            now = self._clock()
            if now - began >= ASK_AFTER:
                if self.is_gone and self.is_fresh(began):
                    raise UpstreamGone(now - began)
                self.take()
                step = min(wait, LOOK_PERIOD)
            if now - heard >= wait:
                heard = now
                yield
