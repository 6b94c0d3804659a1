"""Checks the order of stream events. From the first event out of order, a stream is parsed and rendered anew.

Source: OpenAI API reference, "Responses", "Streaming events".
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.literals import EMPTY, NOTHING, text_of
from app.dialects.openai_responses.items.whole_items import has_text
from app.dialects.openai_responses.stream_parser import (
    ARGUMENTS,
    BEGINNINGS,
    CONTENTS,
    ITEM_ADDED,
    ITEM_DONE,
    WirePart,
)
from app.dialects.openai_responses.vocabulary import NULL

_DELTA = ".delta"
_CREATED = "response.created"
_GOOD_ENDS = {"response.completed", "response.incomplete", "response.done"}
_NOTHING = {EMPTY, bytes(NULL)}


class StreamEvent(msgspec.Struct):
    """The fields of events that begin or end something, and of an item's first deltas."""

    type: str = ""
    output_index: int | None = None
    sequence_number: int | None = None
    item_id: str | None = None
    item: msgspec.Raw = NULL
    response: msgspec.Raw = NULL
    delta: msgspec.Raw = NULL
    text: msgspec.Raw = NULL
    refusal: msgspec.Raw = NULL
    part: WirePart | None = None
    error: Any = None
    code: Any = None
    message: str | None = None
    param: str | None = None


class ItemHead(msgspec.Struct):
    type: str | None = None
    id: str | None = None


class _Output(msgspec.Struct):
    output: list[msgspec.Raw] | None = None


_output_decoder = msgspec.json.Decoder(_Output)
item_head_decoder = msgspec.json.Decoder(ItemHead)


class Grammar:
    """Follows the items of a stream. Of their deltas only the first two are checked."""

    def __init__(self) -> None:
        self.begun = False  # the response was announced
        self.open: set[int] = set()  # items by index
        self.said = True  # a delta of the last item has passed, or there is no item yet
        self._first: bytes | None = None  # that delta, until the second shows whether it repeats the first
        self._last = -1

    @property
    def is_settled(self) -> bool:
        """Whether more deltas of the open items need no check."""
        return self.said and self._first is None

    @property
    def is_single(self) -> bool:
        """Whether at most one item is open, the last, so that the rest can be rendered."""
        return self.open <= {self._last}

    def allows(self, event: StreamEvent) -> bool:
        """Whether an event is in order at this point; if so, it is noted as passed."""
        kind, place = event.type, event.output_index
        if kind in BEGINNINGS:
            return self._begin(event)
        if kind == ITEM_ADDED:
            return self._open(event)
        if not kind.startswith("response.") or (event.item is NULL and event.item_id is None):
            # About no item, or no item is named.
            return kind not in CONTENTS and not (kind in _GOOD_ENDS and self.open and not _lists_items(event.response))
        if not self.begun:
            return False
        if place is None or place not in self.open:
            return False
        if kind == ITEM_DONE:
            if place == self._last and not self.said and has_text(bytes(event.item)):
                return False
            self.open.discard(place)
            self._first = None
            return True
        if kind.endswith(_DELTA):
            return self._allows_delta(event)
        return self.said or _texts_of(event) <= _NOTHING

    def _allows_delta(self, event: StreamEvent) -> bool:
        added = bytes(event.delta)
        if not self.said and event.type.startswith(ARGUMENTS) and added == NOTHING:
            return False  # the arguments may still come
        first, self._first = self._first, None
        if not self.said or first == EMPTY:
            self.said, self._first = True, added
        elif first is not None and event.output_index == self._last:
            return not _repeats(added, first)
        return True

    def _begin(self, event: StreamEvent) -> bool:
        first = not self.begun
        self.begun = True
        return (event.type == _CREATED) is first and event.sequence_number is not None

    def _open(self, event: StreamEvent) -> bool:
        place, head = event.output_index, item_head_decoder.decode(event.item)
        if place is None or place <= self._last or not head.id or not head.type:
            return False
        self.open.add(place)
        self._last, self.said, self._first = place, False, None
        return True


def _repeats(added: bytes, first: bytes) -> bool:
    """Whether a delta begins with all of the one before and grows, as in servers that resend the text so far."""
    if len(added) <= len(first) or not (added.startswith(b'"') and first.startswith(b'"')):
        return False
    return text_of(added).startswith(text_of(first))


def _lists_items(response: msgspec.Raw) -> bool:
    """Whether a terminal response repeats its items, so that open ones can be ended by them."""
    return response is not NULL and bool(_output_decoder.decode(response).output)


def _texts_of(event: StreamEvent) -> set[bytes]:
    part = event.part or WirePart()
    return {bytes(event.text), bytes(event.refusal), bytes(part.text), bytes(part.refusal)}
