"""Stores conversations.

The gateway stores them for every upstream, even those that support conversations themselves: each request sends the
items along.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from app.dialects.openai_responses.state.conversation import (
    read_items,
    read_metadata,
    render_conversation,
    render_deleted_conversation,
)
from app.dialects.openai_responses.state.history import identify_items, list_items, render_list
from app.errors import NotFound
from app.gateway.messages import ClientResponse, new_id
from app.ledger import Ledger, read_record


class Conversation(msgspec.Struct, frozen=True):
    """`created` is in unix seconds; each of `items` has an id."""

    created: int
    metadata: dict[str, str] = {}
    items: list[msgspec.Raw] = []

    @property
    def history(self) -> list[bytes]:
        return [bytes(item) for item in self.items]

    def find(self, item_id: str) -> bytes | None:
        return next((item for item in self.history if _ids.decode(item).id == item_id), None)


class _Identified(msgspec.Struct):
    id: str


_ids = msgspec.json.Decoder(_Identified)
_decoder = msgspec.json.Decoder(Conversation)


class Conversations:
    """The conversations of all tenants; each tenant sees only its own. All methods raise LedgerUnavailable; those that
    read client input raise InvalidRequest, and those that need an existing conversation or item NotFound."""

    def __init__(self, ledger: Ledger) -> None:
        self._collection = ledger.conversations

    def find(self, tenant: str, conversation_id: str) -> Conversation | None:
        kept = self._collection.get(tenant, conversation_id)
        return None if kept is None else read_record(_decoder, kept)

    def append(self, tenant: str, conversation_id: str, items: Sequence[bytes]) -> list[bytes]:
        """Appends items; returns them with their ids."""
        named = identify_items(new_id(), items)
        added = [msgspec.Raw(item) for item in named]
        self._change(tenant, conversation_id, lambda kept: _replace(kept, items=[*kept.items, *added]))
        return named

    def create(self, tenant: str, body: bytes) -> ClientResponse:
        """Creates a conversation. `body` may be empty."""
        body = body or b"{}"
        items = [msgspec.Raw(item) for item in identify_items(new_id(), read_items(body))]
        kept = Conversation(int(time.time()), read_metadata(body), items)
        conversation_id = f"conv_{new_id()}"
        self._collection.put(tenant, conversation_id, msgspec.json.encode(kept))
        return _show(conversation_id, kept)

    def retrieve(self, tenant: str, conversation_id: str) -> ClientResponse:
        return _show(conversation_id, self._require(tenant, conversation_id))

    def describe(self, tenant: str, conversation_id: str, body: bytes) -> ClientResponse:
        """Replaces the conversation's metadata."""
        metadata = read_metadata(body)
        kept = self._change(tenant, conversation_id, lambda kept: _replace(kept, metadata=metadata))
        return _show(conversation_id, kept)

    def delete(self, tenant: str, conversation_id: str) -> ClientResponse:
        if not self._collection.delete(tenant, conversation_id):
            raise not_found(conversation_id)
        return _found(render_deleted_conversation(conversation_id))

    def list_items(self, tenant: str, conversation_id: str, query: Mapping[str, str]) -> ClientResponse:
        return _found(list_items(self._require(tenant, conversation_id).history, query))

    def add_items(self, tenant: str, conversation_id: str, body: bytes) -> ClientResponse:
        return _found(render_list(self.append(tenant, conversation_id, read_items(body))))

    def retrieve_item(self, tenant: str, conversation_id: str, item_id: str) -> ClientResponse:
        item = self._require(tenant, conversation_id).find(item_id)
        if item is None:
            raise _item_not_found(item_id)
        return _found(item)

    def delete_item(self, tenant: str, conversation_id: str, item_id: str) -> ClientResponse:
        """Deletes an item and returns the conversation."""

        def change(kept: Conversation) -> Conversation:
            item = kept.find(item_id)
            if item is None:
                raise _item_not_found(item_id)
            return _replace(kept, items=[msgspec.Raw(other) for other in kept.history if other != item])

        return _show(conversation_id, self._change(tenant, conversation_id, change))

    def _require(self, tenant: str, conversation_id: str) -> Conversation:
        kept = self.find(tenant, conversation_id)
        if kept is None:
            raise not_found(conversation_id)
        return kept

    def _change(
        self, tenant: str, conversation_id: str, change: Callable[[Conversation], Conversation]
    ) -> Conversation:
        def change_kept(found: bytes) -> bytes | None:
            conversation = read_record(_decoder, found)
            return None if conversation is None else msgspec.json.encode(change(conversation))

        kept = self._collection.update(tenant, conversation_id, change_kept)
        if kept is None:
            raise not_found(conversation_id)
        return _decoder.decode(kept)


def not_found(conversation_id: str) -> NotFound:
    return NotFound(f"Conversation with id '{conversation_id}' not found.", param="conversation")


def _item_not_found(item_id: str) -> NotFound:
    return NotFound(f"Item with id '{item_id}' not found.", param="item_id")


def _show(conversation_id: str, kept: Conversation) -> ClientResponse:
    return _found(render_conversation(conversation_id, kept.created, kept.metadata))


def _found(body: bytes) -> ClientResponse:
    return ClientResponse(200, {"content-type": "application/json"}, body)


_replace = msgspec.structs.replace
