"""Tells the messages that keep a request from passing."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.literals import EMPTY, is_blank
from app.dialects.json_bodies import is_set
from app.dialects.openai_chat.messages.foreign_parts import FOREIGN_TYPES
from app.dialects.openai_chat.vocabulary import REASONING_KEYS, ROLES
from app.json_values import any_decoder, decode_or_none

# The ids of calls that some servers accept; the others accept any.
_CALL_IDS = {"mistral": re.compile(r"[a-zA-Z0-9]{9}"), "openai": re.compile(r".{1,40}", re.DOTALL)}
# Types of parts that have another name or shape in this dialect.
_FOREIGN = FOREIGN_TYPES | {"input_text", "output_text", "summary_text", "input_image", "input_file", "tool-call"}
# Roles whose texts need no check, and the first byte of a text.
_SAID = ("user", "system")
_QUOTE = ord('"')
# How content begins that is a text, null or missing.
_PLAIN = (b'"', b"n", b"")
# How an image's URL begins, by whether images of the web are taken.
_IMAGE_URLS = {True: ("http", "data:"), False: ("data:",)}
_ENDS_OF_OBJECTS = (b"}", b"}\\n")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]+")


class _CalledFunction(msgspec.Struct):
    name: Any = None
    arguments: msgspec.Raw = msgspec.Raw()


class _Call(msgspec.Struct):
    id: Any = None
    type: Any = None
    name: Any = None
    function: _CalledFunction | None = None
    extra_content: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct):
    type: Any = None
    text: Any = ""
    image_url: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    """The fields that decide whether a message may pass; its other fields are skipped, not decoded."""

    role: str = ""
    content: msgspec.Raw = msgspec.Raw()
    tool_calls: list[_Call] | None = None
    tool_call_id: Any = None
    name: Any = None
    refusal: str | None = None
    reasoning_content: msgspec.Raw = msgspec.Raw()
    reasoning: msgspec.Raw = msgspec.Raw()
    reasoning_details: msgspec.Raw = msgspec.Raw()
    thinking_blocks: msgspec.Raw = msgspec.Raw()


_messages_decoder = msgspec.json.Decoder(list[_Message])
_parts_decoder = msgspec.json.Decoder(list[_Part])


def has_odd_messages(messages: msgspec.Raw, can: Capabilities) -> bool:
    """Whether an upstream would refuse one of the messages, or their order."""
    outline = decode_or_none(messages, _messages_decoder)
    if not outline:
        return False  # the upstream will report what is wrong with them
    if not can.prefill and outline[-1].role == "assistant":
        return True
    if not can.system_text and outline[0].role in ("system", "developer"):
        return True
    if can.user_required and all(message.role != "user" for message in outline):
        return True
    if not can.empty_content and any(map(_lacks_content, outline)):
        return True
    calls = False
    for message in outline:
        if message.tool_calls or message.role == "tool":
            calls = True
        elif message.role in _SAID and len(message.content) and memoryview(message.content)[0] == _QUOTE:
            continue  # a text needs no check
        if _is_odd_message(message, can):
            return True
    if calls and _has_loose_calls(outline):
        return True
    looks_at_order = can.merge_system or can.alternate or not can.user_after_results or can.late_system == "reminder"
    return looks_at_order and _is_odd_order(outline, can)


def _lacks_content(message: _Message) -> bool:
    """Whether a message may have empty content; parts are not checked, and only a user's are assumed to be filled."""
    first = bytes(memoryview(message.content)[:1])
    if first == b'"':
        return is_blank(bytes(message.content))
    return message.role != "user" if first == b"[" else not message.tool_calls


def _is_odd_message(message: _Message, can: Capabilities) -> bool:
    role, content = message.role, message.content
    if role not in ROLES or (role == "developer" and can.system_role == "system"):
        return True
    first = bytes(memoryview(content)[:1])
    if first == b"[":
        if (can.string_content and (role != "user" or b'"image' not in bytes(content))) or _has_odd_parts(
            content, role, can
        ):
            return True
    elif first not in _PLAIN:
        return True
    if role == "tool" and can.result_names and not message.name:
        return True
    return role == "assistant" and _is_odd_answer(message, can)


def _has_odd_parts(content: msgspec.Raw, role: str, can: Capabilities) -> bool:
    parts = decode_or_none(content, _parts_decoder)
    return parts is None or any(_is_odd_part(part, role, can) for part in parts)


def _is_odd_part(part: _Part, role: str, can: Capabilities) -> bool:
    match part.type:
        case "text" | None:
            return part.type is None or not isinstance(part.text, str)
        case "image_url":
            if not can.images or can.images_limit is not None or (role == "tool" and not can.tool_result_media):
                return True
            match decode_or_none(part.image_url, any_decoder):
                case {"url": str(url)}:
                    return not url[:5].lower().startswith(_IMAGE_URLS[can.image_urls])
            return True
        case "file":
            return not can.documents
        case "refusal":
            return not can.refusals
        case kind:
            return not isinstance(kind, str) or kind in _FOREIGN


def _is_odd_answer(message: _Message, can: Capabilities) -> bool:
    """Whether the upstream would refuse a past answer, or a call in it."""
    thoughts = [name for name in REASONING_KEYS if is_set(getattr(message, name, msgspec.Raw()))]
    if any(name != can.reasoning_replay for name in thoughts):
        return True
    if message.refusal and not can.refusals:
        return True
    calls = message.tool_calls
    if not calls:
        # An empty list is what vLLM answers with and OpenAI refuses.
        return (can.reasoning_always and not thoughts) or (calls is not None and can.tool_id == "openai")
    if not can.null_content and bytes(message.content) in (b"", b"null"):
        return True
    if can.reasoning_required and not can.empty_content:
        thoughts = [name for name in thoughts if getattr(message, name) != b'""']
    if (can.reasoning_required and not thoughts) or (can.unsigned_call and not is_set(calls[0].extra_content)):
        return True
    return any(_is_odd_call(call, can) for call in calls)


def _is_odd_call(call: _Call, can: Capabilities) -> bool:
    """Whether a past call lacks a name, a type or readable arguments; even the vendor accepts empty text as
    arguments."""
    legal = _CALL_IDS.get(can.tool_id)
    if legal is not None and (not isinstance(call.id, str) or legal.fullmatch(call.id) is None):
        return True
    function = call.function
    if function is None:
        return call.name is not None  # the flat form of other libraries
    raw = bytes(function.arguments)
    if not call.id:
        return True
    if not function.name or call.type is None or not raw.startswith(b'"'):
        return True
    # The name of a tool that is no longer declared may be one that only another server accepts.
    if not isinstance(function.name, str) or not (function.name.isidentifier() or TOOL_NAME.fullmatch(function.name)):
        return True
    if len(function.name) > can.tool_name_limit:
        return True
    # Arguments that were cut short have no brace at their end.
    return raw != EMPTY and not raw.rstrip(b' "\t').endswith(_ENDS_OF_OBJECTS)


def _has_loose_calls(messages: list[_Message]) -> bool:
    """Whether a call has no result directly after it, a result no call, or two calls of an answer the same id."""
    waiting: set[Any] = set()
    for message in messages:
        if message.role == "tool":
            answered = message.tool_call_id
            if not isinstance(answered, str) or answered not in waiting:
                return True
            waiting.discard(answered)
        elif waiting:
            return True
        elif message.tool_calls:
            waiting = {str(call.id) for call in message.tool_calls}
            if len(waiting) < len(message.tool_calls):
                return True
    return bool(waiting)


def _is_odd_order(messages: list[_Message], can: Capabilities) -> bool:
    roles = [message.role for message in messages]
    first = next((index for index, role in enumerate(roles) if role != "system"), len(roles))
    if can.merge_system and first > 1:
        return True
    if (can.merge_system or can.late_system == "reminder") and "system" in roles[first:]:
        return True
    pairs = list(zip(roles[first:], roles[first + 1 :], strict=False))
    if can.alternate and (roles[first : first + 1] == ["assistant"] or ("user", "user") in pairs):
        return True
    if can.alternate and any(
        pair == ("assistant", "assistant") and not messages[first + index].tool_calls
        for index, pair in enumerate(pairs)
    ):
        return True
    return not can.user_after_results and ("tool", "user") in pairs
