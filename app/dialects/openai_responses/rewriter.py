"""Parses and renders the rest of a stream that is out of order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from app.conversation.capabilities import RenderContext
from app.conversation.events import Event, Failed, UsageSeen
from app.conversation.response import Usage
from app.dialects.openai_responses.stream_parser import ITEM_DONE, StreamParser
from app.dialects.openai_responses.stream_renderer import StreamRenderer
from app.errors import Failure


class Rewriter:
    """Parses the payloads of an upstream and renders the events for a client. `response_id` is the response's id, if it
    is known."""

    def __init__(self, context: RenderContext, response_id: str | None) -> None:
        self._parser = StreamParser()
        self._renderer = StreamRenderer(context)
        self.usage: Usage | None = None
        self.failed: Failure | None = None
        if response_id is not None:
            self._renderer.name(response_id)

    def skip(self, items: Mapping[int, bytes]) -> None:
        """Notes items that have passed, by their index."""
        for index in sorted(items):
            event = {"type": ITEM_DONE, "output_index": index, "item": msgspec.Raw(items[index])}
            self._parser.feed([msgspec.json.encode(event)])
            self._renderer.skip(items[index])

    def resume(self, number: int, payloads: Sequence[bytes], ids: Mapping[int, str]) -> None:
        """Continues after events that have passed. `number` is the next event's; `payloads` are those of the open item,
        and `ids` its id by its index."""
        self._renderer.resume(number)
        self._renderer.adopt(ids)
        self.feed(payloads)
        self._renderer.resume(number)

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
            elif isinstance(event, Failed):
                self.failed = event.failure
        return self._renderer.feed(events)
