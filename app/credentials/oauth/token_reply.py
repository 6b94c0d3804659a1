"""Parses an issuer's reply: tokens, a final refusal, or a reason to retry.

Issuers are not trusted to answer correctly: a proxy's HTML page, a redirect, numbers out of range and tokens that no
header can carry all result in one clear error message, and never in half a login.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from app.credentials.tokens import (
    Tokens,
    clean_text,
    find_host,
    is_token,
    read_account,
    read_claims,
    read_expiry,
    read_openai_claims,
    read_time,
)
from app.errors import CredentialPostponed, CredentialUnavailable

# Seconds: the assumed lifetime of an access token if neither the reply nor the token says it, and the longest that is
# believed.
_DEFAULT_LIFETIME = 3600.0
_LONGEST_LIFETIME = 10 * 366 * 86400.0

# A header longer than this is neither a number of seconds nor a date.
_LONGEST_DATE = 64

# OAuth error codes that demand a new login. The last three are ChatGPT's own.
_REFUSALS = frozenset(
    {
        "invalid_grant",
        "invalid_token",
        "refresh_token_expired",
        "refresh_token_reused",
        "refresh_token_invalidated",
    }
)


class GrantRefused(CredentialUnavailable):
    """The issuer will never accept this code or refresh token again. `code` is its OAuth error code."""


class GrantPostponed(CredentialPostponed):
    """The issuer granted no tokens now but may do so later. `retry_after` is in seconds, if the issuer gave it."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.retry_after = retry_after


class IssuerReply(msgspec.Struct, frozen=True):
    """A reply of an issuer. `url` is the requested address, `headers` have lower-case names, `body` is bounded."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def host(self) -> str:
        return find_host(self.url)

    @property
    def document(self) -> dict[str, Any] | None:
        """The JSON object in the body; None if there is none."""
        try:
            answer = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return answer if isinstance(answer, dict) else None

    @property
    def content(self) -> str:
        """A description of a body without a JSON object, which quotes none of it."""
        start = self.body[:512].lstrip()
        if not start:
            return "an empty body"
        return "an HTML page" if start.startswith(b"<") else "something other than a JSON object"


def read_tokens(kind: str, reply: IssuerReply, asked_at: float) -> Tokens:
    """The tokens that `reply` grants for a login of `kind`. `asked_at` is when they were requested, in unix seconds.

    Raises GrantRefused or GrantPostponed.
    """
    document = reply.document
    if reply.status != 200:
        raise _read_failure(reply, document, asked_at)
    if document is None:
        raise GrantPostponed(f"The token endpoint at {reply.host} answered with {reply.content}, not with tokens.")
    tokens = _read_grant(kind, document, asked_at)
    # A rotated refresh token is kept even without an access token, since the old one is no longer valid.
    if tokens.access_token is None and tokens.refresh_token is None:
        raise GrantPostponed(f"The token endpoint at {reply.host} answered without usable tokens.")
    return tokens


def _read_failure(reply: IssuerReply, document: dict[str, Any] | None, now: float) -> CredentialUnavailable:
    if 300 <= reply.status < 400:
        target = find_host(reply.headers.get("location", "")) or "another address"
        return GrantPostponed(
            f"The token endpoint at {reply.host} redirects to {target}, and a redirect is not followed with a login:"
            " set the provider's `oauth_token_url`."
        )
    code = _read_error_code(document or {})
    # A wrong client id is a wrong setting, not a dead login. A 401 without JSON comes from a proxy, not the issuer.
    if code in _REFUSALS or (reply.status == 401 and document is not None and code != "invalid_client"):
        return GrantRefused(f"{reply.host} refused the login ({code or reply.status}).", code=code)
    message = f" ({code})" if code else "" if document is not None else f" with {reply.content}"
    return GrantPostponed(
        f"The token endpoint at {reply.host} answered HTTP {reply.status}{message}.",
        _read_retry_after(reply.headers.get("retry-after", ""), now),
    )


def _read_grant(kind: str, answer: dict[str, Any], asked_at: float) -> Tokens:
    def token(key: str) -> str | None:
        value = answer.get(key)
        return value if is_token(value) else None

    access_token, id_token = token("access_token"), token("id_token")
    account = plan = None
    match kind:
        case "codex":
            account, plan = read_openai_claims(access_token, id_token)
        case "anthropic":
            owner = answer.get("account")
            account = clean_text(owner.get("uuid")) if isinstance(owner, dict) else None
        case _:
            account = read_account(read_claims(access_token))
    scope = answer.get("scope")
    return Tokens(
        access_token=access_token,
        refresh_token=token("refresh_token"),
        id_token=id_token,
        expires_at=_find_expiry(access_token, answer.get("expires_in"), asked_at) if access_token else None,
        account=account,
        plan=plan,
        scopes=tuple(scope.split()) if isinstance(scope, str) else (),
    )


def _find_expiry(access_token: str, expires_in: Any, asked_at: float) -> float:
    """When the token expires, in unix seconds. Based on its lifetime and our own clock, if possible, so that it is
    right even if our clock is wrong."""
    lifetime = read_time(expires_in)
    if lifetime is not None and lifetime <= _LONGEST_LIFETIME:
        return asked_at + lifetime
    return read_expiry(access_token) or asked_at + _DEFAULT_LIFETIME


def _read_error_code(answer: dict[str, Any]) -> str | None:
    """The OAuth error code in `error`, which is a text or, from ChatGPT's issuer, an object with a `code`."""
    error = answer.get("error")
    if isinstance(error, dict):
        error = error.get("code") or error.get("type")
    # A code consists of lower-case words. Anything else could quote what was sent.
    if not isinstance(error, str) or not 0 < len(error) <= 64:
        return None
    words = error.replace("_", "")
    return error if words.isascii() and words.isalpha() and words.islower() else None


def _read_retry_after(value: str, now: float) -> float | None:
    if not value or len(value) > _LONGEST_DATE:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
            seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
