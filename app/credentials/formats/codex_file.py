"""Codex's login file, `auth.json`: a ChatGPT login or an API key.

The nested form is read and written such that `codex` still accepts it. The flat form, which some documentation shows,
is read, and becomes nested when it is written.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app.credentials.formats.login_format import read_object, read_text, write_object
from app.credentials.tokens import Tokens, read_expiry, read_openai_claims, read_time

# Seconds after which Codex renews a login, whatever the token's own expiry.
_RENEWED_EVERY = 8 * 86400.0

_TOKEN_KEYS = ("id_token", "access_token", "refresh_token", "account_id")
_FLAT_KEYS = (*_TOKEN_KEYS, "expires_at")


def parse_login(data: bytes) -> Tokens:
    """The tokens of a ChatGPT login, or the API key of a key login. Raises ValueError."""
    document = read_object(data)
    api_key = read_text(document, "OPENAI_API_KEY")
    nested = document.get("tokens")
    held = nested if isinstance(nested, dict) else document
    access_token = read_text(held, "access_token")
    if api_key and (document.get("auth_mode") == "apikey" or not access_token):
        return Tokens(api_key=api_key)
    if not access_token:
        personal = read_text(document, "personal_access_token")
        if personal:
            return Tokens(access_token=personal)
        raise ValueError("no login in it (expected 'tokens.access_token' or 'OPENAI_API_KEY')")
    id_token = read_text(held, "id_token")
    account, plan = read_openai_claims(access_token, id_token)
    renewed_at = _read_date(document.get("last_refresh"))
    return Tokens(
        access_token=access_token,
        refresh_token=read_text(held, "refresh_token"),
        id_token=id_token,
        expires_at=read_expiry(access_token) or read_time(document.get("expires_at")),
        renew_after=renewed_at + _RENEWED_EVERY if renewed_at else None,
        account=read_text(held, "account_id") or account,
        plan=plan,
    )


def render_login(data: bytes, tokens: Tokens, now: float) -> bytes:
    """The same file with new tokens in the nested form, whatever form it had."""
    document = read_object(data) if data.strip() else {"auth_mode": "chatgpt", "OPENAI_API_KEY": None}
    nested = document.get("tokens")
    if isinstance(nested, dict):
        held = nested
    else:
        held = {key: document[key] for key in _TOKEN_KEYS if document.get(key)}
        document = {key: value for key, value in document.items() if key not in _FLAT_KEYS}
        document |= {"auth_mode": "", "tokens": held}
    if "auth_mode" in document:
        # With "apikey", Codex would ignore the login.
        document["auth_mode"] = "chatgpt"
    fresh = {
        "id_token": tokens.id_token,
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "account_id": tokens.account,
    }
    held |= {key: value for key, value in fresh.items() if value}
    document["last_refresh"] = datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")
    return write_object(document)


def clear_login(data: bytes) -> bytes:
    """Always empty: logging out of Codex removes the file."""
    return b""


def _read_date(value: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
