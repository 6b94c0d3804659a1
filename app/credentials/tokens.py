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

# Times above this are milliseconds: as seconds it is the year 5138, as milliseconds March 1973.
_MILLISECONDS_FROM = 1e11
# The end of the year 9999, beyond which no date can be shown.
_LAST_MOMENT = 253_402_300_799.0
# A number written with more characters than this is no time.
_LONGEST_NUMBER = 32

# Characters; a JWT with many claims has some thousands. A header of that size is still taken by every server.
_LONGEST_TOKEN = 32 * 1024
# Characters of an account, a plan or an issuer's words that are shown to a human.
_LONGEST_TEXT = 200

_OPENAI_CLAIMS = "https://api.openai.com/auth"


class Tokens(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a login file holds, or a token endpoint grants. Times are unix seconds.

    `renew_after` is when the program that owns the file would renew although the token is still valid. `api_key` is
    set instead of `access_token` where a login file merely keeps a key.
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
    """The unix time from which these tokens should be renewed, or looked at again if they cannot be.

    `granted_at` is when we got them ourselves: of a token that lives shorter than twice the margin, half the life is
    used, so that a short-lived token is not renewed on every request.
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
    """`old` with everything that `grant` brings: an endpoint that rotates nothing leaves the old refresh token."""
    fresh = {name: value for name, value in msgspec.structs.asdict(grant).items() if value}
    if grant.access_token:
        # The old expiry and the owner's renewal date belonged to the old access token.
        fresh = {"expires_at": None, "renew_after": None} | fresh
    return msgspec.structs.replace(old, **fresh)


def read_claims(token: str | None) -> dict[str, Any]:
    """The payload of a JWT, unverified: it informs the token's holder and proves nothing. {} if there is none."""
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
    """Whom a token names, for human eyes."""
    return next((text for key in ("email", "sub") if (text := clean_text(claims.get(key)))), None)


def read_openai_claims(*tokens: str | None) -> tuple[str | None, str | None]:
    """ChatGPT account id and plan, from the first of `tokens` that names them."""
    account = plan = None
    for token in tokens:
        claims = read_claims(token).get(_OPENAI_CLAIMS)
        if isinstance(claims, dict):
            named = claims.get("chatgpt_account_id")
            # It goes into a header.
            account = account or (named if is_token(named) else None)
            plan = plan or clean_text(claims.get("chatgpt_plan_type"))
    return account, plan


def read_issuer(token: str | None) -> tuple[str | None, str | None]:
    """Issuer URL and client id of an OCA access token, valid or not: Oracle's identity domains put both into it.

    Only hosts of that service count: the refresh token will be sent there.
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
    """Unix seconds from a number or numeric text in seconds or milliseconds; None from anything else."""
    if isinstance(value, bool) or (isinstance(value, str) and len(value) > _LONGEST_NUMBER):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    seconds = number / 1000 if number > _MILLISECONDS_FROM else number
    return seconds if 0 < seconds <= _LAST_MOMENT else None


def is_token(value: Any) -> TypeGuard[str]:
    """Whether `value` can be a token or a code: visible ASCII without a space, which any header or form can carry."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= _LONGEST_TOKEN
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )


def clean_text(value: Any) -> str | None:
    """A foreign text for human eyes: one short line that neither colours nor moves a terminal. None for no text."""
    if not isinstance(value, str):
        return None
    short = value[:_LONGEST_TEXT]
    return "".join(character if character.isprintable() else " " for character in short).strip() or None


def find_host(url: str) -> str:
    """The host of a URL; empty where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def hash_token(token: str | None) -> str:
    """A name for a token that may stand in a file or a comparison without being the token."""
    return hashlib.sha256((token or "").encode()).hexdigest()
