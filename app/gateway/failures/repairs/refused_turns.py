"""Finds the repair of turns whose role, content, fields or items a server refuses."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from app.dialects.refused_fields import BLOCK
from app.gateway.failures.repairs.change import Change, Repair
from app.gateway.failures.repairs.demands import contains_any
from app.gateway.failures.repairs.field_repairs import CAPABILITIES
from app.gateway.failures.repairs.refusal import LONGEST_WALK, Refusal
from app.json_values import Fields, decode_or_none

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

# The capabilities without which a type of the vendor's content blocks is not sent, for servers that refuse it.
BLOCKS: dict[str, dict[str, Any]] = {
    "thinking": {"proofs": (), "reasoning_replay": "none"},
    "redacted_thinking": {"proofs": (), "reasoning_replay": "none"},
    **{
        kind: {"proofs": ()}
        for kind in
        ("server_tool_use", "mcp_tool_use", "mcp_tool_result", "web_search_tool_result", "web_fetch_tool_result",
         "code_execution_tool_result", "bash_code_execution_tool_result", "text_editor_code_execution_tool_result",
         "tool_search_tool_result", "advisor_tool_result")
    },
    "tool_reference": {"deferred_tools": False},
    "search_result": {"text_documents": False},
    "document": {"documents": False, "text_documents": False},
}  # fmt: skip

_NAMES = {kind: re.compile(rf"(?<![a-z_.]){kind}(?![a-z_.])") for kind in BLOCKS}
# How servers speak of the type of a content block that they refuse, and of those that they accept.
_SPEAKS_OF_BLOCKS = re.compile(
    r"\bblocks?\b[^.]{0,40}(?:support|allow|accept|type)|content[ _]type|content[ _]block|unknown variant"
    r"|messages\.content\.type|content(?:\.|\[)\d*\]?\.type|content/\d+/type"
    r"|content(?:\.|\[)\d+[\].:][^.]{0,80}(?:input tag|unknown|unsupported|invalid|unexpected)"
)
_LISTS_TYPES = re.compile(r"\.type: input should be |discriminator value\. expected ")
_NAMES_NO_TYPE = re.compile(
    r"messages\.content\.type.{0,80}invalid value|invalid value.{0,80}messages\.content\.type"
    r"|content block type[^.]{0,20}not supported"
)

# How servers refuse an input item, in general words.
_UNKNOWN_ITEM = re.compile(
    r"(?:unknown|unsupported|unexpected|unrecogni[sz]ed|invalid) (?:responses api )?input item|unknown input type"
    r"|input item type|input\[\d{1,5}\] did not match any|input\[\d{1,5}\]\.type"
    r"|type of 'item'"
)
# The same, by its place in the list.
_PLACE = re.compile(r"\binput[\[.](\d{1,5})\b")
# How servers refuse a list without a word on which of its items is wrong.
_WORDLESS = re.compile(r"\s*(?:invalid|malformed|bad|unsupported)(?: value for)? ['\"`]?input['\"`]?[.!]?\s*")
# The same, naming the type, as OpenAI's API does: "Invalid value: 'agent_message'. Supported values are: …".
_REFUSED_TYPE = re.compile(
    r"(?:invalid value|(?:unknown|unsupported|unexpected|unrecogni[sz]ed|invalid)(?: (?:input|item|type|variant))+)"
    r"[:\s]{1,3}['\"`]?([a-z_]{1,60})\b"
    r"|\b(?:item|input)s?(?: of)? type[:\s]{1,3}['\"`]?([a-z_]{1,60})\b"
)
# The reasoning of another vendor may lack what this one requires.
_LACKS_SUMMARY = re.compile(r"missing.{0,60}summary")
_BASIC = {"", "message", "reasoning", "function_call", "function_call_output"}
_MAX_NAMES = 8

# How servers name a field of a message or an item, and those of messages that servers take or that are dealt with
# otherwise.
_OF_MESSAGE = re.compile(r"\b(messages|input)[.\[]\d{1,6}\]?(?:\.|['\"`] : property ['\"`])([A-Za-z_]\w{0,63})\b")
_IN_MESSAGES = frozenset({"role", "content", "tool_calls", "tool_call_id", "function_call", "audio", "name"})
_MAX_ODD = 16


class _Said(msgspec.Struct):
    role: str = ""


class _Head(msgspec.Struct):
    type: str = ""


_said = msgspec.json.Decoder(list[_Said])
_heads = msgspec.json.Decoder(list[_Head])
_messages = msgspec.json.Decoder(list[Fields])


def repair_of_turns(refusal: Refusal) -> Repair | None:
    """The repair of turns with a role, a content or an item that the server refuses."""
    text, sent, fields = refusal.text, refusal.sent, refusal.fields
    if contains_any(text, _NO_USER) and _lacks_user(fields):
        return Repair("user", Change({"user_required": True}))
    if "input" in fields and _refuses_item(refusal):
        # Items of the vendor's own programs become text, and calls of its own tools become function calls.
        tools = PLAIN_TOOLS if any(mark in sent for mark in _NATIVE_ITEMS) else {}
        return Repair("items", Change({"proofs": (), **tools}))
    if _TYPE_OF_RESULT.search(text) and _RESULT.search(sent):
        return Repair("results", Change({"tool_result_media": False}))
    if (blocks := _find_blocks(refusal)) and "messages" in fields:
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


def repair_of_empty(refusal: Refusal) -> Repair | None:
    """The repair for empty content: send text or null instead; if only null was sent, send text."""
    if _EMPTY_TEXT.search(refusal.sent):
        return Repair("empty content", Change({"empty_content": False}))
    if _NULL_CONTENT.search(refusal.sent):
        return Repair("null content", Change({"empty_content": False, "null_content": False}))
    return None


def repair_of_message_fields(refusal: Refusal) -> Repair | None:
    """A field of messages left out, with all others that no server needs: the next refusal would name one of these. Of
    items, only the id: each type has fields of its own."""
    found = _OF_MESSAGE.search(f"{refusal.param} {refusal.said}")
    owner, name = found.groups() if found is not None else ("messages", "content")
    if owner == "input":
        return Repair("items", Change(refused=("input[].id",))) if name == "id" else None
    if name in CAPABILITIES or name in _IN_MESSAGES - {"name"}:
        return None
    messages = decode_or_none(refusal.field("messages"), _messages) or ()
    odd = {each for message in messages for each in message} - _IN_MESSAGES - CAPABILITIES.keys()
    names = odd | {name} if len(odd) < _MAX_ODD else {name}
    return Repair("messages", Change(refused=tuple([f"messages[].{each}" for each in sorted(names)])))


def _refuses_system(text: str) -> bool:
    if "`tool_result` blocks immediately after" in text:  # the system turn is what stands between
        return True
    return _ROLES.search(text) is not None and ("system" in text or _OTHER_ROLES.search(text) is None)


def _has_late_system(fields: Fields) -> bool:
    """Whether a system turn follows another turn, or stands among the turns of a dialect that has a field for it."""
    turns = fields.get("messages") or fields.get("input") or msgspec.Raw()
    said = decode_or_none(turns, _said) if len(turns) <= LONGEST_WALK else None
    roles = [turn.role for turn in said or ()]
    return not {"system", "developer"}.isdisjoint(roles[0 if "system" in fields else 1 :])


def _lacks_user(fields: Fields) -> bool:
    messages = fields.get("messages", msgspec.Raw())
    said = decode_or_none(messages, _said) if len(messages) <= LONGEST_WALK else None
    return said is not None and all(message.role != "user" for message in said)


def _find_blocks(refusal: Refusal) -> list[str]:
    """The types of sent content blocks that a refusal names; if it only lists what it accepts, those beside them."""
    sent, text = refusal.sent, f"{refusal.param} {refusal.text}"
    if not _SPEAKS_OF_BLOCKS.search(text) or "extra inputs" in text:
        return []
    present = [kind for kind in BLOCKS if f'"{kind}"'.encode() in sent]
    named = [kind for kind in present if _NAMES[kind].search(text)]
    if _LISTS_TYPES.search(text):
        return [kind for kind in present if kind not in named]
    return named or (present if _NAMES_NO_TYPE.search(text) else [])


def _refuses_item(refusal: Refusal) -> bool:
    """Whether a refusal is about the type of an item: in general words, or by the name or the place of one that was
    sent and that not every server knows."""
    text, param = refusal.text, refusal.param
    if _UNKNOWN_ITEM.search(text):
        return True
    named = {name for found in _REFUSED_TYPE.findall(text)[:_MAX_NAMES] for name in found if name}
    place, wordless = _PLACE.search(text) or _PLACE.search(param), _WORDLESS.fullmatch(text)
    if not (named or place or wordless):
        return False
    heads = decode_or_none(refusal.field("input"), _heads) or []
    if place:
        heads = heads[int(place[1]) :][:1]
    basic = _BASIC - {"reasoning"} if _LACKS_SUMMARY.search(text) else _BASIC
    return any(head.type not in basic and (place or wordless or head.type in named) for head in heads)
