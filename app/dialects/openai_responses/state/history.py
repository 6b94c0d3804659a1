"""Parses and renders stored histories and responses.

Everything here stays JSON text: items are stored exactly as they were received and sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from app.dialects.foreign.requests import mend_request
from app.dialects.json_bodies import encode_body, read_body, read_value
from app.dialects.openai_responses.vocabulary import NULL, response_decoder
from app.errors import InvalidRequest
from app.json_values import decode_or_none, fields_decoder, object_decoder
from app.sse import SseDecoder

MAX_LISTED = 100
LISTED = 20

# Maximum responses to whose items one request may refer: each is looked up.
MAX_REFERRED = 1000

_TERMINALS = ("response.completed", "response.incomplete", "response.failed")
_TERMINAL_MARKS = tuple(f'"{name}"'.encode() for name in _TERMINALS)
_REFERENCE = b'"item_reference"'
# The id of an item of a response of ours, whose id it contains.
_OWN_ITEM = re.compile(r"[a-z]+_([0-9a-f]{32})_\d+")
_input_decoder = msgspec.json.Decoder(str | list[msgspec.Raw] | None)


class _Terminal(msgspec.Struct):
    type: str = ""
    response: msgspec.Raw = msgspec.Raw(b"")


class _Head(msgspec.Struct):
    id: str = ""
    status: str | None = None


_terminal_decoder = msgspec.json.Decoder(_Terminal)
_head_decoder = msgspec.json.Decoder(_Head)
_sorting_encoder = msgspec.json.Encoder(order="sorted")


def input_items(body: bytes) -> list[bytes]:
    """The items of a request's input, each as its JSON text; a string is one message. Raises InvalidRequest."""
    fields = read_body(body)
    raw = fields.get("input", NULL)
    if "messages" in fields or bytes(memoryview(raw)[:1]) == b"{":  # the form of Chat, or a single item without a list
        raw = read_body(mend_request(body, "items") or body).get("input", NULL)
    items = read_value(raw, _input_decoder, "input")
    if isinstance(items, str):
        return [msgspec.json.encode({"type": "message", "role": "user", "content": items})]
    return [bytes(item) for item in items or ()]


def output_items(response: bytes) -> list[bytes]:
    """The items of a response object's output, each as its JSON text."""
    return [bytes(item) for item in response_decoder.decode(response).output or ()]


def continue_request(body: bytes, history: Sequence[bytes], *, name_previous: bool) -> bytes:
    """A request with the history before its own input. Without `name_previous` the reference to the continued response
    is removed.

    Raises InvalidRequest.
    """
    fields: dict[str, Any] = dict(read_body(body))
    fields["input"] = [msgspec.Raw(item) for item in (*history, *new_items(history, input_items(body)))]
    if not name_previous:
        fields.pop("previous_response_id", None)
    return encode_body(fields)


def new_items(history: Sequence[bytes], given: Sequence[bytes]) -> list[bytes]:
    """The given items that are not part of the history.

    Some clients send the history themselves, together with the id. Items with an id from the history belong to it, and
    so do its calls, which clients may send back without their ids. So do items without an id that precede such an item
    and equal one of the history. Raises InvalidRequest.
    """
    known = [object_decoder.decode(item) for item in history]
    ids = {str(item["id"]) for item in known if item.get("id")}
    contents = {_content_of(item) for item in known}
    values = [read_value(msgspec.Raw(item), object_decoder, f"input[{index}]") for index, item in enumerate(given)]
    equal = [not item.get("id") and _content_of(item) in contents for item in values]
    repeated = [
        str(item.get("id")) in ids or (equal[index] and str(item.get("type")).endswith("_call"))
        for index, item in enumerate(values)
    ]
    last = max((index for index, known_before in enumerate(repeated) if known_before), default=-1)
    return [item for index, item in enumerate(given) if not (repeated[index] or (equal[index] and index < last))]


def find_referred(body: bytes) -> list[str]:
    """The ids of the responses to whose items a request refers, each once. Raises InvalidRequest."""
    found = list(dict.fromkeys(place[1] for item in input_items(body) if (place := _referred_to(item)) is not None))
    if len(found) > MAX_REFERRED:
        raise InvalidRequest(f"input refers to items of more than {MAX_REFERRED:,} responses", param="input")
    return found


def resolve_references(body: bytes, outputs: Iterable[Sequence[bytes]]) -> bytes:
    """The request with its references to items of ours replaced by the items. `outputs` are the items of the responses
    that are stored here. Each item is used once, or a short request could become any number of them. Raises
    InvalidRequest."""
    stored = {_head_decoder.decode(item).id: item for output in outputs for item in output}
    resolved = [
        item if (place := _referred_to(item)) is None else stored.pop(place[0], item) for item in input_items(body)
    ]
    return encode_body({**read_body(body), "input": [msgspec.Raw(item) for item in resolved]})


def find_response(events: bytes) -> bytes | None:
    """The response object at a stream's end, if these whole events contain it."""
    if not any(mark in events for mark in _TERMINAL_MARKS):
        return None
    for payload in SseDecoder().feed(events):
        if any(mark in payload for mark in _TERMINAL_MARKS):
            event = decode_or_none(payload, _terminal_decoder)
            if event is not None and event.type in _TERMINALS and event.response:
                return bytes(event.response)
    return None


def find_id(response: bytes) -> str | None:
    """The id of a response object that may be continued; None if it failed or is invalid."""
    head = decode_or_none(response, _head_decoder) or _Head()
    return head.id if head.id and head.status not in ("failed", "cancelled") else None


def history_of(items: Sequence[bytes], response: bytes) -> list[bytes]:
    """The history up to the end of a response, given the input that it answered."""
    return [*items, *output_items(response)]


def identify_items(owner: str, items: Sequence[bytes]) -> list[bytes]:
    """The items, each with a type and an id. Most clients send no ids; one is derived from the owner and the position,
    so it stays the same."""
    return [msgspec.json.encode(_identify(owner, index, item)) for index, item in enumerate(items)]


def list_items(items: Sequence[bytes], query: Mapping[str, str]) -> bytes:
    """One page of items with ids, newest first by default. Raises InvalidRequest."""
    order, limit = _read_page(query)
    listed = list(reversed(items)) if order == "desc" else items
    ids = [_head_decoder.decode(item).id for item in listed]
    after = query.get("after")
    if after is not None and after not in ids:
        raise InvalidRequest(f"after: this list has no item {after!r}", param="after")
    start = 0 if after is None else ids.index(after) + 1
    return render_list(listed[start : start + limit], more=start + limit < len(listed))


def render_list(items: Sequence[bytes], *, more: bool = False) -> bytes:
    """The list object of items with ids; `more` is whether others follow."""
    ids = [_head_decoder.decode(item).id for item in items]
    return msgspec.json.encode(
        {
            "object": "list",
            "data": [msgspec.Raw(item) for item in items],
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
            "has_more": more,
        }
    )


def render_deleted(response_id: str) -> bytes:
    return msgspec.json.encode({"id": response_id, "object": "response", "deleted": True})


def _content_of(item: dict[str, Any]) -> bytes:
    """What remains of an item if a client removes the fields that only a reply has, comparable as text."""
    return _sorting_encoder.encode({name: value for name, value in item.items() if name not in ("id", "status")})


def _referred_to(item: bytes) -> tuple[str, str] | None:
    """The id of the item of ours that an item refers to, and of its response."""
    if _REFERENCE not in item:
        return None
    wanted = read_value(msgspec.Raw(item), object_decoder, "input").get("id")
    owner = _OWN_ITEM.fullmatch(wanted) if isinstance(wanted, str) else None
    return None if owner is None else (owner[0], f"resp_{owner[1]}")


def _read_page(query: Mapping[str, str]) -> tuple[Literal["asc", "desc"], int]:
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("order: must be asc or desc", param="order")
    limit = query.get("limit", str(LISTED))
    if not (limit.isdecimal() and len(limit) < 10 and 1 <= int(limit) <= MAX_LISTED):
        raise InvalidRequest(f"limit: must be a number from 1 to {MAX_LISTED}", param="limit")
    return "asc" if order == "asc" else "desc", int(limit)


def _identify(owner: str, index: int, item: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = dict(fields_decoder.decode(item))
    kind = fields.get("type") or msgspec.Raw(b'"message"')
    known = _head_decoder.decode(item).id if _is_text(fields.get("id")) else ""
    fields |= {"id": known or f"item_{owner}_{index}", "type": kind}
    if bytes(kind) == b'"message"' and _is_text(content := fields.get("content")):
        part = "output_text" if bytes(fields.get("role", b"")) == b'"assistant"' else "input_text"
        fields["content"] = [{"type": part, "text": content}]
    return fields


def _is_text(raw: Any) -> bool:
    return raw is not None and bytes(raw)[:1] == b'"'
