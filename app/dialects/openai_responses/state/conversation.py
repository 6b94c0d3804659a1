"""Parses and renders Conversations requests and replies."""

from __future__ import annotations

from typing import Any

import msgspec

from app.dialects.json_bodies import read_body, read_value
from app.dialects.openai_responses.request_parser import parse_request
from app.dialects.openai_responses.vocabulary import NULL
from app.errors import InvalidRequest

_items_decoder = msgspec.json.Decoder(list[msgspec.Raw] | None)
_metadata_decoder = msgspec.json.Decoder(dict[str, str] | None)


def read_conversation_id(named: Any) -> str | None:
    """The conversation that a request names, by its id or an object with one. Raises InvalidRequest."""
    conversation_id = named.get("id") if isinstance(named, dict) else named
    if conversation_id is not None and not isinstance(conversation_id, str):
        raise InvalidRequest("conversation must be an id, or an object with one", param="conversation")
    return conversation_id


def read_items(body: bytes) -> list[bytes]:
    """The items that a client adds, each as its JSON text. Raises InvalidRequest for items that are invalid in a
    request."""
    items = read_value(read_body(body).get("items", NULL), _items_decoder, "items") or []
    if items:
        try:
            parse_request(msgspec.json.encode({"model": "-", "input": items}), {})
        except InvalidRequest as error:
            message, param = (text.replace("input", "items", 1) for text in (str(error), error.failure.param or ""))
            raise InvalidRequest(message, param=param, code=error.failure.code) from error
    return [bytes(item) for item in items]


def read_metadata(body: bytes) -> dict[str, str]:
    """The metadata in a body. Raises InvalidRequest."""
    return read_value(read_body(body).get("metadata", NULL), _metadata_decoder, "metadata") or {}


def render_conversation(conversation_id: str, created: int, metadata: dict[str, str]) -> bytes:
    """The conversation object. `created` is in unix seconds."""
    fields: dict[str, Any] = {"id": conversation_id, "object": "conversation"}
    return msgspec.json.encode({**fields, "created_at": created, "metadata": metadata})


def render_deleted_conversation(conversation_id: str) -> bytes:
    return msgspec.json.encode({"id": conversation_id, "object": "conversation.deleted", "deleted": True})
