"""The calls to an issuer: discovery, code exchange, renewal, revocation.

An answer is either tokens, or a refusal that no repetition changes, or a reason to try later; nothing in between.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests

from app.credentials.oauth.endpoints import Encoding, Endpoints
from app.credentials.tokens import Tokens, read_account, read_claims, read_expiry, read_openai_claims, read_time
from app.errors import CredentialUnavailable

# Connect, read. The whole of a renewal must fit into the time that requests wait for it.
_TIMEOUT = (5.0, 15.0)

# What the access token is taken to live for when neither the answer nor the token says.
_DEFAULT_LIFETIME = 3600.0

_REMEMBERED = 86400.0
_MISSING_REMEMBERED = 300.0

# OAuth error codes that mean: log in again. ChatGPT's own are the last three.
_REFUSALS = frozenset(
    {
        "invalid_grant",
        "invalid_token",
        "refresh_token_expired",
        "refresh_token_reused",
        "refresh_token_invalidated",
    }
)

_ERROR_CODE = re.compile(r"[a-z_]{1,64}")


class GrantRefused(CredentialUnavailable):
    """The issuer will never take this code or refresh token again. `code` is its OAuth error code."""


class GrantPostponed(CredentialUnavailable):
    """The issuer gave no tokens now and may give them later. `retry_after` is in seconds, if it said."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message, status=503)
        self.retry_after = retry_after


class TokenEndpoint:
    """One issuer. Safe to share between threads; keeps nothing but discovered addresses."""

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        http_session: requests.Session | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.endpoints = endpoints
        self._http = http_session or requests.Session()
        self._clock = clock
        self._discovered: tuple[float, dict[str, str]] = (0.0, {})
        self._discovering = threading.Lock()

    def refresh_tokens(self, refresh_token: str, *, client_id: str | None = None) -> Tokens:
        """New tokens for a refresh token. Raises GrantRefused or GrantPostponed."""
        fields = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "client_id": client_id or self.endpoints.client_id,
        }
        if self.endpoints.refresh_scopes:
            fields["scope"] = " ".join(self.endpoints.refresh_scopes)
        return self._ask_tokens(fields, self.endpoints.refresh_encoding)

    def exchange_code(self, code: str, *, redirect_uri: str, verifier: str, state: str) -> Tokens:
        """The first tokens of a login, for the code that its browser brought back. Raises as `refresh_tokens`."""
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self.endpoints.client_id,
            "code_verifier": verifier,
        }
        if self.endpoints.exchange_state:
            fields["state"] = state
        return self._ask_tokens(fields, self.endpoints.exchange_encoding)

    def revoke_token(self, token: str, hint: str = "refresh_token") -> bool:
        """Ask the issuer to forget `token`; whether it said yes. False where issuers offer no such thing."""
        url = self.endpoints.revoke_url or self.find_address("revocation_endpoint", "")
        if not url:
            return False
        fields = {"token": token, "token_type_hint": hint, "client_id": self.endpoints.client_id}
        try:
            return self._post(url, fields, self.endpoints.refresh_encoding).ok
        except GrantPostponed:
            return False

    def find_address(self, name: str, default: str) -> str:
        """The address that the issuer publishes as `name`, else `default`; asked once a day, after a failure sooner."""
        if not self.endpoints.discovery:
            return default
        # Held over the call: only renewals come here, and the second has nothing better to do than wait for the first.
        with self._discovering:
            until, found = self._discovered
            if self._clock() >= until:
                found = self._discover()
                self._discovered = (self._clock() + (_REMEMBERED if found else _MISSING_REMEMBERED), found)
        return found.get(name, default)

    def _discover(self) -> dict[str, str]:
        issuer = self.endpoints.issuer
        try:
            reply = self._http.get(
                f"{issuer}/.well-known/openid-configuration",
                timeout=_TIMEOUT,
                allow_redirects=False,
                auth=_without_netrc,
            )
            document = msgspec.json.decode(reply.content) if reply.status_code == 200 else None
        except (requests.RequestException, msgspec.DecodeError):
            return {}
        if not isinstance(document, dict):
            return {}
        # A refresh token goes there: an issuer behind TLS must not send it anywhere without.
        scheme = urlsplit(issuer).scheme
        return {
            name: url
            for name, url in document.items()
            if isinstance(url, str) and urlsplit(url).scheme in {scheme, "https"} and urlsplit(url).hostname
        }

    def _ask_tokens(self, fields: dict[str, str], encoding: Encoding) -> Tokens:
        asked_at = self._clock()
        reply = self._post(self.find_address("token_endpoint", self.endpoints.token_url), fields, encoding)
        answer = _read_answer(reply)
        if reply.status_code != 200:
            raise self._failure(reply, answer)
        tokens = _read_grant(self.endpoints.kind, answer, asked_at)
        # A rotated refresh token alone is worth keeping: the old one is dead by now.
        if tokens.access_token is None and tokens.refresh_token is None:
            raise GrantPostponed(f"The token endpoint of {self._name} answered without tokens.")
        return tokens

    def _post(self, url: str, fields: dict[str, str], encoding: Encoding) -> requests.Response:
        body = {"data": fields} if encoding == "form" else {"json": fields}
        try:
            return self._http.post(
                url,
                **body,  # type: ignore[arg-type]
                headers={"Accept": "application/json", "User-Agent": "dragoman"},
                timeout=_TIMEOUT,
                # A redirect could carry the token to a host that nobody configured.
                allow_redirects=False,
                auth=_without_netrc,
            )
        except requests.RequestException as error:
            # The exception's own text may quote the request.
            problem = type(error).__name__
            raise GrantPostponed(f"The token endpoint of {self._name} cannot be reached ({problem}).") from None

    def _failure(self, reply: requests.Response, answer: dict[str, Any]) -> CredentialUnavailable:
        code = _read_error_code(answer)
        # A wrong client id is a wrong setting, not a dead login.
        if code in _REFUSALS or (reply.status_code == 401 and code != "invalid_client"):
            return GrantRefused(f"{self._name} refused the login ({code or reply.status_code}).", code=code)
        return GrantPostponed(
            f"The token endpoint of {self._name} answered {reply.status_code}{f' ({code})' if code else ''}.",
            _read_retry_after(reply.headers.get("retry-after"), self._clock()),
        )

    @property
    def _name(self) -> str:
        return urlsplit(self.endpoints.token_url).hostname or self.endpoints.kind


def _without_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # With no auth of its own, requests would add what the user's .netrc has for the host.
    return request


def _read_answer(reply: requests.Response) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(reply.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _read_grant(kind: str, answer: dict[str, Any], asked_at: float) -> Tokens:
    def text(key: str) -> str | None:
        value = answer.get(key)
        return value if isinstance(value, str) and value else None

    access_token, id_token = text("access_token"), text("id_token")
    expires_at: float | None = None
    if access_token:
        # The lifetime counts from our own clock, so it is right even where that clock is not.
        lifetime = read_time(answer.get("expires_in"))
        expires_at = asked_at + lifetime if lifetime else read_expiry(access_token) or asked_at + _DEFAULT_LIFETIME
    account = plan = None
    match kind:
        case "codex":
            account, plan = read_openai_claims(access_token, id_token)
        case "anthropic":
            owner = answer.get("account")
            account = owner.get("uuid") if isinstance(owner, dict) else None
        case _:
            account = read_account(read_claims(access_token))
    return Tokens(
        access_token=access_token,
        refresh_token=text("refresh_token"),
        id_token=id_token,
        expires_at=expires_at,
        account=account,
        plan=plan,
        scopes=tuple((text("scope") or "").split()),
    )


def _read_error_code(answer: dict[str, Any]) -> str | None:
    """The OAuth error code: `error` is a text, or as ChatGPT's issuer has it an object with a `code`."""
    error = answer.get("error")
    if isinstance(error, dict):
        error = error.get("code") or error.get("type")
    # A code is words of small letters; anything else could quote what was sent.
    return error if isinstance(error, str) and _ERROR_CODE.fullmatch(error) else None


def _read_retry_after(value: str | None, now: float) -> float | None:
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now)
