"""Lets an observer see a stream's events before the client gets them."""

from __future__ import annotations

from collections.abc import Callable

from app.conversation.response import Usage
from app.dialects.contract import StreamPassthrough
from app.errors import Failure


class ObservedStream:
    """A stream whose complete events are shown to `look` first. The error event of a broken stream is not."""

    def __init__(self, stream: StreamPassthrough, look: Callable[[bytes], None]) -> None:
        self._stream = stream
        self._look = look
        self.fail = stream.fail
        self.ping = stream.ping

    @property
    def finished(self) -> bool:
        return self._stream.finished

    @property
    def failed(self) -> Failure | None:
        return self._stream.failed

    @property
    def usage(self) -> Usage | None:
        return self._stream.usage

    def run(self, part: bytes) -> tuple[bytes, bytes]:
        events, rest = self._stream.run(part)
        if events:
            self._look(events)
        return events, rest

    def feed(self, part: bytes) -> bytes:
        events = self._stream.feed(part)
        self._look(events)
        return events

    def close(self) -> bytes:
        events = self._stream.close()
        self._look(events)
        return events
