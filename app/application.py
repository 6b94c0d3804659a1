"""The WSGI application: Flask, behind a fast path for generating requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Flask

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from app.blueprints.api import WsgiResponse
    from app.blueprints.endpoints import Endpoint, Endpoints
    from app.gateway.peek import Parts
    from app.runtime import Runtime

    RefusePage = Callable[[Runtime, dict[str, Any]], WsgiResponse | None]
    Generate = Callable[[Runtime, dict[str, Any], Endpoint, Parts], WsgiResponse]


class Application(Flask):
    """Flask, with two things before its dispatch: the mount is taken off the path, and a generating request takes a
    path of its own, because a context, a route look-up and response objects cost more than the whole relay."""

    def __init__(self, runtime: Runtime, endpoints: Endpoints, generate: Generate, refuse_page: RefusePage) -> None:
        super().__init__(__name__, static_folder=None)
        self.runtime = runtime
        self.extensions["dragoman"] = runtime
        self._endpoints = endpoints
        self._generate = generate
        self._refuse_page = refuse_page

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        self.runtime.unmount(environ)
        if "HTTP_ORIGIN" in environ and not environ["PATH_INFO"].startswith("/_/"):
            start_response = self._allow_origin(environ, start_response)
        if "HTTP_ORIGIN" in environ or "HTTP_SEC_FETCH_SITE" in environ:
            refused = self._refuse_page(self.runtime, environ)
            if refused is not None:
                start_response(refused.status, refused.headers)
                return refused.body
        path = environ["PATH_INFO"]
        found = self._endpoints.plain.get(path) or self._endpoints.match(path)
        if found is None or environ["REQUEST_METHOD"] != "POST":
            return super().wsgi_app(environ, start_response)
        written = self._generate(self.runtime, environ, *found)
        start_response(written.status, written.headers)
        return written.body

    def _allow_origin(self, environ: WSGIEnvironment, start_response: StartResponse) -> StartResponse:
        """Adds the headers that let a page of a configured origin read the answer."""
        access, origin = self.runtime.services.access, environ["HTTP_ORIGIN"]
        preflight = environ["REQUEST_METHOD"] == "OPTIONS"
        allowed = access.preflight_headers(origin) if preflight else access.cors_headers(origin)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, *allowed], exc_info)

        return start if allowed else start_response
