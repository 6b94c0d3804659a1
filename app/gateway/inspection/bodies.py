"""Prepares bodies for storing: without secrets or files, and cut."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from typing import Any

from app.logs import hide_secrets

# Bytes of one body that are looked at, and characters that are kept of it.
MOST_READ = 8 << 20
MOST_KEPT = 256 * 1024
# Where a body is still too long, its longest texts are cut to one length after the other.
_LENGTHS = (20_000, 4000, 800, 160)
# Encoded files: nothing else is that long without a space.
_ENCODED = re.compile(r'"(?:data:([\w.+-]{1,40}/[\w.+-]{1,60});base64,)?([A-Za-z0-9+/_-]{1024,}+={0,2})"')
_MAGIC = (
    (b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp"),
    (b"%PDF", "application/pdf"), (b"PK\x03\x04", "application/zip"),
)  # fmt: skip
# Fields that hold a secret whatever they are in.
_SECRET_FIELD = re.compile(
    r'("(?:api[-_]?key|x-api-key|access_token|refresh_token|id_token|authorization|password|passwd|client_secret|secret'
    r'|private_key|cookie|set-cookie)"\s{0,8}:\s{0,8})"(?:[^"\\]|\\.){1,8000}+"',
    re.IGNORECASE,
)


def clean_body(data: bytes) -> tuple[str, bool]:
    """The text of a body, and whether some of it is missing."""
    cut = len(data) > MOST_READ
    text = clean_text(data[:MOST_READ].decode("utf-8", "replace"))
    if len(text) <= MOST_KEPT:
        return text, cut
    if not cut and text[:1] in "{[":
        shortened = _shorten(text, MOST_KEPT)
        if shortened is not None:
            return shortened, True
    return text[:MOST_KEPT], True


def clean_text(text: str) -> str:
    """Without secrets, and with each encoded file told by its kind, its size and its hash."""
    text = _ENCODED.sub(_tell_file, text)
    text = _SECRET_FIELD.sub(r'\1"[masked]"', text)
    return hide_secrets(text)


def spell_json(text: str) -> str:
    """JSON for people, with its fields in order; anything else as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False, sort_keys=False)
    except (ValueError, RecursionError):
        return text


def _tell_file(found: re.Match[str]) -> str:
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


def _shorten(text: str, most: int) -> str | None:
    """JSON whose longest texts are cut, so that it is JSON still; None where that is not enough."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for length in _LENGTHS:
        value = _cut_texts(value, length)
        shortened = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if len(shortened) <= most:
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
