"""Repairs the items of a stream that passes: their ids, fields that they lack, and the list of them at its end."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from app.dialects.json_bodies import change_fields
from app.dialects.malformed import decode_tolerantly
from app.dialects.openai_responses.grammar import StreamEvent, item_head_decoder
from app.dialects.openai_responses.items.output import Output
from app.dialects.openai_responses.items.sparse_items import complete_item, output_of, settle_item
from app.dialects.openai_responses.items.whole_items import write_whole_item
from app.dialects.openai_responses.stream_parser import ITEM_ADDED, ITEM_DONE
from app.dialects.openai_responses.vocabulary import NULL, response_decoder
from app.json_values import Fields, any_decoder, fields_decoder, list_decoder

NUMBER = re.compile(rb'"sequence_number"\s*:\s*(\d+)')


class PassedItems:
    """The items that have passed, by their index in the output. An item keeps the id with which it was announced."""

    def __init__(self) -> None:
        self.finished: dict[int, bytes] = {}
        self.ids: dict[int, str] = {}
        self.keep_ids: bool | None = None  # through all of their events; None before this is known

    def in_order(self) -> list[bytes]:
        """The finished items."""
        return [self.finished[index] for index in sorted(self.finished)]

    def repair(self, event: StreamEvent) -> bytes:
        """The item of an event, with what clients need."""
        index, item = event.output_index or 0, complete_item(event.item)
        if event.type == ITEM_ADDED:
            item_id = item_head_decoder.decode(item).id
            if item_id is not None:
                self.ids[index] = item_id
        elif event.type == ITEM_DONE:
            item = settle_item(self._with_known_id(index, item))
            self.finished[index] = bytes(item)
        return bytes(item)

    def repair_id(self, block: bytes, index: int, item_id: str) -> bytes:
        """An event about an item, with the item's id."""
        known = self.ids.get(index, item_id)
        if self.keep_ids is None:
            self.keep_ids = known == item_id
        if known == item_id:
            return block
        return block.replace(msgspec.json.encode(item_id), msgspec.json.encode(known), 1)

    def repair_output(self, response: Fields) -> list[msgspec.Raw] | None:
        """The output that the terminal response should have had; None if its own is correct."""
        listed = list_decoder.decode(response["output"]) if bytes(response.get("output", b"null")) != b"null" else []
        if not listed and self.finished:  # the backend of ChatGPT logins repeats no items
            return [msgspec.Raw(item) for item in self.in_order()]
        if not listed:
            return output_of(None, response.get("output_text", NULL))
        if len(listed) == len(self.finished):  # what the client has got of them counts
            settled = list(map(_as_finished, listed, self.in_order()))
        else:
            settled = [
                settle_item(self._with_known_id(index, complete_item(item))) for index, item in enumerate(listed)
            ]
        return settled if any(new is not old for new, old in zip(settled, listed, strict=True)) else None

    def write_missing(self, block: bytes, response: bytes, *, begun: bool, seed: str) -> bytes:
        """The terminal event, preceded by the events that the upstream omitted: clients expect an event per item, and
        the vendor's SDK `response.created`, unless it has `begun`. Ids are made of the `seed`."""
        listed = decode_tolerantly(response_decoder.decode, response).output or []
        if len(listed) == len(self.finished) or not self._lists_first(listed):
            return block
        output = Output(seed)
        number = NUMBER.search(block)
        output.number = int(number[1]) if number else 0
        if not begun:
            created: dict[str, Any] = {
                **fields_decoder.decode(response),
                "status": "in_progress",
                "output": [],
                "usage": None,
            }
            output.write("response.created", response=created)
        for index, raw in enumerate(map(bytes, listed)):
            if index in self.finished:
                output.items.append(raw)
            elif index in self.ids:
                output.end_item(raw)
            else:
                write_whole_item(output, raw)
        return output.take() + NUMBER.sub(b'"sequence_number":%d' % output.number, block, count=1)

    def _lists_first(self, listed: list[msgspec.Raw]) -> bool:
        """Whether the items that passed are the first of the listed ones, so that the others can follow them."""
        ids = [item_head_decoder.decode(raw).id for raw in listed]
        passed = [item_head_decoder.decode(raw).id for raw in self.in_order()]
        return ids[: len(passed)] == passed or not set(ids).intersection(passed)

    def _with_known_id(self, index: int, item: msgspec.Raw) -> msgspec.Raw:
        known = self.ids.get(index)
        if known is None or item_head_decoder.decode(item).id == known:
            return item
        self.keep_ids = False
        return change_fields(item, id=known)


def _as_finished(item: msgspec.Raw, finished: bytes) -> msgspec.Raw:
    """An item of the terminal response as its own last event had it."""
    if bytes(item) == finished or any_decoder.decode(item) == any_decoder.decode(finished):
        return item
    return msgspec.Raw(finished)
