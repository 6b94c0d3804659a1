"""Parses reply content that is a list of parts, and replies inside a server's own envelope.

The contract allows only text. Mistral and Magistral add thinking, Databricks Claude's reasoning, proxies Anthropic's
blocks including calls, and others the parts of their own dialect.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from app.conversation.literals import text_of
from app.dialects.json_bodies import encode_body
from app.dialects.malformed import split_documents
from app.json_values import UNREADABLE, fields_decoder

_TEXTS = ("text", "content", "value", "output_text", "input_text", "summary_text")
THOUGHTS = ("thinking", "reasoning", "reasoning_content", "summary", "text", "content", "thought")
_CALLS = ("tool_use", "tool_call", "function_call", "function")
_DEEPEST = 4


class Said(NamedTuple):
    """The content of one part. For a call, `text` is its arguments."""

    kind: Literal["text", "reasoning", "refusal", "call"]
    text: str
    name: str = ""
    id: str | None = None


def open_envelope(payload: bytes) -> bytes | None:
    """The chunk or the reply that a server wraps in a field of its own envelope, or in a list; None if there is none.

    The field is `data` at Cline (router-for-me/CLIProxyAPI#4512), `result` at Cloudflare, `output` at DashScope, and a
    `body` of text at functions behind an API gateway.
    """
    if b"choices" not in payload:
        return None
    if not payload.lstrip().startswith(b"{"):
        documents = split_documents(payload) or []
        return documents[0] if len(documents) == 1 else None
    try:
        outer = fields_decoder.decode(payload)
        if "choices" in outer or bytes(outer.get("error", b"null")) not in (b"null", b"{}", b'""', b"false"):
            return None
        return next((inner for value in outer.values() if (inner := _open(bytes(value), outer))), None)
    except UNREADABLE:
        return None


def _open(value: bytes, outer: dict[str, msgspec.Raw]) -> bytes | None:
    """The reply that is the value of an envelope's field, with the counts beside it."""
    if b"choices" not in value:
        return None
    if value.startswith(b'"{'):
        value = text_of(value).encode()
    if not value.startswith(b"{") or not bytes((inner := fields_decoder.decode(value)).get("choices", b"")).startswith(
        b"["
    ):
        return None
    if "usage" in inner or "usage" not in outer:
        return value
    return msgspec.json.encode({**inner, "usage": outer["usage"]})


def is_odd_content(content: msgspec.Raw) -> bool:
    """Whether a content is neither a text nor empty."""
    return len(content) > 0 and bytes(memoryview(content)[:1]) not in b'"n'


def read_parts(content: Any) -> Iterator[Said]:
    """The content of a reply's decoded parts, in order. Parts with nothing to read are skipped."""
    for part in content if isinstance(content, list) else [content]:
        piece = _read_part(part)
        if piece is not None and (piece.text or piece.kind == "call"):
            yield piece


def text_of_part(value: Any, names: tuple[str, ...] = _TEXTS, depth: int = 0) -> str:
    """The text in a part: a string, a list of them, or the first non-empty one of several fields."""
    match value:
        case str():
            return value
        case [*inner] if depth < _DEEPEST:
            return "".join([text_of_part(one, names, depth + 1) for one in inner])
        case {} if depth < _DEEPEST:
            found = (text_of_part(value[name], names, depth + 1) for name in names if value.get(name))
            return next((text for text in found if text), "")
        case _:
            return ""


def transcript_of(audio: msgspec.Raw) -> str:
    """The words of a spoken answer."""
    match msgspec.json.decode(audio):
        case {"transcript": str(words)}:
            return words
        case _:
            return ""


def _read_part(part: Any) -> Said | None:
    match part:
        case str():
            return Said("text", part)
        case {"refusal": str(refusal)}:
            return Said("refusal", refusal)
        case {"image_url": {"url": str(url)} | str(url)} if not url.startswith("data:"):
            return Said("text", f"![image]({url})")
        case {}:
            kind = str(part.get("type") or "").lower()
            if kind in _CALLS and (call := _read_call(part)) is not None:
                return call
            if "think" in kind or "reason" in kind or (not kind and "thinking" in part):
                return Said("reasoning", text_of_part(part, THOUGHTS))
            return Said("text", text_of_part(part))
        case None | bool():
            return None
        case _:
            return Said("text", encode_body(part).decode())


def _read_call(part: dict[str, Any]) -> Said | None:
    function = part.get("function")
    inner: dict[str, Any] = function if isinstance(function, dict) else part
    name = inner.get("name")
    if not isinstance(name, str) or not name:
        return None
    given: Any = next((inner[key] for key in ("arguments", "input", "parameters") if inner.get(key) is not None), {})
    identifier = part.get("id") or part.get("call_id")
    arguments = given if isinstance(given, str) else msgspec.json.encode(given).decode()
    return Said("call", arguments, name, str(identifier) if identifier else None)
