"""Tells messages and items in the shape of another dialect or a library from those of a path's own dialect."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from app.dialects.foreign.choices import Shape
from app.dialects.foreign.pieces import IN_PLACE, RESULT_ROLES, Called, is_silent, plain_role, read_call_or_result
from app.dialects.foreign.untyped_parts import is_untyped

_MESSAGES: Shape = "messages"
_CHAT: Shape = "chat"
_RESPONSES: Shape = "items"

# Fields in which libraries put media beside a message's content, and those of Chat that hold what was said.
BESIDE = frozenset(("parts", "images", "attachments", "experimental_attachments"))
BESIDE_CONTENT = BESIDE | {"reasoning_content", "refusal"}
# What libraries put there that no dialect has a place for.
UNTOLD = ("audio", "files", "toolInvocations")
WHY_UNTOLD = "only the content of a message is carried to other dialects"

# Types of parts and blocks that a dialect's own parser does not read, and other marks of another dialect.
_FOREIGN_TYPES: dict[Shape, bytes] = {
    _MESSAGES: (
        b"image_url|input_text|output_text|input_image|input_file|file|media|tool-call|tool-result|function_call"
    ),
    _CHAT: b"tool-call|tool-result",
    _RESPONSES: b"tool_use|tool_result|image|document|file|media|thinking|redacted_thinking|tool-call|tool-result",
}
FOREIGN_BLOCKS = frozenset(_FOREIGN_TYPES[_MESSAGES].decode().split("|"))
SIGNS: dict[Shape, re.Pattern[bytes]] = {
    shape: re.compile(rb'"type"\s{0,4}:\s{0,4}"(?:%b)"|"tool_calls"\s{0,4}:\s{0,4}\[' % types)
    if shape != _CHAT
    else re.compile(rb'"type"\s{0,4}:\s{0,4}"(?:%b)"' % types)
    for shape, types in _FOREIGN_TYPES.items()
}
# Types of content that Messages has in another form.
_BLOCKS = ("input_text", "output_text", "image_url", "input_image", "file", "input_file", "image", "media")
_ITEM_PARTS = ("image", "document", "file", "media", "thinking", "redacted_thinking")


def is_foreign(value: Any, shape: Shape) -> bool:
    if not isinstance(value, dict):
        return False
    role = value.get("role")
    if isinstance(role, str) and (plain_role(role) != role or (role == "developer" and shape == _MESSAGES)):
        return True
    if role is not None and _has_more(value, shape):
        return True
    parts = _parts_of(value)
    return any(map(is_silent, parts)) or any(map(is_untyped, parts)) or _FOREIGN[shape](value, role)


def _has_more(message: dict[str, Any], shape: Shape) -> bool:
    """Whether a message says something outside its content."""
    if message.get("content") is None and any(message.get(name) is not None for name in IN_PLACE):
        return True
    return not (BESIDE if shape == _CHAT else BESIDE_CONTENT).isdisjoint(message)


def _is_no_message(value: dict[str, Any], role: Any) -> bool:
    if role in RESULT_ROLES or "tool_calls" in value or (role is None and read_call_or_result(value) is not None):
        return True
    content = value.get("content")
    if isinstance(content, dict) and "type" in content:
        return True
    return any(isinstance(part, str) or _is_odd_block(part) for part in _parts_of(value))


def _is_odd_block(part: Any) -> bool:
    match part:
        case {"type": "tool_result", **result}:
            odd = result.get("is_error") in ("true", "false") or not result.get("tool_use_id")
            return odd or not _is_content(result.get("content"))
        case {"type": "tool_use", **call}:
            return not call.get("id")
        case {"type": "image", "source": _}:
            return False
        case {"type": str(kind)}:
            return kind in _BLOCKS or (isinstance(read_call_or_result(part), Called) and kind != "tool_use")
        case _:
            return False


def _is_content(content: Any) -> bool:
    """Whether a result's content is in the form of Messages."""
    parts = content if isinstance(content, list) else [content]
    return all(
        (isinstance(part, str | None) and part is content)
        or (isinstance(part, dict) and "type" in part and not _is_odd_block(part))
        for part in parts
    )


def _is_no_chat(value: dict[str, Any], role: Any) -> bool:
    if role == "tool" and not all(isinstance(part, str | dict) for part in _parts_of(value)):
        return True
    calls = value.get("tool_calls")
    if isinstance(calls, list) and any(isinstance(call, dict) and not _has_call(call) for call in calls):
        return True
    if role == "tool" and not value.get("tool_call_id"):
        return True
    return any(isinstance(part, dict) and "toolCallId" in part for part in _parts_of(value))


def _has_call(call: dict[str, Any]) -> bool:
    function = call.get("function")
    if isinstance(function, dict) and "arguments" not in function:
        return False
    return bool(call.get("id")) and (isinstance(function, dict) or isinstance(call.get("custom"), dict))


def _is_no_item(value: dict[str, Any], role: Any) -> bool:
    if role in RESULT_ROLES or "tool_calls" in value or (role is None and value.get("type") == "message"):
        return True
    match value:
        case {"type": "function_call_output", "output": output}:
            return not _is_output(output)
        case {"type": "reasoning", "summary": str()}:
            return True
    content = value.get("content")
    return isinstance(content, dict) or any(isinstance(part, str) or _is_odd_part(part) for part in _parts_of(value))


def _is_output(output: Any) -> bool:
    if isinstance(output, list):
        return all(isinstance(part, dict) and "type" in part and not _is_odd_part(part) for part in output)
    return isinstance(output, str | None)


def _is_odd_part(part: Any) -> bool:
    match part:
        case {"type": "input_image" | "image_url", **image}:
            return "image_url" not in image and "file_id" not in image
        case {"type": "function_call" | "function_call_output"}:
            return False
        case {"type": str(kind)}:
            return kind in _ITEM_PARTS or read_call_or_result(part) is not None
        case _:
            return False


def _parts_of(value: dict[str, Any]) -> Sequence[Any]:
    content = value.get("content")
    return content if isinstance(content, list) else [content] if isinstance(content, dict) else ()


_FOREIGN: dict[Shape, Callable[[dict[str, Any], Any], bool]] = {
    _MESSAGES: _is_no_message,
    _CHAT: _is_no_chat,
    _RESPONSES: _is_no_item,
}
