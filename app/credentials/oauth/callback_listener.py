"""Listens for the browser's return after signing in at a remote server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

from app.credentials.oauth.login_flow import LoginFailed
from app.credentials.tokens import Tokens

Finish = Callable[[Mapping[str, str]], Tokens]

# Seconds after which a silent connection is closed: browsers open connections before they need them.
_REQUEST_TIMEOUT = 5.0


class CallbackListener:
    """Listens on loopback at the first of `redirect_uris` whose port is free. Use it as a context manager.

    `finish` gets each callback's query, and returns tokens or raises LoginFailed, whose message the browser shows.
    Raises OSError if no port is free.
    """

    def __init__(self, redirect_uris: Iterable[str], finish: Finish) -> None:
        self._finish = finish
        self._done = threading.Event()
        self._tokens: Tokens | None = None
        self.redirect_uri, self._server = self._listen(redirect_uris)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="dragoman-login", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, timeout: float) -> Tokens | None:
        """The tokens of the login, or None if it is not done within `timeout` seconds.

        A failed callback does not end the wait: it may belong to another login, and the user may try again.
        """
        self._done.wait(timeout)
        return self._tokens

    def answer(self, target: str) -> tuple[int, str]:
        """The status and page for a request's target."""
        address, wanted = urlsplit(target), urlsplit(self.redirect_uri)
        if address.path != wanted.path:
            return 404, render_page("Not Found", "This address only receives the result of a login.")
        try:
            self._tokens = self._finish({name: values[0] for name, values in parse_qs(address.query).items()})
        except LoginFailed as error:
            return 400, render_page(error.title, str(error))
        return 200, render_page("Login Successful!", "You can close this window.")

    def note_answered(self) -> None:
        """Ends the wait if the login succeeded. Called once the browser has its page, as the process may end then."""
        if self._tokens is not None:
            self._done.set()

    def _listen(self, redirect_uris: Iterable[str]) -> tuple[str, _Server]:
        problem = OSError("there is no address to listen on")
        for uri in redirect_uris:
            try:
                return uri, _Server(urlsplit(uri).port or 80, self)
            except OSError as error:
                problem = error
        raise problem


def render_page(title: str, message: str) -> str:
    """A small self-contained page. Escapes both texts."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<body><h1>{escape(title)}</h1><p>{escape(message)}</p></body></html>"
    )


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, listener: CallbackListener) -> None:
        self.listener = listener
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _REQUEST_TIMEOUT

    def do_GET(self) -> None:
        try:
            self._answer()
        finally:
            self.server.listener.note_answered()

    def _answer(self) -> None:
        status, page = self.server.listener.answer(self.path)
        body = page.encode()
        self.send_response(status)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        # The address contains a code, which must not get into a cache or a Referer.
        self.send_header("cache-control", "no-store")
        self.send_header("referrer-policy", "no-referrer")
        self.send_header("content-security-policy", "default-src 'none'")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Logs nothing, since the request line contains the code."""
