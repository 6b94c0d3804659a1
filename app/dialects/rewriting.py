"""Rewrites the rest of a stream whose bytes can no longer pass."""

from __future__ import annotations

from collections.abc import Sequence

from app.conversation.events import Event, Failed, Finished, UsageSeen
from app.conversation.response import Usage
from app.dialects.contract import StreamParser, StreamRenderer
from app.errors import Failure


class Rewriter:
    """Parses the payloads of an upstream, and renders the events for a client.

    The parser and the renderer are those of one dialect, prepared as if they had read and written what passed before.
    """

    def __init__(self, parser: StreamParser, renderer: StreamRenderer) -> None:
        self._parser = parser
        self._renderer = renderer
        self._finished = False
        self.usage: Usage | None = None
        self.failed: Failure | None = None

    @property
    def finished(self) -> bool:
        """Whether the end was named."""
        return self.failed is None and (self._finished or self._parser.ending)

    def feed(self, payloads: Sequence[bytes]) -> bytes:
        """The client's events, up to a failure, which the caller must report."""
        return self._write(self._parser.feed(payloads))

    def close(self) -> bytes:
        """The rest, also up to a failure."""
        out = self._write(self._parser.close())
        return out if self.failed is not None else out + self._renderer.close()

    def fail(self, failure: Failure) -> bytes:
        return self._renderer.feed([Failed(failure)])

    def _write(self, events: Sequence[Event]) -> bytes:
        for position, event in enumerate(events):
            if isinstance(event, UsageSeen):
                self.usage = event.usage
            elif isinstance(event, Finished):
                self._finished = True
            elif isinstance(event, Failed):
                self.failed = event.failure
                return self._renderer.feed(events[:position])
        return self._renderer.feed(events)
