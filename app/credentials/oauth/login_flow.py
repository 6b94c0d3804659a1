"""Logs in through the browser, and out again, for commands and web pages.

flow = open_flow(settings, environ, home, open_session)
pending = flow.begin()                  # open pending.authorize_url in a browser
tokens = flow.finish(query)             # the callback's query, or read_pasted(text from the user)
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from os.path import exists
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec

from app.credentials.oauth.endpoints import Endpoints
from app.credentials.oauth.pending_login import PendingLogin, PendingLogins, begin_login
from app.credentials.oauth.token_reply import GrantPostponed, GrantRefused
from app.credentials.sources import FORMATS, endpoints_of
from app.credentials.stores.login_store import FileStore
from app.credentials.stores.private_files import runtime_folder
from app.credentials.stores.stored_login import StoredLogin
from app.credentials.tokens import Tokens, clean_text, is_token, read_claims
from app.errors import CredentialUnavailable
from app.settings.discovered.login_files import find_claude_files, find_codex_files, own_oca_file
from app.settings.tables import ProviderSettings

if TYPE_CHECKING:
    from app.credentials.oauth.token_endpoint import OpenSession, TokenEndpoint

FailureReason = Literal["denied", "incomplete", "unknown_state", "no_tokens", "no_refresh_token", "not_saved"]

_TITLES: dict[FailureReason, str] = {
    "denied": "Authentication Failed",
    "incomplete": "Invalid Callback",
    "unknown_state": "Invalid Callback",
    "no_tokens": "Authentication Failed",
    "no_refresh_token": "Authentication Failed",
    "not_saved": "Authentication Failed",
}

_LOCK_TIMEOUT = 20.0


class LoginFailed(CredentialUnavailable):
    """A login ended without a usable result. `title` and message are for the user, and not escaped."""

    def __init__(self, reason: FailureReason, message: str, *, status: int = 400) -> None:
        super().__init__(message, status=status)
        self.reason = reason
        self.title = _TITLES[reason]


class LoginFlow:
    """Logs in to one provider, and out. `login` stores the tokens."""

    def __init__(
        self,
        issuer: TokenEndpoint,
        login: StoredLogin,
        pending: PendingLogins,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.login = login
        self._issuer = issuer
        self._pending = pending
        self._clock = clock

    @property
    def endpoints(self) -> Endpoints:
        return self._issuer.endpoints

    @property
    def loopback_redirects(self) -> tuple[str, ...]:
        """The redirects that lead to this machine, best first. Empty if the user must paste a code."""
        return tuple(uri for uri in self.endpoints.redirect_uris if urlsplit(uri).scheme == "http")

    def begin(self, redirect_uri: str | None = None, *, name: str = "") -> PendingLogin:
        """Start a login. `redirect_uri` is one of the endpoints', by default the first. `name` is remembered with it.

        Raises LoginFailed for an address that the issuer would not accept.
        """
        redirect_uri = redirect_uri or self.endpoints.redirect_uris[0]
        if redirect_uri not in self.endpoints.redirect_uris:
            raise LoginFailed("incomplete", f"The issuer does not redirect browsers to {redirect_uri}.")
        now = self._clock()
        pending = begin_login(self.endpoints, redirect_uri, now=now, name=name)
        self._pending.add(pending, now)
        return pending

    def finish(self, query: Mapping[str, str], pending: PendingLogin | None = None) -> Tokens:
        """Exchange a callback's code for tokens, save them, and return them.

        `pending` supplies the state of a pasted code that has none. Raises LoginFailed, after which the state is used
        up.
        """
        if pending is not None and "state" not in query:
            query = {**query, "state": pending.state}
        if query.get("error"):
            self._pending.take(query.get("state", ""), self._clock())
            message = clean_text(query.get("error_description")) or clean_text(query["error"])
            raise LoginFailed("denied", message or "The issuer gave no reason.")
        if not is_token(query.get("code")) or not is_token(query.get("state")):
            raise LoginFailed("incomplete", "The callback has no code or no state. Log in again.")
        known = self._pending.take(query["state"], self._clock())
        if known is None:
            raise LoginFailed("unknown_state", "Invalid or expired state (session may have timed out). Log in again.")
        tokens = self._exchange(query["code"], known)
        self._save(tokens)
        return tokens

    def log_out(self) -> None:
        """Revoke the login if its issuer offers that, and remove it from its file. Raises OSError."""
        try:
            tokens = self.login.read()
        except CredentialUnavailable:
            tokens = Tokens()
        if tokens.refresh_token is not None:
            self._issuer.revoke_token(tokens.refresh_token)
        with self.login.lock(_LOCK_TIMEOUT), contextlib.suppress(FileNotFoundError):
            self.login.remove()

    def _exchange(self, code: str, pending: PendingLogin) -> Tokens:
        try:
            tokens = self._issuer.exchange_code(
                code, redirect_uri=pending.redirect_uri, verifier=pending.verifier, state=pending.state
            )
        except GrantRefused as error:
            raise LoginFailed("no_tokens", str(error)) from error
        except GrantPostponed as error:
            raise LoginFailed("no_tokens", f"{error} Log in again later.", status=502) from error
        nonce = read_claims(tokens.id_token).get("nonce")
        if self.endpoints.uses_nonce and nonce is not None and nonce != pending.nonce:
            raise LoginFailed("unknown_state", "The issuer's answer belongs to another login. Log in again.")
        if tokens.refresh_token is None:
            raise LoginFailed("no_refresh_token", "No refresh token received: the login could not be renewed.")
        # Programs that share the file look for the scopes in it.
        return tokens if tokens.scopes else msgspec.structs.replace(tokens, scopes=self.endpoints.scopes)

    def _save(self, tokens: Tokens) -> None:
        try:
            with self.login.lock(_LOCK_TIMEOUT):
                self.login.replace(tokens)
        except (OSError, ValueError) as error:
            raise LoginFailed("not_saved", f"Cannot save the login in {self.login.label}: {error}") from error


def open_flow(
    settings: ProviderSettings,
    environ: Mapping[str, str],
    home: Path,
    open_session: OpenSession,
    *,
    pending: PendingLogins | None = None,
    clock: Callable[[], float] = time.time,
) -> LoginFlow:
    """The flow of one provider. It stores tokens where `open_source` with the same arguments finds them.

    Pass `pending` if several flows share the logins under way. Raises KeyError for a kind that has no login.
    """
    endpoints = endpoints_of(settings, environ)
    runtime = runtime_folder(environ)
    own = own_oca_file(home)
    configured = settings.token_file or settings.credentials_file
    path = Path(configured).expanduser() if configured else _own_file(settings.kind, environ, home)
    login = StoredLogin(
        settings.kind, FileStore((path,), own=own, runtime=runtime, clock=clock), FORMATS[settings.kind], clock=clock
    )
    # Imported here, since it needs requests.
    from app.credentials.oauth.token_endpoint import TokenEndpoint

    issuer = TokenEndpoint(endpoints, open_session(), clock=clock)
    return LoginFlow(issuer, login, PendingLogins(runtime) if pending is None else pending, clock=clock)


def _own_file(kind: str, environ: Mapping[str, str], home: Path) -> Path:
    match kind:
        case "oca":
            return own_oca_file(home)
        case "anthropic":
            paths = find_claude_files(environ, home)
        case "codex":
            paths = find_codex_files(environ, home)
        case _:
            raise KeyError(kind)
    return next((path for path in paths if exists(path)), paths[0])
