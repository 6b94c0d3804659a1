"""Finds readable text in blocks and items of unknown types.

Vendors and clients add types all the time. Their content must reach the model: under a label, as something that it was
told and never as its own words. So all words of the object count, except those that only programs read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from app.conversation.blocks import Block, Image, Inline, Text, Url
from app.json_values import any_decoder, decode_or_none

# Keys whose values are not words for a model, and the endings of similar keys.
_STRUCTURE = frozenset(
    ("type", "id", "status", "role", "model", "format", "mime", "media_type", "mime_type", "detail", "encoding")
) | frozenset(("phase", "signature", "fingerprint", "cache_control", "object", "version", "index", "namespace"))
_STRUCTURE_ENDINGS = ("_id", "_ids", "_type", "_index", "_at", "_token", "_hash", "_signature")
_SEALED_KEYS = re.compile(r"encrypted|ciphertext|redacted")

_IMAGE_KEYS = ("image_url", "url", "result", "data", "image", "b64_json", "screenshot")
_IMAGE_DATA = re.compile(r"data:(image/[a-z0-9.+-]{1,40})(?:;[a-z0-9=.+-]{1,40}){0,3};base64,", re.IGNORECASE)
IMAGE_MAGIC = (("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp"))

# A run of this many characters without a blank is data, not words.
_LONGEST_WORD = 400
_BLANK = re.compile(r"\s")
# Prefixes of OpenAI's ciphertext and of our own envelopes.
CIPHERTEXT = ("gAAAAA", "gw1.")

MAX_CHARACTERS = 200_000
_DEEPEST = 12


def read_unknown(raw: bytes, kind: str) -> tuple[Block, ...]:
    """The words of an object under a label with its type, then its images; empty if there is nothing to read."""
    return label(kind, _pieces_of(raw))


def readable_text(raw: bytes) -> str:
    """The words of an object, without a label; empty if there is nothing to read."""
    return _join_words(_pieces_of(raw))


def label(name: str, found: Iterator[str | Image]) -> tuple[Block, ...]:
    """Words and images under a label that names their origin."""
    pieces = list(found)
    words = _join_words(pieces)
    images = [piece for piece in pieces if isinstance(piece, Image)]
    if not words and not images:
        return ()
    return (Text(f"[{name}] {words}".rstrip()), *images)


def is_ciphertext(text: str) -> bool:
    return text.startswith(CIPHERTEXT)


def inline_image(data: str) -> Inline | None:
    """The image in a text: a data URL, or base64 with the prefix of a known format."""
    if found := _IMAGE_DATA.match(data[:200]):
        return Inline(found[1].lower(), data[found.end() :])
    for beginning, media_type in IMAGE_MAGIC:
        if data.startswith(beginning) and len(data) > 40:
            return Inline(media_type, data)
    return None


def _pieces_of(raw: bytes) -> Iterator[str | Image]:
    return _walk(decode_or_none(raw, any_decoder), "", 0)


def _join_words(pieces: Iterable[str | Image]) -> str:
    return "\n".join(piece for piece in pieces if isinstance(piece, str))[:MAX_CHARACTERS]


def _walk(value: Any, key: str, depth: int) -> Iterator[str | Image]:
    if depth > _DEEPEST:
        return
    match value:
        case str():
            yield from _read_text(value, key)
        case {"type": "input_image" | "image_url" | "image" | "computer_screenshot", "image_url": str(url)} if (
            url.startswith("http")
        ):
            yield Image(Url(url))
        case dict():
            for name, inner in value.items():
                if not _is_structure(name):
                    yield from _walk(inner, name, depth + 1)
        case list():
            for inner in value:
                yield from _walk(inner, key, depth + 1)


def _read_text(text: str, key: str) -> Iterator[str | Image]:
    if key in _IMAGE_KEYS and (image := inline_image(text)) is not None:
        yield Image(image)
    elif text.strip() and not is_ciphertext(text) and not text.startswith("data:") and not _is_data(text):
        yield text


def _is_data(text: str) -> bool:
    return len(text) > _LONGEST_WORD and _BLANK.search(text[:_LONGEST_WORD]) is None and text[:_LONGEST_WORD].isascii()


def _is_structure(name: str) -> bool:
    return name in _STRUCTURE or name.endswith(_STRUCTURE_ENDINGS) or _SEALED_KEYS.search(name[:80]) is not None
