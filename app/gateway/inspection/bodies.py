"""Prepares bodies for storing: masks secrets, replaces files, cuts to a maximum length."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from typing import Any

from app.logs import hide_secrets

# Maximum bytes read of one body, and maximum characters stored of it.
MAX_READ = 8 << 20
MAX_KEPT = 256 * 1024
# If a body is still too long, its texts are cut to each of these lengths in turn until it fits.
_LENGTHS = (20_000, 4000, 800, 160)
# Base64-encoded files: nothing else is that long without a space.
_ENCODED = re.compile(r'"(?:data:([\w.+-]{1,40}/[\w.+-]{1,60});base64,)?([A-Za-z0-9+/_-]{1024,}+={0,2})"')
_MAGIC = (
    (b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp"),
    (b"%PDF", "application/pdf"), (b"PK\x03\x04", "application/zip"),
)  # fmt: skip
# Fields that always hold a secret.
_SECRET_FIELD = re.compile(
    r'("(?:api[-_]?key|x-api-key|access_token|refresh_token|id_token|authorization|password|passwd|client_secret|secret'
    r'|private_key|cookie|set-cookie)"\s{0,8}:\s{0,8})"(?:[^"\\]|\\.){1,8000}+"',
    re.IGNORECASE,
)


def clean_body(data: bytes) -> tuple[str, bool]:
    """The cleaned text of a body, and whether part of it is missing."""
    cut = len(data) > MAX_READ
    text = clean_text(data[:MAX_READ].decode("utf-8", "replace"))
    if len(text) <= MAX_KEPT:
        return text, cut
    if not cut and text[:1] in "{[":
        shortened = _shorten(text, MAX_KEPT)
        if shortened is not None:
            return shortened, True
    return text[:MAX_KEPT], True


def clean_text(text: str) -> str:
    """Masks secrets, and replaces each encoded file by its kind, size and hash."""
    text = _ENCODED.sub(_summarise_file, text)
    text = _SECRET_FIELD.sub(r'\1"[masked]"', text)
    return hide_secrets(text)


def indent_json(text: str, *, indent: int = 2, is_sorted: bool = False) -> str:
    """Indents JSON for display, with its fields in their order or sorted; returns any other text unchanged."""
    try:
        return json.dumps(json.loads(text), indent=indent, ensure_ascii=False, sort_keys=is_sorted)
    except (ValueError, RecursionError):
        return text


def _summarise_file(found: re.Match[str]) -> str:
    encoded = found[2]
    kind = found[1] or _find_kind(encoded)
    digest = hashlib.sha256(encoded.encode()).hexdigest()[:16]
    return f'"[{kind}, {len(encoded) * 3 // 4} bytes, sha256 {digest}]"'


def _find_kind(encoded: str) -> str:
    try:
        head = base64.b64decode(encoded[:32].replace("-", "+").replace("_", "/"))
    except (binascii.Error, ValueError):
        return "encoded data"
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), "encoded data")


def _shorten(text: str, maximum: int) -> str | None:
    """Cuts the texts inside JSON, so that it stays valid JSON; None if that does not make it short enough."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for length in _LENGTHS:
        value = _cut_texts(value, length)
        shortened = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if len(shortened) <= maximum:
            return shortened
    return None


def _cut_texts(value: Any, length: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= length else f"{value[:length]}… ({len(value)} characters)"
    if isinstance(value, list):
        return [_cut_texts(each, length) for each in value]
    if isinstance(value, dict):
        return {name: _cut_texts(each, length) for name, each in value.items()}
    return value
