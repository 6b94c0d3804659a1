"""Images in a tool's output that is the JSON text of content parts.

Codex, MCP bridges and frameworks write the parts of a result into one string. As text a screenshot would cost a million
tokens, and the model would not see it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any, TypeGuard

import msgspec

from app.conversation.blocks import Block, File, Image, Inline, Text, Url
from app.dialects.foreign.media import read_media
from app.dialects.readable import read_unknown
from app.json_values import any_decoder, decode_or_none

_BEGINS = re.compile(r'(?:\[\s*)?\{\s*"|\[\s*"|data:image/', re.IGNORECASE)
_FIRST = ("[", "{", "d", "D")  # how any of these begins
# Fields of a result of MCP beside its content.
_BESIDE = {"content", "isError", "is_error", "_meta", "structuredContent"}


def read_output(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """The blocks of an output; those in its only text, if that is a list of parts."""
    block = blocks[0] if len(blocks) == 1 else None
    if type(block) is Text and block.cache is None:
        start = block.text[:400].lstrip()
        if start[:1] in _FIRST and _BEGINS.match(start):
            return _read_listed(block.text.strip()) or tuple(blocks)
    return tuple(blocks)


def _read_listed(text: str) -> tuple[Block, ...]:
    """The blocks in a text; none unless it lists parts, with an inline medium or of one dialect's own types."""
    if text[:5].lower() == "data:":
        image = _read_medium({"type": "image_url", "image_url": text})
        return (image,) if _is_inline(image) and " " not in text else ()
    value = decode_or_none(text, any_decoder)
    if isinstance(value, dict):
        value = value["content"] if value.keys() <= _BESIDE and "content" in value else [value]
    if not isinstance(value, list):
        return ()
    media = list(map(_read_medium, value))
    known = all(isinstance(part, dict) and str(part.get("type")).startswith("input_") for part in value)
    if not value or not (known or any(map(_is_inline, media))):
        return ()
    return tuple(chain.from_iterable(map(_read_part, value, media)))


def _read_part(part: Any, medium: Block | None) -> tuple[Block, ...]:
    match part:
        case str(text) | {"type": "text" | "input_text" | "output_text", "text": str(text)}:
            return (Text(text),)
        case {}:
            if medium is not None:
                return (medium,)
            kind = part.get("type")
            raw = msgspec.json.encode(part)
            return read_unknown(raw, kind if isinstance(kind, str) else "data") or (Text(raw.decode()),)
        case _:
            return (Text(msgspec.json.encode(part).decode()),)


def _read_medium(part: Any) -> Image | File | None:
    """The image or document of a part; None for any other part, or one without bytes or a URL."""
    match read_media(part) if isinstance(part, dict) else None:
        case kind, {"type": "base64", "media_type": str(media_type), "data": str(data)}, title:
            where: Inline | Url = Inline(media_type, data)
        case kind, {"type": "url", "url": str(url)}, title:
            where = Url(url)
        case _:
            return None
    return Image(where) if kind == "image" else File(where, title)


def _is_inline(medium: Image | File | None) -> TypeGuard[Image | File]:
    return medium is not None and isinstance(medium.source, Inline)
