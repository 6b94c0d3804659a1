"""Calls an issuer: discovery, code exchange, renewal and revocation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

from app.credentials.oauth.endpoints import Encoding, Endpoints
from app.credentials.oauth.token_reply import GrantPostponed, IssuerReply, read_tokens
from app.credentials.tokens import Tokens, find_host
from app.errors import DragomanError

# Returns the session for calls to an issuer. It is opened only when it is needed.
OpenSession = Callable[[], requests.Session]

# Both calls of a renewal must fit into the time that a request waits for it (WAIT_LIMIT in login_source.py).
_TOKEN_TIMEOUT = Timeout(connect=5.0, read=15.0, total=20.0)
_DISCOVERY_TIMEOUT = Timeout(connect=4.0, read=5.0, total=8.0)

# Bytes. A set of tokens has some kilobytes.
_LARGEST_REPLY = 1024 * 1024
_READ_SIZE = 64 * 1024

# Seconds for which discovered addresses, or the lack of any, are remembered.
_REMEMBERED = 86400.0
_MISSING_REMEMBERED = 300.0


class TokenEndpoint:
    """One issuer. Safe to share between threads. Its only state is the discovered addresses.

    `http_session` makes all calls. It uses the same proxies and certificates as calls to models, adds no credential
    from a .netrc and follows no redirect. `clock` returns unix seconds.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        http_session: requests.Session,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.endpoints = endpoints
        self._http = http_session
        self._clock = clock
        self._discovered: tuple[float, dict[str, str]] | None = None
        self._discovering = threading.Lock()

    def refresh_tokens(self, refresh_token: str) -> Tokens:
        """New tokens for a refresh token. Raises GrantRefused or GrantPostponed."""
        fields = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "client_id": self.endpoints.client_id,
        }
        if self.endpoints.refresh_scopes:
            fields["scope"] = " ".join(self.endpoints.refresh_scopes)
        return self._ask_tokens(fields, self.endpoints.refresh_encoding)

    def exchange_code(self, code: str, *, redirect_uri: str, verifier: str, state: str) -> Tokens:
        """The first tokens of a login, for the code that the browser brought back. Raises as `refresh_tokens` does."""
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

    def revoke_token(self, token: str) -> bool:
        """Ask the issuer to revoke a refresh token. Returns whether it did; False if the issuer cannot do that."""
        url = self.endpoints.revoke_url or self.find_address("revocation_endpoint", "")
        if not url:
            return False
        fields = {"token": token, "token_type_hint": "refresh_token", "client_id": self.endpoints.client_id}
        try:
            return self._post(url, fields, self.endpoints.refresh_encoding).status < 300
        except GrantPostponed:
            return False

    def find_address(self, name: str, default: str) -> str:
        """The address that the issuer publishes as `name`, else `default`. Asks once a day, or sooner after a
        failure."""
        if not self.endpoints.discovery:
            return default
        # Held during the call: only renewals come here, and a second one would only have to wait for the same answer.
        with self._discovering:
            if self._discovered is None or time.monotonic() >= self._discovered[0]:
                found = self._discover()
                lifetime = _REMEMBERED if found else _MISSING_REMEMBERED
                self._discovered = (time.monotonic() + lifetime, found)
            return self._discovered[1].get(name, default)

    def _discover(self) -> dict[str, str]:
        issuer = self.endpoints.issuer
        url = f"{issuer}/.well-known/openid-configuration"
        try:
            reply = self._call("GET", url, _DISCOVERY_TIMEOUT)
        except GrantPostponed:
            return {}
        document = reply.document if reply.status == 200 else None
        return {name: url for name, url in (document or {}).items() if _is_address(url, issuer)}

    def _ask_tokens(self, fields: Mapping[str, str], encoding: Encoding) -> Tokens:
        asked_at = self._clock()
        url = self.find_address("token_endpoint", self.endpoints.token_url)
        return read_tokens(self.endpoints.kind, self._post(url, fields, encoding), asked_at)

    def _post(self, url: str, fields: Mapping[str, str], encoding: Encoding) -> IssuerReply:
        content = {"data": fields} if encoding == "form" else {"json": fields}
        return self._call("POST", url, _TOKEN_TIMEOUT, **content)

    def _call(self, method: str, url: str, timeout: Timeout, **content: Any) -> IssuerReply:
        """Makes one call. Raises GrantPostponed if no complete reply arrives in time."""
        headers = {"accept": "application/json", "user-agent": "dragoman"}
        try:
            with self._http.request(
                method,
                url,
                headers=headers,
                timeout=timeout,  # type: ignore[arg-type]  # requests takes urllib3's record, its types do not know
                allow_redirects=False,
                stream=True,
                **content,
            ) as reply:
                reply_headers = {name.lower(): value for name, value in reply.headers.items()}
                return IssuerReply(url, reply.status_code, reply_headers, _read_body(reply))
        except GrantPostponed:
            raise
        except (DragomanError, requests.RequestException, HTTPError, OSError) as error:
            raise GrantPostponed(f"The issuer at {find_host(url)} cannot be reached: {_describe(error)}.") from None


def _read_body(reply: requests.Response) -> bytes:
    """The body. Raises GrantPostponed if it is too large."""
    parts: list[bytes] = []
    size = 0
    while part := reply.raw.read1(_READ_SIZE, decode_content=True):
        size += len(part)
        if size > _LARGEST_REPLY:
            raise GrantPostponed(f"The issuer at {find_host(reply.url)} sent more than {_LARGEST_REPLY} bytes.")
        parts.append(part)
    return b"".join(parts)


def _describe(error: Exception) -> str:
    """The message of our own transport's error. Of other exceptions only the name, since they may quote the request."""
    known = next((each for each in (error, *error.args) if isinstance(each, DragomanError)), None)
    return str(known) if known is not None else type(error).__name__


def _is_address(value: Any, issuer: str) -> bool:
    """Whether `value` is a URL to which a refresh token may be sent. An issuer with TLS must not name one without."""
    if not isinstance(value, str) or not find_host(value):
        return False
    return urlsplit(value).scheme in {urlsplit(issuer).scheme, "https"}
