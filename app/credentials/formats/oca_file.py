"""Oracle Code Assist's token files, in every variant that its clients write.

One object somewhere in the file holds the tokens, under one of several names. Tables list the places and names. Files
do not say which variant they are, so the first place that holds a token wins.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from app.credentials.formats.login_format import read_bare_token, read_object, read_text, write_object
from app.credentials.tokens import Tokens, read_account, read_claims, read_expiry, read_time

# The places of the tokens: at the top, in Cline's providers.json, in values of older Clines (objects, or JSON as text).
_PLACES: tuple[tuple[str, ...], ...] = (
    (),
    ("providers", "oca", "settings", "auth"),
    ("ocaTokenSet",),
    ("ocaCredentials",),
)

# Names of the access token, each with the name of the refresh token in the same file.
_NAMES: dict[str, str] = {
    "access_token": "refresh_token",
    "ocaApiKey": "ocaRefreshToken",
    "ocaAccessToken": "ocaRefreshToken",
    "accessToken": "refreshToken",
}
_REFRESH_NAMES = tuple(dict.fromkeys(_NAMES.values()))

# In seconds or milliseconds, distinguished by size.
_EXPIRY_NAMES = ("_expires_at", "expires_at", "expiresAt")

_NEW_FILE: dict[str, Any] = {"refresh_token": "", "created_at": "", "expires_at": 0}


def parse_login(data: bytes) -> Tokens:
    """The tokens of a token file, which may be just a refresh token. Raises ValueError."""
    text = read_bare_token(data)
    if text is not None:
        return _tokens_of({"access_token": text})
    document = read_object(data)
    place = _find_place(document)
    if place is None:
        raise ValueError("access token not found in token file (expected 'access_token' or 'ocaApiKey')")
    return _tokens_of(_object_at(document, place))


def render_login(data: bytes, tokens: Tokens, now: float) -> bytes:
    """The same file with new tokens. If it had none, they are written as in `refresh_token.json`.

    That file gets the access token too, so that workers that share it need not each use a rotating refresh token.
    """
    if read_bare_token(data) is not None:
        return (tokens.access_token or "").encode() + b"\n"
    document = read_object(data) if data.strip() else {}
    place = _find_place(document)
    if place is None:
        place, document = (), document | _NEW_FILE
    held = _object_at(document, place)
    _put_tokens(held, tokens, now)
    if place and isinstance(document[place[0]], str):
        document[place[0]] = msgspec.json.encode(held).decode()
    return write_object(document)


def clear_login(data: bytes) -> bytes:
    """The same file without OCA's tokens. Other providers' keys stay."""
    if read_bare_token(data) is not None:
        return b""
    document = read_object(data)
    place = _find_place(document)
    if place is None:
        return data
    if place:
        del _object_at(document, place[:-1])[place[-1]]
    gone = {*_NAMES, *_REFRESH_NAMES, *_EXPIRY_NAMES, "id_token", "created_at"} if not place else set()
    document = {key: value for key, value in document.items() if key not in gone}
    return write_object(document) if document else b""


def _find_place(document: dict[str, Any]) -> tuple[str, ...] | None:
    refresh_only = None
    for place in _PLACES:
        held = _object_at(document, place)
        if read_text(held, *_NAMES):
            return place
        if refresh_only is None and read_text(held, *_REFRESH_NAMES):
            refresh_only = place
    return refresh_only


def _object_at(document: dict[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    value: Any = document
    for key in place:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            value = None
    return value if isinstance(value, dict) else {}


def _tokens_of(held: dict[str, Any]) -> Tokens:
    access_token = read_text(held, *_NAMES)
    # The file's date is right even if this host's clock is wrong; the token's if it was pasted over an old token.
    dates = [read_expiry(access_token), *(read_time(held.get(name)) for name in _EXPIRY_NAMES)]
    return Tokens(
        access_token=access_token,
        refresh_token=read_text(held, *_REFRESH_NAMES),
        id_token=read_text(held, "id_token"),
        expires_at=max((date for date in dates if date), default=None),
        account=read_account(read_claims(access_token)),
    )


def _put_tokens(held: dict[str, Any], tokens: Tokens, now: float) -> None:
    access_names = [name for name in _NAMES if name in held] or ["access_token"]
    refresh_names = [name for name in _REFRESH_NAMES if name in held] or [_NAMES[access_names[0]]]
    held |= dict.fromkeys(access_names, tokens.access_token)
    if tokens.refresh_token:
        held |= dict.fromkeys(refresh_names, tokens.refresh_token)
    if tokens.id_token and "id_token" in held:
        held["id_token"] = tokens.id_token
    for name in _EXPIRY_NAMES:
        if name in held and tokens.expires_at:
            held[name] = int(tokens.expires_at * 1000) if name == "expiresAt" else int(tokens.expires_at)
    if "_cached_at" in held:
        held["_cached_at"] = int(now)
    if "created_at" in held:
        held["created_at"] = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
