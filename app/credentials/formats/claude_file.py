"""Claude's login file: `.credentials.json` and its variants.

`expiresAt` is in milliseconds. The file also holds other programs' keys, which are kept.
"""

from __future__ import annotations

from typing import Any

from app.credentials.formats.login_format import read_bare_token, read_object, read_text, write_object
from app.credentials.tokens import Tokens, read_time

_NESTED = "claudeAiOauth"

# Names of the access token, each with the matching names of refresh token and expiry.
_NAMES: dict[str, tuple[str, str]] = {
    "accessToken": ("refreshToken", "expiresAt"),
    "access_token": ("refresh_token", "expires_at"),
    "token": ("refresh_token", "expires_at"),
}


def parse_login(data: bytes) -> Tokens:
    """The tokens of the nested form, of a flat one, or of a file with just one token. Raises ValueError."""
    token = read_bare_token(data)
    if token is not None:
        return Tokens(api_key=token) if token.startswith("sk-ant-api") else Tokens(access_token=token)
    held = _held_object(read_object(data))
    name = _access_name(held)
    if name is None:
        raise ValueError(f"no access token in it (expected '{_NESTED}.accessToken', 'access_token' or 'token')")
    refresh_name, expiry_name = _NAMES[name]
    scopes = held.get("scopes")
    return Tokens(
        access_token=read_text(held, name),
        refresh_token=read_text(held, refresh_name, "refreshToken"),
        expires_at=read_time(held.get(expiry_name)) or read_time(held.get("expiresAt")),
        account=read_text(held, "emailAddress", "accountUuid"),
        plan=read_text(held, "subscriptionType"),
        scopes=tuple(scope for scope in scopes if isinstance(scope, str)) if isinstance(scopes, list) else (),
    )


def render_login(data: bytes, tokens: Tokens, now: float) -> bytes:
    """The same file with new tokens. A new file has the nested form that `claude` reads."""
    document = read_object(data) if data.strip() else {}
    held = _held_object(document)
    name = _access_name(held)
    if name is None:
        name, held = "accessToken", document.setdefault(_NESTED, {})
    refresh_name, expiry_name = _NAMES[name]
    held[name] = tokens.access_token
    if tokens.refresh_token:
        held[refresh_name] = tokens.refresh_token
    if tokens.expires_at:
        # A flat file written by hand may use seconds. The unit is kept.
        in_seconds = name != "accessToken" and (held.get(expiry_name) or 0) == read_time(held.get(expiry_name))
        held[expiry_name] = int(tokens.expires_at if in_seconds else tokens.expires_at * 1000)
    if name == "accessToken":
        if tokens.scopes:
            held["scopes"] = list(tokens.scopes)
        if tokens.account:
            held.setdefault("accountUuid", tokens.account)
        # The program itself writes null if it does not know the plan.
        held.setdefault("subscriptionType", tokens.plan)
    return write_object(document)


def clear_login(data: bytes) -> bytes:
    """The same file without the login."""
    document = read_object(data)
    gone = {_NESTED, "scopes", "subscriptionType", "expiresAt"}.union(_NAMES, *_NAMES.values())
    document = {key: value for key, value in document.items() if key not in gone}
    return write_object(document) if document else b""


def _held_object(document: dict[str, Any]) -> dict[str, Any]:
    nested = document.get(_NESTED)
    return nested if isinstance(nested, dict) else document


def _access_name(held: dict[str, Any]) -> str | None:
    return next((name for name in _NAMES if read_text(held, name)), None)
