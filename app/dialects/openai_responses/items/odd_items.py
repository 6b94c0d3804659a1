"""Tells the items that keep a request from passing."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities
from app.dialects.json_bodies import is_set
from app.dialects.openai_responses.vocabulary import NAME, has_foreign_id
from app.json_values import Fields

IMAGE = b'"input_image"'
FILE = b'"input_file"'

# Items that every server of this dialect supports; others belong to one vendor's server tools or newer versions.
_COMMON = (None, "message", "reasoning", "function_call", "function_call_output")
# Roles of Chat's tool results.
_FOREIGN_ROLES = ("tool", "function")
# Parts of the assistant's messages, and of all others.
_SPOKEN = (b'"output_text"', b'"refusal"')
_GIVEN = (b'"input_', b'"output_text"')
_MEDIA = (IMAGE, FILE)  # they may stand in a user's message only
_LIST = ord("[")
_SHORTEST_PART = len('[{"type":"x"}]')
# Parts that stand among the items, without a message.
_PARTS = ("input_text", "input_image", "input_file", "text", "image_url")
# How the values of calls, results and messages begin.
TEXT = re.compile(rb'"')
TEXT_OR_PARTS = re.compile(rb'"|\[\s*+[{\]]')
_CUSTOM = ("custom_tool_call", "custom_tool_call_output")
# The type of call by the type of its result.
_CALLS = {
    "function_call_output": "function_call",
    "custom_tool_call_output": "custom_tool_call",
    "local_shell_call_output": "local_shell_call",
}
# Fields by which a request continues from items outside it.
_LONGEST_ID = 64
_CONTINUING = ("previous_response_id", "conversation", "prompt")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


class ItemOutline(msgspec.Struct):
    """The fields that decide whether an item may pass, and what a library may have put beside its content; its other
    fields are skipped, not decoded."""

    type: str | None = None
    role: str | None = None
    id: Any = None
    name: Any = None
    call_id: Any = None
    encrypted_content: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw(b'""')
    arguments: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()
    parts: Any = None
    images: Any = None
    attachments: Any = None
    experimental_attachments: Any = None


def has_odd_items(heads: list[ItemOutline], fields: Fields, can: Capabilities) -> bool:
    if any(_is_odd_item(head, can) for head in heads) or _has_loose_reasoning(heads):
        return True
    ids = [head.id for head in heads if head.id is not None and head.type != "item_reference"]
    return len(set(map(str, ids))) < len(ids) or _has_loose_calls(heads, fields)


def _is_odd_item(head: ItemOutline, can: Capabilities) -> bool:
    if _has_odd_values(head) or (head.role is not None and _is_odd_speaker(head.role, head)):
        return True
    if head.parts or head.images or head.attachments or head.experimental_attachments:
        return True
    if head.role is not None and not can.empty_content and bytes(head.content) in (b'""', b"[]"):
        return True
    if can.first_party and has_foreign_id(head.type or "message", head.id):
        return True
    if any(isinstance(name, str) and len(name) > _LONGEST_ID for name in (head.id, head.call_id)):
        return True
    if head.type in _CUSTOM:
        return not can.custom_tools
    if NAME in can.proofs:
        return False
    # The vendor, having refused reasoning, knows by its own ids which items belong to it.
    return head.type not in _COMMON or (can.first_party and head.id is not None)


def _has_odd_values(head: ItemOutline) -> bool:
    """Whether a call lacks its name, its id or arguments in a text, a result is neither text nor parts, or the item is
    a part without its message."""
    match head.type:
        case "function_call":
            named = isinstance(head.name, str) and _NAME.fullmatch(head.name)
            return not (named and head.call_id and TEXT.match(head.arguments))
        case "function_call_output":
            return TEXT_OR_PARTS.match(head.output) is None
        case kind:
            return kind in _PARTS


def _is_odd_speaker(role: str, head: ItemOutline) -> bool:
    if role in _FOREIGN_ROLES or not role.islower():
        return True
    if not head.content and head.type not in (None, "message"):
        return False  # whoever adds tools has a role too, but nothing to say
    return TEXT_OR_PARTS.match(head.content) is None or _has_parts_of_others(role, head.content)


def _has_parts_of_others(role: str, content: msgspec.Raw) -> bool:
    """Whether a list of parts has none that the vendor takes from this speaker: they are Chat's, or the user's in a
    message of the assistant."""
    if len(content) < _SHORTEST_PART or memoryview(content)[0] != _LIST:
        return False
    raw = bytes(content)
    if role == "assistant" and any(mark in raw for mark in _MEDIA):
        return True
    return not any(mark in raw for mark in (_SPOKEN if role == "assistant" else _GIVEN))


def _has_loose_reasoning(heads: list[ItemOutline]) -> bool:
    """Whether there is an interrupted thought: the vendor refuses reasoning without a following item."""
    return any(
        head.type == "reasoning" and (after.type in _CALLS or (after.role or "assistant") != "assistant")
        for head, after in pairwise(heads)
    )


def _has_loose_calls(heads: list[ItemOutline], fields: Fields) -> bool:
    """Whether a call has no result, or a result no call, provided the input is complete."""
    if any(is_set(fields[name]) for name in _CONTINUING if name in fields):
        return False
    calls = sorted((head.type, str(head.call_id)) for head in heads if head.type in _CALLS.values())
    results = sorted((_CALLS[head.type], str(head.call_id)) for head in heads if head.type in _CALLS)
    return (calls != results or len(set(calls)) < len(calls)) and not any(
        head.type == "item_reference" for head in heads
    )
