"""Completes items that lack fields which clients require.

Codex drops a message without `role`, the AI SDK a text without `annotations` (lidge-jun/opencodex#893).
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.literals import EMPTY, is_blank
from app.dialects.json_bodies import change_fields, fields_decoder, list_decoder

_ABSENT = msgspec.Raw()
_EMPTY = msgspec.Raw(b"[]")
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
    arguments: msgspec.Raw = _ABSENT


_call_decoder = msgspec.json.Decoder(_Call)
_head_decoder = msgspec.json.Decoder(_Head)


def complete_item(raw: msgspec.Raw) -> msgspec.Raw:
    """The item with missing fields added; the same bytes if none are missing."""
    item = bytes(raw)
    if b'"message"' not in item and b'"reasoning"' not in item:
        return raw
    head = _head_decoder.decode(raw)
    missing = {name: value for name, value in _MISSING.get(head.type, {}).items() if not bytes(getattr(head, name))}
    unmarked = head.type == "message" and b'"output_text"' in item and b'"annotations"' not in item
    if not missing and not unmarked:
        return raw
    fields: dict[str, Any] = {**fields_decoder.decode(raw), **missing}
    if unmarked and "content" in fields:
        fields["content"] = [_complete_part(part) for part in list_decoder.decode(fields["content"])]
    return msgspec.Raw(msgspec.json.encode(fields))


def settle_item(raw: msgspec.Raw) -> msgspec.Raw:
    """A finished item, with an object in place of empty arguments, because clients parse them."""
    if b'"function_call"' not in bytes(raw):
        return raw
    call = _call_decoder.decode(raw)
    said = bytes(call.arguments)
    if call.type != "function_call" or not (said in (b"", b"null", b'"null"', EMPTY) or is_blank(said)):
        return raw
    return change_fields(raw, arguments="{}")


def _complete_part(part: msgspec.Raw) -> msgspec.Raw:
    fields: dict[str, Any] = fields_decoder.decode(part)
    if bytes(fields.get("type", b"")) != b'"output_text"':
        return part
    return msgspec.Raw(msgspec.json.encode({**fields, "annotations": _EMPTY}))
