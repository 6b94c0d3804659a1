"""The tokens of one login, and what can be read from them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, TypeGuard
from urllib.parse import urlsplit

import msgspec

from app.credentials.credential import mask_secret
from app.known_secrets import known_secrets

RENEWAL_MARGIN = 300.0

# Times above this are in milliseconds: it is the year 5138 in seconds, and March 1973 in milliseconds.
_MILLISECONDS_FROM = 1e11
# The end of the year 9999. No later date can be shown.
_LAST_MOMENT = 253_402_300_799.0
# A number with more characters than this is not a time.
_LONGEST_NUMBER = 32

# Characters. A JWT with many claims has some thousands. All servers accept a header of this size.
_LONGEST_TOKEN = 32 * 1024
# The most characters of an account, a plan or an issuer's message that are shown.
_LONGEST_TEXT = 200

_OPENAI_CLAIMS = "https://api.openai.com/auth"


class Tokens(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The tokens in a login file, or granted by a token endpoint. Times are in unix seconds.

    `renew_after` is when the program that owns the file would renew a still valid token. `api_key` is set instead of
    `access_token` if a login file merely holds a key.
    """

    access_token: str | None = None
    refresh_token: str | None = None
    id_token: str | None = None
    api_key: str | None = None
    expires_at: float | None = None
    renew_after: float | None = None
    account: str | None = None
    plan: str | None = None
    scopes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known_secrets.add(self.access_token, self.refresh_token, self.id_token, self.api_key)

    def __repr__(self) -> str:
        return f"Tokens(access_token={mask_secret(self.access_token)}, refresh_token={mask_secret(self.refresh_token)})"

    @property
    def secret(self) -> str | None:
        return self.access_token or self.api_key

    def is_usable(self, now: float) -> bool:
        return self.secret is not None and (self.expires_at is None or now < self.expires_at)


def renewal_time(tokens: Tokens, granted_at: float | None = None) -> float:
    """The unix time from which these tokens should be renewed, or checked again if they cannot be renewed.

    `granted_at` is when we got them ourselves. A token that lives less than twice the margin is renewed after half its
    lifetime, so that it is not renewed on every request.
    """
    if tokens.secret is None:
        return 0.0
    if tokens.expires_at is None:
        return tokens.renew_after or float("inf")
    if tokens.refresh_token is None:
        return tokens.expires_at
    margin = RENEWAL_MARGIN
    if granted_at is not None:
        margin = min(margin, max(0.0, tokens.expires_at - granted_at) / 2)
    return min(tokens.expires_at - margin, tokens.renew_after or float("inf"))


def merge_tokens(old: Tokens, grant: Tokens) -> Tokens:
    """`old` updated with everything in `grant`. The old refresh token stays if the endpoint does not rotate it."""
    fresh = {name: value for name, value in msgspec.structs.asdict(grant).items() if value}
    if grant.access_token:
        # The old expiry and renewal date belong to the old access token.
        fresh = {"expires_at": None, "renew_after": None} | fresh
    return msgspec.structs.replace(old, **fresh)


def read_claims(token: str | None) -> dict[str, Any]:
    """The payload of a JWT, or {} if there is none. It is not verified: for information only, it proves nothing."""
    parts = token.split(".") if token else ()
    if len(parts) != 3:
        return {}
    try:
        payload = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError):
        return {}
    return payload if isinstance(payload, dict) else {}


def read_expiry(token: str | None) -> float | None:
    """The `exp` claim, in unix seconds."""
    return read_time(read_claims(token).get("exp"))


def read_account(claims: Mapping[str, Any]) -> str | None:
    """The account that a token names, for display."""
    return next((text for key in ("email", "sub") if (text := clean_text(claims.get(key)))), None)


def read_openai_claims(*tokens: str | None) -> tuple[str | None, str | None]:
    """ChatGPT's account id and plan, each from the first of `tokens` that names it."""
    account = plan = None
    for token in tokens:
        claims = read_claims(token).get(_OPENAI_CLAIMS)
        if isinstance(claims, dict):
            named = claims.get("chatgpt_account_id")
            # Checked because it is sent in a header.
            account = account or (named if is_token(named) else None)
            plan = plan or clean_text(claims.get("chatgpt_plan_type"))
    return account, plan


def read_issuer(token: str | None) -> tuple[str | None, str | None]:
    """Issuer URL and client id of an OCA access token, even an expired one. Oracle's identity domains put both into it.

    Only hosts of that service are accepted, since the refresh token will be sent there.
    """
    claims = read_claims(token)
    audience = claims.get("aud")
    for entry in audience if isinstance(audience, list) else [audience]:
        host = find_host(entry) if isinstance(entry, str) and entry.startswith("https://") else ""
        if host.endswith(".identity.oraclecloud.com"):
            client_id = claims.get("client_id") or claims.get("azp")
            return f"https://{host}", client_id if isinstance(client_id, str) else None
    return None, None


def read_time(value: Any) -> float | None:
    """Unix seconds from a number or numeric text in seconds or milliseconds. None for anything else."""
    if isinstance(value, bool) or (isinstance(value, str) and len(value) > _LONGEST_NUMBER):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    seconds = number / 1000 if number > _MILLISECONDS_FROM else number
    return seconds if 0 < seconds <= _LAST_MOMENT else None


def is_token(value: Any) -> TypeGuard[str]:
    """Whether `value` can be a token or a code: printable ASCII without spaces, which any header or form can carry."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= _LONGEST_TOKEN
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )


def clean_text(value: Any) -> str | None:
    """Foreign text made safe for display: one short line without terminal control characters. None if there is no
    text."""
    if not isinstance(value, str):
        return None
    short = value[:_LONGEST_TEXT]
    return "".join(character if character.isprintable() else " " for character in short).strip() or None


def find_host(url: str) -> str:
    """The host of a URL, or empty if it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def hash_token(token: str | None) -> str:
    """A hash that identifies a token in files and comparisons without revealing it."""
    return hashlib.sha256((token or "").encode()).hexdigest()
