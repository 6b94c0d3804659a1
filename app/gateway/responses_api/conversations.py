"""Stores conversations.

The gateway stores them for every upstream, even those that support conversations themselves: each request sends the
items along.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from app.dialects.openai_responses.state.conversation import (
    read_items,
    read_metadata,
    render_conversation,
    render_deleted_conversation,
)
from app.dialects.openai_responses.state.history import identify_items, list_items, render_list
from app.errors import InvalidRequest, NotFound
from app.fairness import give_way
from app.gateway.large_bodies.body_budget import Hold
from app.gateway.large_bodies.heavy_work import run_heavy
from app.gateway.messages import ClientResponse, new_id
from app.ledger import Ledger, read_record

log = logging.getLogger("dragoman.ledger")

# Maximum bytes of a conversation's items: more than any upstream takes.
MAX_SIZE = 256 * 1024 * 1024
# Bytes of items after which a part is full, and how many full parts, or smaller ones, are read at once. Between them,
# others get their turn.
PART = 256 * 1024
READ_AT_ONCE, MOST_AT_ONCE = 16, 480
# Seconds after which an append renews the age of the parts.
RENEWAL = 3600


class Conversation(msgspec.Struct, frozen=True):
    """`created` is in unix seconds. What is stored of a conversation: its items are in records of their own, `parts`
    in order, so that an append writes only what it adds. `items` are those that older versions stored here, `size` is
    the bytes of all. The parts were last `renewed` then."""

    created: int
    metadata: dict[str, str] = {}
    items: list[msgspec.Raw] = []
    parts: list[str] = []
    size: int = 0
    renewed: int = 0


class _Identified(msgspec.Struct):
    id: str


_ids = msgspec.json.Decoder(_Identified)
_decoder = msgspec.json.Decoder(Conversation)
_part_decoder = msgspec.json.Decoder(list[msgspec.Raw])


class Conversations:
    """The conversations of all tenants; each tenant sees only its own. All methods raise LedgerUnavailable; those that
    read client input raise InvalidRequest, and those that need an existing conversation or item NotFound."""

    def __init__(self, ledger: Ledger) -> None:
        self._collection = ledger.conversations
        self._parts = ledger.conversation_parts

    def find_items(self, tenant: str, conversation_id: str, hold: Hold | None = None) -> list[bytes] | None:
        """The items of a conversation, each with an id; None if there is no such conversation. They count like a body
        that the client sent. Raises NoRoom."""
        kept = self._find(tenant, conversation_id)
        if kept is not None and hold is not None:
            hold.take(kept.size)
        return None if kept is None else self._read_items(tenant, conversation_id, kept)

    def append(self, tenant: str, conversation_id: str, items: Sequence[bytes]) -> list[bytes]:
        """Appends items; returns them with their ids."""
        kept, size = self._require(tenant, conversation_id), sum(map(len, items))
        if kept.size + size > MAX_SIZE:
            raise InvalidRequest(f"a conversation holds at most {MAX_SIZE >> 20} MB; begin another", param="items")
        named = run_heavy(size, identify_items, new_id(), items)
        if time.time() - kept.renewed > RENEWAL:
            self._parts.renew(tenant, _name_parts(conversation_id, kept))
        parts = self._store(tenant, conversation_id, named)
        now = int(time.time())
        self._change(
            tenant,
            conversation_id,
            lambda kept: _replace(kept, parts=[*kept.parts, *parts], size=kept.size + size, renewed=now),
        )
        return named

    def create(self, tenant: str, body: bytes) -> ClientResponse:
        """Creates a conversation. `body` may be empty."""
        body = body or b"{}"
        items = run_heavy(len(body), read_items, body)
        kept, conversation_id = Conversation(int(time.time()), read_metadata(body)), f"conv_{new_id()}"
        self._collection.put(tenant, conversation_id, msgspec.json.encode(kept))
        if items:
            self.append(tenant, conversation_id, items)
        return _show(conversation_id, kept)

    def retrieve(self, tenant: str, conversation_id: str) -> ClientResponse:
        return _show(conversation_id, self._require(tenant, conversation_id))

    def describe(self, tenant: str, conversation_id: str, body: bytes) -> ClientResponse:
        """Replaces the conversation's metadata."""
        metadata = read_metadata(body)
        kept = self._change(tenant, conversation_id, lambda kept: _replace(kept, metadata=metadata))
        return _show(conversation_id, kept)

    def delete(self, tenant: str, conversation_id: str) -> ClientResponse:
        kept = self._require(tenant, conversation_id)
        self._collection.delete(tenant, conversation_id)
        self._parts.delete(tenant, *_name_parts(conversation_id, kept))
        return _found(render_deleted_conversation(conversation_id))

    def list_items(
        self, tenant: str, conversation_id: str, query: Mapping[str, str], hold: Hold | None = None
    ) -> ClientResponse:
        items = self._require_items(tenant, conversation_id, hold)
        return _found(run_heavy(sum(map(len, items)), list_items, items, query))

    def add_items(self, tenant: str, conversation_id: str, body: bytes) -> ClientResponse:
        items = run_heavy(len(body), read_items, body)
        return _found(render_list(self.append(tenant, conversation_id, items)))

    def retrieve_item(
        self, tenant: str, conversation_id: str, item_id: str, hold: Hold | None = None
    ) -> ClientResponse:
        items = self._require_items(tenant, conversation_id, hold)
        item = run_heavy(sum(map(len, items)), _find_item, items, item_id)
        if item is None:
            raise _item_not_found(item_id)
        return _found(item)

    def delete_item(self, tenant: str, conversation_id: str, item_id: str, hold: Hold | None = None) -> ClientResponse:
        """Deletes an item and returns the conversation."""
        item = bytes(self.retrieve_item(tenant, conversation_id, item_id, hold).body)  # type: ignore[arg-type]

        def leave_out(kept: Conversation) -> Conversation:
            return _replace(kept, items=_without(kept.items, item), size=kept.size - len(item))

        kept = self._require(tenant, conversation_id)
        for place, part in self._read_parts(tenant, conversation_id, kept):
            if item in part:
                self._parts.update(tenant, place, lambda found: _encode(_without(_part_decoder.decode(found), item)))
        return _show(conversation_id, self._change(tenant, conversation_id, leave_out))

    def _store(self, tenant: str, conversation_id: str, items: Sequence[bytes]) -> list[str]:
        """Stores items in new parts, which belong to the conversation only once it names them."""
        names = []
        for part in _split(items):
            names.append(new_id()[-16:])
            self._parts.put(tenant, f"{conversation_id}:{names[-1]}", _encode(part))
            give_way()
        return names

    def _read_items(self, tenant: str, conversation_id: str, kept: Conversation) -> list[bytes] | None:
        """All items; None if a part is missing, since a conversation with a gap is none."""
        items = [bytes(item) for item in kept.items]
        for _, found in self._read_parts(tenant, conversation_id, kept):
            part = read_record(_part_decoder, found)
            if part is None:
                log.warning("a part of the conversation %s is missing, so it counts as missing", conversation_id)
                return None
            items += map(bytes, part)
        return items

    def _read_parts(self, tenant: str, conversation_id: str, kept: Conversation) -> Iterator[tuple[str, bytes]]:
        """The parts with their places; a missing one is empty."""
        places = _name_parts(conversation_id, kept)
        at_once = min(READ_AT_ONCE * max(1, PART * len(places) // max(1, kept.size)), MOST_AT_ONCE)
        for start in range(0, len(places), at_once):
            found = self._parts.get_many(tenant, places[start : start + at_once])
            for place in places[start : start + at_once]:
                yield place, found.get(place, b"")
            give_way()

    def _find(self, tenant: str, conversation_id: str) -> Conversation | None:
        kept = self._collection.get(tenant, conversation_id)
        return None if kept is None else read_record(_decoder, kept)

    def _require(self, tenant: str, conversation_id: str) -> Conversation:
        kept = self._find(tenant, conversation_id)
        if kept is None:
            raise not_found(conversation_id)
        return kept

    def _require_items(self, tenant: str, conversation_id: str, hold: Hold | None) -> list[bytes]:
        items = self.find_items(tenant, conversation_id, hold)
        if items is None:
            raise not_found(conversation_id)
        return items

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


def _split(items: Sequence[bytes]) -> Iterator[list[msgspec.Raw]]:
    part: list[msgspec.Raw] = []
    size = 0
    for item in items:
        part.append(msgspec.Raw(item))
        size += len(item)
        if size >= PART:
            yield part
            part, size = [], 0
    if part:
        yield part


def _name_parts(conversation_id: str, kept: Conversation) -> list[str]:
    return [f"{conversation_id}:{name}" for name in kept.parts]


def _find_item(items: Sequence[bytes], item_id: str) -> bytes | None:
    return next((item for item in items if _ids.decode(item).id == item_id), None)


def _without(items: Sequence[msgspec.Raw], item: bytes) -> list[msgspec.Raw]:
    return [other for other in items if bytes(other) != item]


def not_found(conversation_id: str) -> NotFound:
    return NotFound(f"Conversation with id '{conversation_id}' not found.", param="conversation")


def _item_not_found(item_id: str) -> NotFound:
    return NotFound(f"Item with id '{item_id}' not found.", param="item_id")


def _show(conversation_id: str, kept: Conversation) -> ClientResponse:
    return _found(render_conversation(conversation_id, kept.created, kept.metadata))


def _found(body: bytes) -> ClientResponse:
    return ClientResponse(200, {"content-type": "application/json"}, body)


_replace = msgspec.structs.replace
_encode = msgspec.json.encode
