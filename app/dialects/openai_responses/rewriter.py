"""Parses and renders the rest of a stream whose server does not announce its items.

Source: SaladDay/cc-switch-cli#387.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.conversation.capabilities import RenderContext
from app.conversation.events import Event, Failed, UsageSeen
from app.conversation.response import Usage
from app.dialects.openai_responses.stream_parser import StreamParser
from app.dialects.openai_responses.stream_renderer import StreamRenderer
from app.errors import Failure


class Rewriter:
    """Parses the payloads of an upstream and renders the events for a client. `response_id` is the id of the response
    whose beginning has passed, None if it has not; `number` is the next event's."""

    def __init__(self, context: RenderContext, response_id: str | None, number: int) -> None:
        self._parser = StreamParser()
        self._renderer = StreamRenderer(context)
        self.usage: Usage | None = None
        if response_id is not None:
            self._renderer.resume(response_id, number)

    @property
    def finished(self) -> bool:
        return bool(self._renderer.response)

    def feed(self, payloads: Sequence[bytes]) -> bytes:
        return self._write(self._parser.feed(payloads))

    def close(self) -> bytes:
        return self._write(self._parser.close()) + self._renderer.close()

    def fail(self, failure: Failure) -> bytes:
        return self._renderer.feed([Failed(failure)])

    def _write(self, events: Sequence[Event]) -> bytes:
        for event in events:
            if isinstance(event, UsageSeen):
                self.usage = event.usage
        return self._renderer.feed(events)
