"""Images in a tool's output that is the JSON text of content parts.

Codex, MCP bridges and frameworks write the parts of a result into one string. As text a screenshot would cost a million
tokens, and the model would not see it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from app.conversation.blocks import Block, File, Image, Inline, Text, Url
from app.dialects.foreign.media import read_media

_BEGINS = re.compile(r'(?:\[\s*)?\{\s*"|\[\s*"|data:image/', re.IGNORECASE)
_TEXTS = ("text", "input_text", "output_text")
# Fields of a result of MCP beside its content.
_BESIDE = {"content", "isError", "is_error", "_meta", "structuredContent"}


def read_output(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """The blocks of an output; those in its only text, if that is a list of parts."""
    match blocks:
        case [Text(text=text, cache=None)] if _BEGINS.match(text[:400].lstrip()):
            return _read_listed(text.strip()) or tuple(blocks)
        case _:
            return tuple(blocks)


def _read_listed(text: str) -> tuple[Block, ...]:
    """The blocks in a text; none unless all of it are parts, with a medium or of one dialect's own types."""
    if text[:5].lower() == "data:":
        image = read_media({"type": "image_url", "image_url": text})
        return _blocks_of([image]) if image is not None and image[1]["type"] == "base64" and " " not in text else ()
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ()
    if isinstance(value, dict):
        value = value["content"] if value.keys() <= _BESIDE and "content" in value else [value]
    if not isinstance(value, list):
        return ()
    read = [_read_part(part) for part in value]
    shown = any(isinstance(part, tuple) and part[1]["type"] == "base64" for part in read)
    known = all(isinstance(part, dict) and str(part.get("type")).startswith("input_") for part in value)
    return _blocks_of(read) if read and (shown or known) and None not in read else ()


def _read_part(part: Any) -> Any:
    """A text, a medium, or None for anything else."""
    match part:
        case str():
            return part
        case {"type": str(kind), "text": str(text)} if kind in _TEXTS:
            return text
        case {} if (medium := read_media(part)) is not None and medium[1]["type"] in ("base64", "url"):
            return medium
        case _:
            return None


def _blocks_of(read: Sequence[Any]) -> tuple[Block, ...]:
    return tuple(Text(part) if isinstance(part, str) else _block_of(*part) for part in read)


def _block_of(kind: str, source: dict[str, Any], title: str | None) -> Block:
    inline = source["type"] == "base64"
    where = Inline(source["media_type"], source["data"]) if inline else Url(str(source.get("url")))
    return Image(where) if kind == "image" else File(where, title)
