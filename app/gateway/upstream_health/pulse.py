"""Finds out whether a silent provider is alive, by asking for its list of models.

Only a request that has another target left wants to know. A model may think for minutes before it says a word; a server
that does not even answer this question is gone, and nobody has to wait out a whole time limit to find that out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from app.errors import UpstreamGone
from app.transport import Exchange, Obtaining

# Seconds of silence after which somebody wants to know, and between two looks at what became of the question.
ASK_AFTER = 10.0
LOOK_PERIOD = 0.5
# Questions in a row without an answer after which a provider is gone, and seconds for which an answer is believed.
SILENCES = 2
BELIEVED = 5.0


class Pulse:
    """The question to one provider: asked once at a time, however many wait. `ask` tells whether there was an answer,
    and does not raise; `clock` never goes back."""

    def __init__(
        self, ask: Callable[[], bool], ask_after: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.ask = ask
        self.ask_after = ASK_AFTER if ask_after is None else ask_after
        self.silences = 0
        self._clock = clock
        self._asking = False
        self._told_at: float | None = None

    @property
    def is_gone(self) -> bool:
        return self.silences >= SILENCES

    def is_fresh(self, since: float) -> bool:
        """Whether there was an answer, or none in time, after `since`."""
        return self._told_at is not None and self._told_at >= since

    def take(self) -> None:
        """Asks beside what goes on, unless that is being done, or an answer is still believed."""
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
        """Until the head of a reply is there; yields after each `wait` seconds of silence. Raises UpstreamGone."""
        began = heard = self._clock()
        step = min(wait, self.ask_after)
        while not exchange.wait_head(step):
            now = self._clock()
            if now - began >= self.ask_after:
                if self.is_gone and self.is_fresh(began):
                    raise UpstreamGone(now - began)
                self.take()
                step = min(wait, LOOK_PERIOD)
            if now - heard >= wait:
                heard = now
                yield
