"""A login between redirect and callback: state, nonce and PKCE verifier, each used once.

Sources: RFC 7636 (PKCE, method S256), RFC 6749 §4.1.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from app.credentials.oauth.endpoints import Endpoints
from app.credentials.stores.private_files import write_private

# Seconds that a user may take to sign in.
LIFETIME = 600.0

# The most logins under way. Real users never start more.
_MAX_PENDING = 100

NewSecret = Callable[[int], str]


class PendingLogin(msgspec.Struct, frozen=True, kw_only=True):
    """What must be remembered until the browser comes back. `authorize_url` is the page at which the user signs in.

    `name` is the provider's, to distinguish several of one kind.
    """

    kind: str
    name: str = ""
    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    authorize_url: str
    expires_at: float

    def __repr__(self) -> str:
        return f"PendingLogin(kind={self.kind!r}, redirect_uri={self.redirect_uri!r})"


def begin_login(
    endpoints: Endpoints,
    redirect_uri: str,
    *,
    now: float,
    name: str = "",
    new_secret: NewSecret = secrets.token_urlsafe,
) -> PendingLogin:
    """Creates a new login. `new_secret` returns the given number of random bytes as URL-safe text."""
    state, nonce, verifier = new_secret(24), new_secret(24), new_secret(96)
    query = {
        **endpoints.authorize_extra,
        "client_id": endpoints.client_id,
        "response_type": "code",
        "redirect_uri": redirect_uri,
        "scope": " ".join(endpoints.scopes),
        "code_challenge": challenge_of(verifier),
        "code_challenge_method": "S256",
        "state": state,
    }
    if endpoints.uses_nonce:
        query["nonce"] = nonce
    return PendingLogin(
        kind=endpoints.kind,
        name=name,
        state=state,
        nonce=nonce,
        verifier=verifier,
        redirect_uri=redirect_uri,
        authorize_url=f"{endpoints.authorize_url}?{urlencode(query)}",
        expires_at=now + LIFETIME,
    )


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def read_pasted(text: str) -> dict[str, str]:
    """The callback's query from pasted text: the whole address, `code#state`, or the code alone."""
    text = text.strip()
    if "://" in text or text.startswith("/") or "code=" in text:
        query = urlsplit(text).query or text.partition("?")[2] or text
        return {name: values[0] for name, values in parse_qs(query).items()}
    code, _, state = text.partition("#")
    return {"code": code, "state": state} if state else {"code": code}


class PendingLogins:
    """Logins under way. Each is found by its state and can be taken once.

    With a `folder`, all workers of a server share them, since the callback may reach another worker than the one that
    began the login. Without one, they are kept in this process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._kept: dict[str, PendingLogin] = {}

    def add(self, pending: PendingLogin, now: float) -> None:
        """Remember `pending`, and forget expired ones."""
        self._drop_expired(now)
        if self._folder is not None:
            with contextlib.suppress(OSError):
                write_private(self._path(pending.state), msgspec.json.encode(pending))
                return
        self._kept[pending.state] = pending

    def find(self, state: str) -> PendingLogin | None:
        """The login with `state`, which stays pending; None if it is unknown."""
        kept = self._kept.get(state)
        if kept is None and self._folder is not None:
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                return msgspec.json.decode(self._path(state).read_bytes(), type=PendingLogin)
        return kept

    def take(self, state: str, now: float) -> PendingLogin | None:
        """Removes and returns the login with `state`; None if it is unknown, expired or already taken."""
        pending = self.find(state)
        # If two callers find it, only one can remove it.
        if pending is None or not self._remove(state):
            return None
        return pending if now < pending.expires_at else None

    def _remove(self, state: str) -> bool:
        if self._kept.pop(state, None) is not None:
            return True
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._path(state).unlink()
                return True
        return False

    def _path(self, state: str) -> Path:
        assert self._folder is not None
        return self._folder / f"login-{hashlib.sha256(state.encode()).hexdigest()[:32]}.json"

    def _drop_expired(self, now: float) -> None:
        self._kept = {state: pending for state, pending in self._kept.items() if now < pending.expires_at}
        while len(self._kept) >= _MAX_PENDING:
            self._kept.pop(next(iter(self._kept)))
        if self._folder is None:
            return
        with contextlib.suppress(OSError):
            by_age = sorted(self._folder.glob("login-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
            for place, path in enumerate(by_age, start=1):
                if place >= _MAX_PENDING or path.stat().st_mtime + LIFETIME < now:
                    path.unlink()
