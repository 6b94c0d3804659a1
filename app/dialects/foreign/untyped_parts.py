"""Content parts of Gemini and of Bedrock, which have no type: the one field that they have says what they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

_WORDS = ("txt", "md", "csv", "html")  # formats of documents that are text


def with_type(part: Any) -> Any:
    """A part with its type, in the shape of Messages or of a library; any other value unchanged."""
    if not isinstance(part, dict) or "type" in part:
        return part
    name = next((name for name in _WRITERS if name in part), None)
    if name is None or not isinstance(part[name], _KINDS.get(name, dict)):
        return part
    return _WRITERS[name](part[name])


def is_untyped(part: Any) -> bool:
    return isinstance(part, dict) and with_type(part) is not part


def _text(words: str | None) -> Any:
    return {"type": "text", "text": words}


def _call(call: dict[str, Any]) -> Any:
    named = {"id": call.get("id", call.get("toolUseId")), "name": call.get("name")}
    return {"type": "tool_use", **named, "input": call.get("args", call.get("input"))}


def _response(result: dict[str, Any]) -> Any:
    return {"type": "tool_result", "tool_use_id": result.get("id"), "content": json.dumps(result.get("response"))}


def _result(result: dict[str, Any]) -> Any:
    answer = {"type": "tool_result", "tool_use_id": result.get("toolUseId"), "content": result.get("content")}
    return {**answer, "is_error": True} if result.get("status") == "error" else answer


def _medium(kind: str, medium: dict[str, Any]) -> Any:
    form, source = medium.get("format"), medium.get("source")
    media_type = "text/plain" if form in _WORDS else f"{'image' if kind == 'image' else 'application'}/{form}"
    data = source.get("bytes") if isinstance(source, dict) else None
    return {"type": kind, "source": {"type": "base64", "media_type": media_type, "data": data}}


def _linked(file: dict[str, Any]) -> Any:
    return {"type": "media", "url": file.get("fileUri", file.get("file_uri")), **file}


def _thought(reasoning: dict[str, Any]) -> Any:
    said = reasoning.get("reasoningText")
    text = said if isinstance(said, dict) else {}
    return {"type": "thinking", "thinking": text.get("text") or "", "signature": text.get("signature") or ""}


_WRITERS: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "json": lambda value: _text(json.dumps(value)),
    "inlineData": lambda data: {"type": "media", **data},
    "inline_data": lambda data: {"type": "media", **data},
    "fileData": _linked,
    "file_data": _linked,
    "functionCall": _call,
    "function_call": _call,
    "functionResponse": _response,
    "function_response": _response,
    "toolUse": _call,
    "toolResult": _result,
    "image": lambda image: _medium("image", image),
    "document": lambda document: _medium("document", document),
    "reasoningContent": _thought,
    "cachePoint": lambda _: _text(None),  # says nothing, and is left out
}
_KINDS: dict[str, Any] = {"text": str, "json": object}
