"""Parses and renders the rest of a stream that breaks the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.conversation.capabilities import RenderContext
from app.conversation.events import Event, Failed, Finished, UsageSeen
from app.conversation.response import Usage
from app.dialects.openai_chat.replies.tool_calls import CallBinder
from app.dialects.openai_chat.stream_parser import StreamParser
from app.dialects.openai_chat.stream_renderer import StreamRenderer
from app.dialects.openai_chat.vocabulary import WireUsage
from app.errors import Failure
from app.sse import DONE


class Rewriter:
    """Parses the payloads of an upstream and renders the chunks for a client, as if it had done so from the start.

    `head` holds the fields that the passed chunks begin with, empty if none has passed; `calls` are the calls in them,
    and `usage` their last counts.
    """

    def __init__(
        self, context: RenderContext, head: Mapping[str, Any], calls: CallBinder, usage: WireUsage | None
    ) -> None:
        self._parser = StreamParser(calls)
        self._renderer = StreamRenderer(context)
        if head:
            self._renderer.resume(head)
            self._renderer.feed(self._parser.resume(usage))
        self._counts_wanted = context.include_usage
        self.usage: Usage | None = None
        self._finished = False
        self.failure: Failure | None = None

    @property
    def finished(self) -> bool:
        return self._finished or self._parser.ending

    def feed(self, payloads: Sequence[bytes]) -> bytes:
        """The client's chunks, up to a failure, which the caller must report."""
        return self._write(self._parser.feed(payloads))

    def close(self) -> bytes:
        """The rest, without counts if the upstream has sent none."""
        out = self._write(self._parser.close())
        if self.failure is not None:
            return out
        return out + (DONE if self._counts_wanted and self.usage is None else self._renderer.close())

    def _write(self, events: Sequence[Event]) -> bytes:
        for position, event in enumerate(events):
            if isinstance(event, UsageSeen):
                self.usage = event.usage
            elif isinstance(event, Finished):
                self._finished = True
            elif isinstance(event, Failed):
                self.failure = event.failure
                events = events[:position]
                break
        return self._renderer.feed(events)
