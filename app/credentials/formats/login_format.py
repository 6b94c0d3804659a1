"""The contract of login file formats, and shared JSON helpers."""

from __future__ import annotations

import json
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from typing import Any, Protocol

import msgspec

from app.credentials.tokens import Tokens, clean_text, is_token, read_claims


class LoginFormat(Protocol):
    """A module with these functions, which are pure."""

    def parse_login(self, data: bytes) -> Tokens:
        """The tokens in a file's content. Raises ValueError, whose message names keys but never values."""

    def render_login(self, data: bytes, tokens: Tokens, now: float) -> bytes:
        """The content `data` with its tokens replaced by `tokens`. All else is kept. b"" makes a new file.

        Raises ValueError if `data` is not in this format.
        """

    def clear_login(self, data: bytes) -> bytes:
        """The content without its tokens, b"" if nothing worth keeping is left. Raises ValueError."""


def check_tokens(tokens: Tokens) -> Tokens:
    """A file's tokens, with account and plan made safe for display. Raises ValueError for a token that no request can
    carry."""
    for name in ("access_token", "refresh_token", "id_token", "api_key"):
        value = getattr(tokens, name)
        if value is not None and not is_token(value):
            raise ValueError(f"its {name} is not a token: it is too long or contains spaces or control characters")
    return msgspec.structs.replace(tokens, account=clean_text(tokens.account), plan=clean_text(tokens.plan))


def read_object(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`. Raises ValueError."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = f"it is not valid JSON ({str(error)[:100]})" if data.strip() else "it is empty"
        problem = "it is UTF-16; save it as UTF-8" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else problem
        raise ValueError(problem) from error
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    return document


def read_bare_token(data: bytes) -> str | None:
    """The token of a file that holds nothing else, or None. Raises ValueError for a truncated JWT, which is probably
    still being written."""
    text = data.decode("utf-8", "replace").strip().strip('"')
    if not text or text[0] in "{[" or not text.isascii() or any(character.isspace() for character in text):
        return None
    if text.startswith("eyJ") and not (read_claims(text) and text.rsplit(".", 1)[1]):
        raise ValueError("its token is truncated")
    return text


def write_object(document: dict[str, Any]) -> bytes:
    """Indented JSON in the given order, as the owning programs write it."""
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def read_text(document: dict[str, Any], *keys: str) -> str | None:
    """The stripped text of the first of `keys` with a text that is not blank."""
    return next((value.strip() for key in keys if isinstance(value := document.get(key), str) and value.strip()), None)
