"""Parses message parts in the shape of another dialect's blocks, which some clients send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from app.conversation.blocks import Block, Image, Reasoning, Url
from app.dialects.anthropic_messages.content.blocks import read_block
from app.dialects.foreign.media import read_media
from app.dialects.json_bodies import read_value
from app.dialects.readable import inline_image
from app.json_values import object_decoder

NoteField = Callable[[str, msgspec.Raw], None]

# Types of Anthropic Messages that this dialect lacks.
MESSAGES_TYPES = ("tool_use", "tool_result", "redacted_thinking", "document", "search_result")
_AMBIGUOUS = ("image", "thinking", "reasoning", "media")
FOREIGN_TYPES = frozenset((*MESSAGES_TYPES, *_AMBIGUOUS))


def read_foreign(kind: str, raw: msgspec.Raw, path: str, note: NoteField) -> Block | None:
    """The block of another dialect; None if the part is none. Raises InvalidRequest."""
    if kind in MESSAGES_TYPES:
        return read_block(raw, path, note)
    if kind not in _AMBIGUOUS:
        return None
    match read_value(raw, object_decoder, path):
        case {"type": "image", "source": dict()} | {"type": "thinking", "thinking": str()}:
            return read_block(raw, path, note)
        case {"type": "image", "image": str(url)} | {"type": "image", "url": str(url)}:
            image = inline_image(url)
            return Image(image if image is not None else Url(url))
        case {"type": "reasoning", **said}:  # LangChain, the AI SDK, or an item of Responses
            return Reasoning(_text_of(said))
    return read_library_medium(raw, path, note)


def read_library_medium(raw: msgspec.Raw, path: str, note: NoteField) -> Block | None:
    """An image or document as a library has it; None for any other part."""
    part: dict[str, Any] = read_value(raw, object_decoder, path)
    medium = read_media(part)
    if medium is None:
        return None
    kind, source, title = medium
    block = {"type": kind, "source": source, **({"title": title} if title and kind == "document" else {})}
    return read_block(msgspec.Raw(msgspec.json.encode(block)), path, note)


def _text_of(fields: dict[str, Any]) -> str:
    for name in ("reasoning", "text", "summary", "content"):
        match fields.get(name):
            case str(text):
                return text
            case [*parts]:
                return "\n\n".join(part["text"] for part in parts if isinstance(part, dict) and "text" in part)
    return ""
