"""Parses reply content that is a list of parts, and replies inside a server's own envelope.

The contract allows only text. Mistral and Magistral add thinking, Databricks Claude's reasoning, proxies Anthropic's
blocks including calls, and others the parts of their own dialect.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from app.dialects.json_bodies import encode_body
from app.json_values import decode_or_none

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


class _Inner(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None


class _Envelope(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw()


_envelope_decoder = msgspec.json.Decoder(_Envelope)
_inner_decoder = msgspec.json.Decoder(_Inner)


def open_envelope(payload: bytes) -> bytes | None:
    """The chunk or the reply that a server wraps in the `data` of its own envelope, such as Cline's API
    (router-for-me/CLIProxyAPI#4512); None if there is none."""
    if b'"data"' not in payload or b'"choices"' not in payload:
        return None
    data = (decode_or_none(payload, _envelope_decoder) or _Envelope()).data
    inner = decode_or_none(data, _inner_decoder)
    return bytes(data) if inner is not None and inner.choices is not None else None


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
