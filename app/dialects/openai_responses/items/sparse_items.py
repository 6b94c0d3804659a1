"""Completes items that lack fields which clients require.

Codex drops a message without `role`, the AI SDK a text without `annotations` (lidge-jun/opencodex#893).
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.literals import EMPTY, as_object, begins_object, is_blank, one_object, text_of
from app.dialects.json_bodies import change_fields
from app.dialects.openai_responses.vocabulary import CALLS
from app.json_values import fields_decoder, list_decoder

_ABSENT = msgspec.Raw()
_EMPTY = msgspec.Raw(b"[]")
_SAY_NOTHING = (b"", b"null", b'"null"', EMPTY)
_MISSING: dict[str, dict[str, Any]] = {
    "message": {"role": msgspec.Raw(b'"assistant"'), "content": _EMPTY},
    "reasoning": {"summary": _EMPTY},
}


class _Head(msgspec.Struct):
    type: str = ""
    role: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT
    summary: msgspec.Raw = _ABSENT


class _Call(msgspec.Struct):
    type: str = ""
    id: str | None = None
    call_id: str | None = None
    arguments: msgspec.Raw = _ABSENT


_call_decoder = msgspec.json.Decoder(_Call)
_head_decoder = msgspec.json.Decoder(_Head)


def complete_item(raw: msgspec.Raw) -> msgspec.Raw:
    """The item with missing fields added; the same bytes if none are missing."""
    item = bytes(raw)
    if b'"message"' not in item and b'"reasoning"' not in item:
        return raw
    head = _head_decoder.decode(raw)
    wanted = _MISSING.get(head.type, {})
    missing: dict[str, Any] = {
        name: value for name, value in wanted.items() if bytes(getattr(head, name)) in (b"", b"null")
    }
    unmarked = head.type == "message" and b'"output_text"' in item and b'"annotations"' not in item
    if head.type == "message" and (bytes(head.content).startswith(b'"') or bytes(head.content) == b"null"):
        missing["content"] = _parts_of(head.content)
    if head.type == "reasoning" and bytes(head.summary).startswith(b'"'):
        missing["summary"] = [{"type": "summary_text", "text": head.summary}]
    if not missing and not unmarked:
        return raw
    fields: dict[str, Any] = {**fields_decoder.decode(raw), **missing}
    if unmarked and "content" not in missing and "content" in fields:
        fields["content"] = [_complete_part(part) for part in list_decoder.decode(fields["content"])]
    return msgspec.Raw(msgspec.json.encode(fields))


def _parts_of(text: msgspec.Raw) -> msgspec.Raw:
    """A content that is a text, or nothing, as the list that it should be."""
    part = {"type": "output_text", "text": text, "annotations": _EMPTY}
    return msgspec.Raw(msgspec.json.encode([part])) if bytes(text) != b"null" else _EMPTY


def output_of(listed: list[msgspec.Raw] | None, text: msgspec.Raw) -> list[msgspec.Raw] | None:
    """The items of a response. Some servers give only the `output_text` that the vendor's SDKs make of them."""
    if listed or len(text) <= len(EMPTY) or not bytes(text).startswith(b'"'):
        return listed
    head = {"id": "msg_0", "type": "message", "status": "completed", "role": "assistant"}
    return [msgspec.Raw(msgspec.json.encode({**head, "content": _parts_of(text)}))]


def settle_item(raw: msgspec.Raw) -> msgspec.Raw:
    """A finished item, with an object in place of empty arguments, because clients parse them, and its id in place of
    a missing `call_id`."""
    if b'_call"' not in bytes(raw):
        return raw
    call = _call_decoder.decode(raw)
    if call.type in CALLS and not call.call_id and call.id:
        raw = change_fields(raw, call_id=call.id)
    encoded = bytes(call.arguments)
    if call.type != "function_call":
        return raw
    if encoded.startswith(b"{"):  # the object instead of its text
        return change_fields(raw, arguments=encoded.decode())
    if encoded in _SAY_NOTHING or is_blank(encoded):
        return change_fields(raw, arguments="{}")
    if not begins_object(encoded):  # in a fence, or behind words
        return change_fields(raw, arguments=as_object(text_of(encoded))[0])
    if b"}{" in encoded and (whole := one_object(text := text_of(encoded))) != text:
        return change_fields(raw, arguments=whole)
    return raw


def lacks_arguments(raw: msgspec.Raw) -> bool:
    """Whether a finished item is a call with nothing where its arguments belong, not even an empty object."""
    if b'"function_call"' not in bytes(raw):
        return False
    call = _call_decoder.decode(raw)
    return call.type == "function_call" and (bytes(call.arguments) in _SAY_NOTHING or is_blank(bytes(call.arguments)))


def _complete_part(part: msgspec.Raw) -> msgspec.Raw:
    fields: dict[str, Any] = fields_decoder.decode(part)
    if bytes(fields.get("type", b"")) != b'"output_text"':
        return part
    return msgspec.Raw(msgspec.json.encode({**fields, "annotations": _EMPTY}))
