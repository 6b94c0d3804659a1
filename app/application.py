"""The WSGI application: generating requests answered at once, and Flask behind them for all others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent
from gevent import monkey

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from app.blueprints.api import WsgiResponse
    from app.blueprints.endpoints import Endpoint, Endpoints
    from app.flask_app import FlaskApp
    from app.gateway.peek import Parts
    from app.runtime import Runtime

    RefusePage = Callable[[Runtime, dict[str, Any]], WsgiResponse | None]
    Generate = Callable[[Runtime, dict[str, Any], Endpoint, Parts], WsgiResponse]


class Application:
    """What a server calls. The mount is taken off the path, and a generating request takes a path of its own: Flask's
    context, route look-up and response objects cost more than the whole relay.

    Any other request is Flask's, which is loaded when the first of them comes: it is a sixth of a worker's memory.
    """

    def __init__(
        self,
        runtime: Runtime,
        endpoints: Endpoints,
        generate: Generate,
        refuse_page: RefusePage,
        load_flask: Callable[[], FlaskApp],
    ) -> None:
        self.runtime = runtime
        # What stands in front of all requests takes its place.
        self.wsgi_app: WSGIApplication = self._answer
        self._endpoints = endpoints
        self._generate = generate
        self._refuse_page = refuse_page
        self._load_flask = load_flask
        self._loading = threading.Lock()
        self._flask: FlaskApp | None = None
        self._ask_flask: WSGIApplication

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        return self.wsgi_app(environ, start_response)

    @property
    def flask(self) -> FlaskApp:
        """Flask, whose own clients and commands ask this whole application. Its loading keeps no other request waiting:
        under gevent it is done in a thread."""
        with self._loading:
            if self._flask is None:
                apart = monkey.is_module_patched("threading")
                made = gevent.get_hub().threadpool.apply(self._load_flask) if apart else self._load_flask()
                self._ask_flask = made.wsgi_app
                made.wsgi_app = self  # type: ignore[method-assign]
                self._flask = made
        return self._flask

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
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
            if self._flask is None:
                self.flask  # noqa: B018  # loads it
            return self._ask_flask(environ, start_response)
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
