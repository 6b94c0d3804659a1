"""Checks the order of stream events. From the first event out of order, a stream is parsed and rendered anew.

Source: OpenAI API reference, "Responses", "Streaming events".
"""

from __future__ import annotations

import msgspec

from app.conversation.literals import EMPTY, NOTHING, begins_object, text_of
from app.dialects.openai_responses.items.sparse_items import lacks_arguments
from app.dialects.openai_responses.items.whole_items import has_text
from app.dialects.openai_responses.stream_parser import (
    ARGUMENTS,
    BEGINNINGS,
    CONTENTS,
    GOOD_ENDS,
    ITEM_ADDED,
    ITEM_DONE,
    PART_ENDS,
    WHOLES,
    WireEvent,
    WirePart,
)
from app.dialects.openai_responses.vocabulary import CALLS, NULL
from app.json_values import Index, decode_or_none

_DELTA = ".delta"
_CREATED = "response.created"
_NOTHING = {EMPTY, bytes(NULL)}
# Deltas of parts that must have been announced.
_IN_PARTS = ("response.output_text.delta", "response.refusal.delta", "response.reasoning_summary_text.delta")


Place = tuple[int | None, int | None, int | None]  # an item, and a part of its content or of its summary


class StreamEvent(WireEvent):
    """The fields of events that begin or end something, and of an item's first deltas."""

    output_index: Index | None = None
    content_index: Index | None = None
    sequence_number: int | None = None
    item_id: str | None = None
    response: msgspec.Raw = NULL

    @property
    def place(self) -> Place:
        return self.output_index, self.content_index, self.summary_index

    @property
    def names_part(self) -> bool:
        return self.content_index is not None or self.summary_index is not None


class ItemHead(msgspec.Struct):
    type: str | None = None
    id: str | None = None
    call_id: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it names all that its results refer to."""
        return bool(self.call_id) or self.type not in CALLS


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
        self.repeated = False  # a part of the last item was ended, with its text
        self.compared = False  # that text was, with the deltas
        self._in_part = False  # a part of the last item was announced
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
            return self._may_end(event) if kind in GOOD_ENDS else kind not in CONTENTS
        if not self.begun:
            return False
        if place is None or place not in self.open:
            return False
        if kind == ITEM_DONE:
            if place == self._last and not self.said and (has_text(bytes(event.item)) or lacks_arguments(event.item)):
                return False
            if not item_head_decoder.decode(event.item).is_whole:
                return False
            self.open.discard(place)
            self._first = None
            return True
        if kind.endswith(_DELTA):
            return self._allows_delta(event)
        self._in_part = self._in_part or kind.endswith("_part.added")
        self.repeated = self.repeated or kind in PART_ENDS
        return self.said or _texts_of(event) <= _NOTHING

    def _allows_delta(self, event: StreamEvent) -> bool:
        added = bytes(event.delta)
        if event.type in CONTENTS and added[:1] != b'"':
            return False
        if not self.said and event.type.startswith(ARGUMENTS) and added == EMPTY:
            return True
        if not self.said and event.type.startswith(ARGUMENTS) and (added == NOTHING or not begins_object(added)):
            return False  # the arguments may still come
        if not self.said and event.type in _IN_PARTS and not (self._in_part and event.names_part):
            return False
        first, self._first = self._first, None
        if not self.said or first == EMPTY:
            self.said, self._first = True, added
        elif first is not None and event.output_index == self._last:
            return not (_repeats(added, first) or (event.type.startswith(ARGUMENTS) and added == first != EMPTY))
        return True

    def _may_end(self, end: StreamEvent) -> bool:
        """Whether an end has a response, which repeats the items that are open, so that those that have said all can be
        ended by it."""
        if not self.open:
            return end.response != NULL
        listed = end.response != NULL and bool(_output_decoder.decode(end.response).output)
        return listed and (self.repeated or not self.is_single)

    def _begin(self, event: StreamEvent) -> bool:
        first = not self.begun
        self.begun = True
        named = not first or _is_named(event.response)
        return (event.type == _CREATED) is first and event.sequence_number is not None and named

    def _open(self, event: StreamEvent) -> bool:
        place, head = event.output_index, item_head_decoder.decode(event.item)
        if place is None or place <= self._last or not head.id or not head.type or not head.is_whole:
            return False
        self.open.add(place)
        self._last, self.said, self._first, self._in_part = place, False, None, False
        self.repeated = self.compared = False
        return True


def _is_named(response: msgspec.Raw) -> bool:
    """Whether a response has an id, or cannot be read: the client may understand it."""
    head = decode_or_none(response, item_head_decoder)
    return response != NULL and (head is None or bool(head.id))


def _repeats(added: bytes, first: bytes) -> bool:
    """Whether a delta begins with all of the one before and grows, as in servers that resend the text so far."""
    if len(added) <= len(first) or not (added.startswith(b'"') and first.startswith(b'"')):
        return False
    return text_of(added).startswith(text_of(first))


def _texts_of(event: StreamEvent) -> set[bytes]:
    part = event.part or WirePart()
    return {bytes(one) for one in (event.text, event.refusal, event.arguments, event.input, part.text, part.refusal)}


class _Holder(msgspec.Struct):
    """The texts of a finished item."""

    type: str = ""
    arguments: msgspec.Raw = NULL
    input: msgspec.Raw = NULL
    content: list[WirePart] | None = None
    summary: list[WirePart] | None = None


_holder_decoder = msgspec.json.Decoder(_Holder)


def repeated_text(event: StreamEvent) -> tuple[bytes, Place] | None:
    """The literal of a whole text that an event repeats, and the item and the part that its deltas name; of a finished
    item, the last text. None if it repeats none."""
    place = event.place
    if event.type in WHOLES:
        return _literal(getattr(event, WHOLES[event.type])), place
    if event.type in PART_ENDS and event.part is not None:
        return _literal(event.part.text if event.part.text is not NULL else event.part.refusal), place
    if event.type != ITEM_DONE:
        return None
    item = _holder_decoder.decode(event.item)
    if item.type in CALLS:
        return _literal(item.arguments if item.type == "function_call" else item.input), place
    if item.type == "message" and item.content:
        part = item.content[-1]
        last = len(item.content) - 1
        return _literal(part.text if part.text is not NULL else part.refusal), (event.output_index, last, None)
    if item.type == "reasoning" and item.summary and not item.content:
        return _literal(item.summary[-1].text), (event.output_index, None, len(item.summary) - 1)
    return None


def _literal(text: msgspec.Raw) -> bytes:
    return bytes(text) if bytes(text).startswith(b'"') else EMPTY
