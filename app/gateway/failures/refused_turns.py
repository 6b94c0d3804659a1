"""Finds the repair of turns whose role, content or items a server refuses."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from app.dialects.refused_fields import BLOCK
from app.gateway.failures.change import Change, Repair
from app.gateway.failures.demands import contains_any
from app.gateway.failures.refused_parts import BLOCKS, find_blocks, refuses_item

# Maximum bytes of a part of a request that is read in search of what a server refuses.
LONGEST_WALK = 2 * 1024 * 1024
# How Ark, MiniMax, GLM, Kimi and similar servers refuse an empty message, and what such a message looks like.
EMPTY: tuple[tuple[str, ...], ...] = (
    ("missing `input.content",), ("missing input.content",), ("content is empty",), ("content field", "is empty"),
    ("content", "not be empty"), ("content", "cannot be empty"), ("content", "can't be empty"),
    ("content", "non-empty"), ("contain either", "content", "tool_calls"), ("content or tool_calls must be set",),
    ("未正常接收到prompt参数",), ("prompt parameter was not received",), ("content", "is blank"),
    ("at least one content element",),
)  # fmt: skip
_EMPTY_TEXT = re.compile(rb'"(?:content|text)"\s*:\s*(?:"(?:\s|\\[nrt])*"|\[\s*\])')
_NULL_CONTENT = re.compile(rb'"content"\s*:\s*null')
_LISTED_CONTENT = re.compile(rb'"content"\s*:\s*\[')
# How servers say that a tool's result has to be words.
_RESULT = re.compile(rb'"output"\s*:\s*\[|"tool_result"')
_TYPE_OF_RESULT = re.compile(
    r"(?:\boutput\b|tool[_ ]result|tool messages?\b).{0,80}(?:\bstr(?:ing)?\b|\bimages?\b|\barray\b)"
    r"|\bimages?\b.{0,60}tool (?:result|message)|unsupported image"
    r"|unmarshal array.{0,60}\b(?:output|contentblock\.content)\b"
)
# How validators say that a message's content has the wrong type.
_TYPE_OF_CONTENT = re.compile(
    r"\bcontent\b['\"`\]]*(?:[^.\[]|\. ){0,80}?(?:\bstr(?:ing)?\b|\bnull\b|\bnone\b|<nil>|required|missing)"
    r"|expected a string.{0,40}\bcontent\b"
)
# How GLM and the templates of open models refuse a conversation in which no user speaks.
_NO_USER: tuple[tuple[str, ...], ...] = (
    ("messages", "参数非法"), ("messages", "parameter is illegal"), ("messages", "parameter is invalid"),
    ("no user message",), ("no user query",), ("at least one user",), ("must contain", "user message"),
    ("must include", "user message"), ("user message is required",), ("without a user message",),
    ("contain", "role", "user"),
)  # fmt: skip
# How servers refuse a system turn among the others. Any of these words does, if such a turn was sent.
_ROLES = re.compile(r"\broles?\b|\bsystem(?:['\"`]? (?:message|role|parameter|prompt)|['\"`])")
_OTHER_ROLES = re.compile(r"\b(?:tool|function|tool_calls?)\b")
_NATIVE_ITEMS = (b'"custom_tool_call"', b'"tool_search_call"', b'"local_shell_call"', b'"shell_call"',
                 b'"apply_patch_call"')  # fmt: skip
PLAIN_TOOLS: dict[str, Any] = {"native_tools": (), "custom_tools": False, "namespaces": False, "deferred_tools": False}


class _Said(msgspec.Struct):
    role: str = ""


_said = msgspec.json.Decoder(list[_Said])


def repair_of_turns(text: str, param: str | None, sent: bytes, fields: dict[str, msgspec.Raw]) -> Repair | None:
    """The repair of turns with a role, a content or an item that the server refuses."""
    if contains_any(text, _NO_USER) and _lacks_user(fields):
        return Repair("user", Change({"user_required": True}))
    if "input" in fields and refuses_item(text, param or "", fields["input"]):
        # Items of the vendor's own programs become text, and calls of its own tools become function calls.
        tools = PLAIN_TOOLS if any(mark in sent for mark in _NATIVE_ITEMS) else {}
        return Repair("items", Change({"proofs": (), **tools}))
    if _TYPE_OF_RESULT.search(text) and _RESULT.search(sent):
        return Repair("results", Change({"tool_result_media": False}))
    if (blocks := find_blocks(f"{param or ''} {text}", sent)) and "messages" in fields:
        values = {name: value for kind in blocks for name, value in BLOCKS[kind].items()}
        return Repair("blocks", Change(values, tuple(BLOCK + kind for kind in blocks)))
    if "developer" in text and b'"developer"' in sent:
        return Repair("developer", Change({"system_role": "system", "late_system": "system"}))
    if _refuses_system(text) and _has_late_system(fields):
        return Repair("system", Change({"merge_system": True, "late_system": "reminder"}))
    if "messages" in fields and _TYPE_OF_CONTENT.search(text) and "image" not in text:
        if _NULL_CONTENT.search(sent):
            return Repair("content", Change({"null_content": False}))
        if _LISTED_CONTENT.search(sent):
            return Repair("text", Change({"string_content": True}))
    return None


def repair_of_empty(sent: bytes) -> Repair | None:
    """The repair for empty content: send text or null instead; if only null was sent, send text."""
    if _EMPTY_TEXT.search(sent) is not None:
        return Repair("empty content", Change({"empty_content": False}))
    if _NULL_CONTENT.search(sent) is not None:
        return Repair("null content", Change({"empty_content": False, "null_content": False}))
    return None


def _refuses_system(text: str) -> bool:
    if "`tool_result` blocks immediately after" in text:  # the system turn is what stands between
        return True
    return _ROLES.search(text) is not None and ("system" in text or _OTHER_ROLES.search(text) is None)


def _has_late_system(fields: dict[str, msgspec.Raw]) -> bool:
    """Whether a system turn follows another turn, or stands among the turns of a dialect that has a field for it."""
    turns = fields.get("messages") or fields.get("input") or msgspec.Raw()
    try:
        roles = [turn.role for turn in _said.decode(turns)] if len(turns) <= LONGEST_WALK else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return not {"system", "developer"}.isdisjoint(roles[0 if "system" in fields else 1 :])


def _lacks_user(fields: dict[str, msgspec.Raw]) -> bool:
    messages = fields.get("messages", msgspec.Raw())
    try:
        return len(messages) <= LONGEST_WALK and all(message.role != "user" for message in _said.decode(messages))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
