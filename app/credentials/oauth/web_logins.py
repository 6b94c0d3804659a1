"""Logins of a running server, begun in one web request and finished in another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from app.credentials.oauth.callback_listener import CallbackListener
from app.credentials.oauth.login_flow import LoginFailed, LoginFlow, open_flow
from app.credentials.oauth.pending_login import LIFETIME, PendingLogin, PendingLogins
from app.credentials.stores.private_files import runtime_folder
from app.credentials.tokens import Tokens
from app.settings.tables import ProviderSettings

if TYPE_CHECKING:
    from requests import Session

Logins = Mapping[str, ProviderSettings]

# Paths of the registered redirects at which the server itself can receive the browser's return.
CALLBACK_PATHS = ("/callback", "/auth/callback", "/auth/oca")


class Begun(msgspec.Struct, frozen=True):
    """A login that waits for its user. `returns` is True if the browser comes back by itself; else the user must paste
    the code."""

    pending: PendingLogin
    returns: bool


class WebLogins:
    """Begins and finishes the logins of a server's providers. Any worker can finish what another began.

    `on_change` is called with the name of a provider whose login has changed. `find_session` returns the HTTP session
    for calls to a provider's issuer.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        home: Path,
        on_change: Callable[[str], None],
        find_session: Callable[[str], Session],
    ) -> None:
        self._environ = environ
        self._home = home
        self._on_change = on_change
        self._find_session = find_session
        self._pending = PendingLogins(runtime_folder(environ))
        self._listeners: dict[str, CallbackListener] = {}

    def begin(self, name: str, logins: Logins, local_port: int | None) -> Begun:
        """Start the login of provider `name`.

        `local_port` is the port at which the browser reached us if it is on this machine, else None: no redirect leads
        to a gateway on another machine. If it is not a registered port, a listener waits at one that is.
        """
        flow = self._open(name, logins)
        returns = self._find_return(name, logins, flow, local_port) if local_port is not None else None
        return Begun(flow.begin(returns, name=name), returns is not None)

    def finish(self, query: Mapping[str, str], logins: Logins) -> Tokens:
        """Finish the login that `query` belongs to, which comes from a callback or pasted text. Raises LoginFailed."""
        pending = self._pending.find(query.get("state", ""))
        name = pending.name if pending is not None and pending.name in logins else next(iter(logins), None)
        if name is None:
            raise LoginFailed("unknown_state", "No provider of this gateway uses a login.")
        tokens = self._open(name, logins).finish(query)
        self._on_change(name)
        return tokens

    def log_out(self, name: str, logins: Logins) -> None:
        """Remove the login of provider `name`. Raises OSError."""
        self._open(name, logins).log_out()
        self._on_change(name)

    def _open(self, name: str, logins: Logins) -> LoginFlow:
        way = partial(self._find_session, name)
        return open_flow(logins[name], self._environ, self._home, way, pending=self._pending)

    def _find_return(self, name: str, logins: Logins, flow: LoginFlow, local_port: int) -> str | None:
        for uri in flow.loopback_redirects:
            if urlsplit(uri).port == local_port and urlsplit(uri).path in CALLBACK_PATHS:
                return uri
        waiting = self._listeners.get(name)
        if waiting is not None:
            return waiting.redirect_uri
        try:
            listener = CallbackListener(flow.loopback_redirects, lambda query: self.finish(query, logins))
        except OSError:
            return None
        self._listeners[name] = listener
        threading.Thread(
            target=self._await_callback, args=(name, listener), name="dragoman-login-wait", daemon=True
        ).start()
        return listener.redirect_uri

    def _await_callback(self, name: str, listener: CallbackListener) -> None:
        with listener:
            listener.wait(LIFETIME)
            del self._listeners[name]
