"""Writes neutral pieces of a history in the shape of each dialect."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from app.dialects.foreign.choices import Shape
from app.dialects.foreign.media import read_media
from app.dialects.foreign.pieces import TEXTS, Answered, Called, Piece, Said
from app.dialects.foreign.untyped_parts import is_untyped, with_type

_MEDIA = ("image", "image_url", "input_image", "document", "file", "input_file")


def _write_messages(pieces: Sequence[Piece]) -> Iterator[dict[str, Any]]:
    message: dict[str, Any] | None = None
    for piece in pieces:
        match piece:
            case Said(role=role, parts=parts):
                parts = [*_spoken_in(piece.more), *parts]
                role, blocks = {"developer": "system"}.get(role, role), [_as_block(part) for part in parts]
            case Called():
                role, blocks = (
                    "assistant",
                    [{"type": "tool_use", "id": piece.id, "name": piece.name, "input": _as_object(piece.arguments)}],
                )
            case Answered():
                block = {
                    "type": "tool_result",
                    "tool_use_id": piece.id,
                    "content": _as_content(piece.content, _as_block),
                }
                role, blocks = "user", [{**block, "is_error": True} if piece.is_error else block]
        if message is None or message["role"] != role:
            if message is not None:
                yield message
            message = {"role": role, "content": []}
        message["content"] += blocks
    if message is not None:
        yield message


def _write_chat(pieces: Sequence[Piece]) -> Iterator[dict[str, Any]]:
    message: dict[str, Any] | None = None
    for piece in pieces:
        match piece:
            case Said(role=role, parts=parts, more=more):
                if message is not None:
                    yield message
                content = parts[0] if len(parts) == 1 and isinstance(parts[0], str) else parts or None
                message = {"role": role, **more, "content": content}
            case Called():
                message = message or {"role": "assistant", "content": None}
                function = {"name": piece.name, "arguments": _as_text(piece.arguments, "{}")}
                call = {"id": piece.id, "type": "function", "function": function}
                message["tool_calls"] = [*message.get("tool_calls", ()), call]
            case Answered():
                if message is not None:
                    yield message
                message = None
                yield {"role": "tool", "tool_call_id": piece.id, "content": _as_content(piece.content, _same)}
    if message is not None:
        yield message


def _write_items(pieces: Sequence[Piece]) -> Iterator[dict[str, Any]]:
    for piece in pieces:
        match piece:
            case Said(role=role, parts=parts):
                yield from _write_spoken(role, [*_spoken_in(piece.more), *parts])
            case Called():
                arguments = _as_text(piece.arguments, "{}")
                yield {"type": "function_call", "call_id": piece.id, "name": piece.name, "arguments": arguments}
            case Answered():
                output = _as_content(piece.content, _as_part)
                if piece.is_error:
                    output = f"[tool error] {output}" if isinstance(output, str) else [_text("[tool error]"), *output]
                yield {"type": "function_call_output", "call_id": piece.id, "output": output}


def _spoken_in(more: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What a message of Chat says in fields that other dialects lack, as parts."""
    match more.get("reasoning_content"):
        case str(thought) if thought:
            yield {"type": "thinking", "thinking": thought}
    match more.get("refusal"):
        case str(refusal) if refusal:
            yield _text(refusal)


def _write_spoken(role: str, parts: Sequence[Any]) -> Iterator[dict[str, Any]]:
    content: list[Any] = []
    for part in parts:
        match part:
            case {"type": "thinking", "thinking": str(thought)}:
                summary = [{"type": "summary_text", "text": thought}]
                yield {"type": "reasoning", "summary": summary}
            case {"type": "redacted_thinking"}:
                pass
            case _:
                content.append(_as_part(part))
    if content:
        yield {"type": "message", "role": role, "content": content}


WRITERS: dict[Shape, Callable[[Sequence[Piece]], Iterator[dict[str, Any]]]] = {
    "messages": _write_messages,
    "chat": _write_chat,
    "items": _write_items,
}


def _as_content(content: Any, write: Callable[[Any], Any]) -> Any:
    """The content of a tool's result: words, parts, or any other JSON as text."""
    match content:
        case None:
            return ""
        case str():
            return content
        case [*parts] if parts and all(map(_is_part, parts)):
            return [write(_text(part) if isinstance(part, str) else part) for part in parts]
        case {"type": str(kind)} if kind in (*TEXTS, *_MEDIA):
            return [write(content)]
        case {"content": [*parts]} if parts and all(map(_is_part, parts)):  # a whole result of MCP
            return _as_content(parts, write)
        case [*parts] if parts and all(map(is_untyped, parts)):
            return _as_content([with_type(part) for part in parts], write)
        case _:
            return _as_text(content, "")


def _is_part(part: Any) -> bool:
    return isinstance(part, str) or (isinstance(part, dict) and "type" in part)


def _as_text(value: Any, nothing: str) -> str:
    if value is None:
        return nothing
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _as_object(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return {} if arguments is None else arguments
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        return arguments
    return value if isinstance(value, dict) else arguments


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def _same(part: Any) -> Any:
    return part


def _as_block(part: Any) -> Any:
    """A part of any dialect as a block of Messages; anything else unchanged."""
    match part:
        case str() | {"type": "input_text" | "output_text", "text": str()}:
            return _text(part if isinstance(part, str) else part["text"])
        case dict() if (media := read_media(part)) is not None:
            name, source, title = media
            block = {"type": name, "source": source, **({"title": title} if title and name == "document" else {})}
            hint = part.get("cache_control")
            return {**block, "cache_control": hint} if hint is not None else block
        case _:
            return part


def _as_part(part: Any) -> Any:
    """A part of any dialect as a part of Responses; anything else unchanged."""
    match part:
        case str() | {"text": str(), "type": "text" | "input_text" | "output_text"}:
            return {"type": "input_text", "text": part if isinstance(part, str) else part["text"]}
        case dict() if (media := read_media(part)) is not None:
            name, source, title = media
            return _write_media(name, source, title)
        case _:
            return part


def _write_media(name: str, source: dict[str, Any], title: str | None) -> dict[str, Any]:
    match source:
        case {"type": "text", "data": data}:
            return {"type": "input_text", "text": data}
        case {"type": "url", "url": url}:
            return (
                {"type": "input_image", "image_url": url}
                if name == "image"
                else {"type": "input_file", "file_url": url}
            )
        case {"type": "file", "file_id": file_id}:
            return {"type": "input_image" if name == "image" else "input_file", "file_id": file_id}
        case {"media_type": media_type, "data": data}:
            url = f"data:{media_type};base64,{data}"
            if name == "image":
                return {"type": "input_image", "image_url": url}
            return {"type": "input_file", "filename": title or "document.pdf", "file_data": url}
        case _:
            return {"type": name, "source": source}
