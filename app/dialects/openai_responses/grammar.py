"""Checks the order of stream events. From the first event out of order, a stream is parsed and rendered anew.

Source: OpenAI API reference, "Responses", "Streaming events".
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.literals import EMPTY, NOTHING
from app.dialects.openai_responses.items.whole_items import has_text
from app.dialects.openai_responses.stream_parser import ARGUMENTS, BEGINNINGS, ITEM_ADDED, ITEM_DONE
from app.dialects.openai_responses.vocabulary import NULL

_DELTA = ".delta"
_CREATED = "response.created"
_NOTHING = {EMPTY, bytes(NULL)}


class StreamEvent(msgspec.Struct):
    """The fields of events that begin or end something, and of an item's first delta."""

    type: str = ""
    output_index: int | None = None
    sequence_number: int | None = None
    item_id: str | None = None
    item: msgspec.Raw = NULL
    response: msgspec.Raw = NULL
    delta: msgspec.Raw = NULL
    text: msgspec.Raw = NULL
    refusal: msgspec.Raw = NULL
    error: Any = None
    code: Any = None
    message: str | None = None
    param: str | None = None


class ItemHead(msgspec.Struct):
    type: str | None = None
    id: str | None = None


item_head_decoder = msgspec.json.Decoder(ItemHead)


class Grammar:
    """Follows the items of a stream. Of their deltas only the first is checked."""

    def __init__(self) -> None:
        self.begun = False  # the response was announced
        self.open: set[int] = set()  # items by index
        self.said = True  # a delta of the last item has passed, or there is no item yet
        self._last = -1

    @property
    def is_silent(self) -> bool:
        """Whether the open item has said nothing, so that it can still be rendered from its beginning."""
        return not self.open or (self.open == {self._last} and not self.said)

    def allows(self, event: StreamEvent) -> bool:
        """Whether an event is in order at this point; if so, it is noted as passed."""
        kind, place = event.type, event.output_index
        if kind in BEGINNINGS:
            return self._begin(event)
        if kind == ITEM_ADDED:
            return self._open(event)
        if not kind.startswith("response.") or (event.item is NULL and event.item_id is None):
            return True  # about no item
        if not self.begun:
            return False
        if place is None or place not in self.open:
            return False
        if kind == ITEM_DONE:
            if place == self._last and not self.said and has_text(bytes(event.item)):
                return False
            self.open.discard(place)
            return True
        if kind.endswith(_DELTA):
            if not self.said and kind.startswith(ARGUMENTS) and bytes(event.delta) == NOTHING:
                return False  # the arguments may still come
            self.said = True
            return True
        return self.said or {bytes(event.text), bytes(event.refusal)} <= _NOTHING

    def _begin(self, event: StreamEvent) -> bool:
        first = not self.begun
        self.begun = True
        return (event.type == _CREATED) is first and event.sequence_number is not None

    def _open(self, event: StreamEvent) -> bool:
        place, head = event.output_index, item_head_decoder.decode(event.item)
        if place is None or place <= self._last or not head.id or not head.type:
            return False
        self.open.add(place)
        self._last, self.said = place, False
        return True
