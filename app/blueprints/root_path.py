"""Serves everything below `[server] root_path`, behind a proxy that shares its host name with others.

The proxy may pass the path on as it came, or strip the prefix first: both work. Pages, redirects and cookies contain
absolute paths, which get the prefix here as they leave.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Attributes of our pages that hold absolute paths. `//host` is another site.
_LINK = re.compile(rb'((?:href|src|action|data-stream|hx-[a-z:]{2,12})=")/(?!/)')
_COOKIE_PATH = re.compile(r"(; ?[Pp]ath=)/")


class RootPath:
    """A WSGI application below `root`, which begins with a slash and does not end with one."""

    def __init__(self, app: WSGIApplication, root: str) -> None:
        self._app = app
        self._root = root

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == self._root or path.startswith(self._root + "/"):
            environ["PATH_INFO"] = path[len(self._root) :] or "/"
        environ["SCRIPT_NAME"] = self._root
        page: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            moved = [(name, self._move(name.lower(), value)) for name, value in headers]
            if any(name.lower() == "content-type" and value.startswith("text/html") for name, value in headers):
                page[:] = [status, moved]
                return _refuse_write
            return start_response(status, moved, exc_info)

        body = self._app(environ, start)
        return self._send_page(body, page, start_response) if page else body

    def _move(self, name: str, value: str) -> str:
        if name == "location" and value.startswith("/") and not value.startswith("//"):
            return self._root + value
        if name == "set-cookie":
            return _COOKIE_PATH.sub(rf"\g<1>{self._root}/", value, count=1)
        return value

    def _send_page(self, body: Iterable[bytes], page: list[Any], start_response: StartResponse) -> list[bytes]:
        try:
            whole = b"".join(body)
        finally:
            if hasattr(body, "close"):
                body.close()
        status, headers = page
        whole = _LINK.sub(rb"\g<1>" + self._root.encode() + b"/", whole)
        # A response to HEAD has no body, and so no length.
        kept_headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        if whole:
            kept_headers.append(("Content-Length", str(len(whole))))
        start_response(status, kept_headers)
        return [whole]


def _refuse_write(_part: bytes) -> object:
    raise RuntimeError("a page is returned, never written")
