"""Treats an empty answer as a failure of the upstream."""

from __future__ import annotations

from collections.abc import Sequence

from app.conversation.blocks import Text
from app.conversation.events import BlockDelta, BlockOpened, Event, Failed, Finished
from app.conversation.literals import EMPTY
from app.conversation.response import Response
from app.errors import SAID_NOTHING


class RefuseEmpty:
    """Turns an empty answer into a failure: agents end their session at a turn without content, but repeat a failed
    request.

    An answer may be empty if a limit, a stop sequence or a filter caused it.
    """

    def __init__(self) -> None:
        self._said = False

    @property
    def done(self) -> bool:
        """Whether the answer is known not to be empty."""
        return self._said

    @staticmethod
    def leaves(response: Response) -> bool:
        return response.says_something

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        if self._said:
            return events
        for position, event in enumerate(events):
            if type(event) is BlockDelta:
                self._said = event.text != EMPTY
            elif type(event) is BlockOpened:
                self._said = not isinstance(event.block, Text) or bool(event.block.text)
            elif type(event) is Finished and event.finish_reason == "stop":
                return [*events[:position], Failed(SAID_NOTHING)]
            if self._said:
                break
        return events
