"""The WSGI application: answers generating requests directly, and passes all others to Flask."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import gevent
from gevent import monkey

from app.blueprints.api import generate, refuse_page
from app.blueprints.api_families import anthropic, openai
from app.blueprints.endpoints import Endpoints
from app.blueprints.operations.gauges import describe_state
from app.blueprints.operations.versions import own_version
from app.blueprints.root_path import RootPath
from app.headers import FIELDS, HeaderFields
from app.runtime import Runtime

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from app.flask_app import FlaskApp
    from app.settings import Settings


class Application:
    """What a server calls. Strips the mount from the path, and answers generating requests without Flask, whose
    context, route look-up and response objects cost more than the whole relay.

    Flask answers all other requests. It takes a sixth of a worker's memory, so it is loaded with the first of them.
    """

    def __init__(
        self,
        runtime: Runtime,
        endpoints: Endpoints,
        load_flask: Callable[[], FlaskApp],
    ) -> None:
        self.runtime = runtime
        # Middleware for all requests replaces it.
        self.wsgi_app: WSGIApplication = self._answer
        self._endpoints = endpoints
        self._load_flask = load_flask
        self._loading = threading.Lock()
        self._flask: FlaskApp | None = None
        self._ask_flask: WSGIApplication

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        return self.wsgi_app(environ, start_response)

    @property
    def flask(self) -> FlaskApp:
        """Flask, loaded on first use. Its own test clients and commands call this whole application. Under gevent it is
        loaded in a thread, so that no other request has to wait."""
        with self._loading:
            if self._flask is None:
                apart = monkey.is_module_patched("threading")
                made = gevent.get_hub().threadpool.apply(self._load_flask) if apart else self._load_flask()
                self._ask_flask = made.wsgi_app
                made.wsgi_app = self  # type: ignore[method-assign]
                self._flask = made
        return self._flask

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        fields: HeaderFields | None = environ.get(FIELDS)
        plain = environ["PATH_INFO"] in self.runtime.plain_paths
        if fields is not None and plain:
            owner, found = fields.entrance
            if owner is self:  # not sent by a page, and the path is that of an endpoint
                written = generate(self.runtime, environ, *found)
                start_response(written.status, written.headers)
                return written.body
            if environ["REQUEST_METHOD"] == "POST" and not {"origin", "sec-fetch-site"} & fields.keys():
                found = self._endpoints.plain.get(environ["PATH_INFO"])
                fields.entrance = (None, None) if found is None else (self, found)
        return self._answer_any(environ, start_response)

    def _answer_any(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        if environ["PATH_INFO"] not in self.runtime.plain_paths:
            self.runtime.unmount(environ)
        if "HTTP_ORIGIN" in environ and not environ["PATH_INFO"].startswith("/_/"):
            start_response = self._allow_origin(environ, start_response)
        if "HTTP_ORIGIN" in environ or "HTTP_SEC_FETCH_SITE" in environ:
            refused = refuse_page(self.runtime, environ)
            if refused is not None:
                start_response(refused.status, refused.headers)
                return refused.body
        path = environ["PATH_INFO"]
        found = self._endpoints.plain.get(path) or self._endpoints.match(path)
        if found is None or environ["REQUEST_METHOD"] != "POST":
            if self._flask is None:
                self.flask  # noqa: B018  # loads it
            return self._ask_flask(environ, start_response)
        written = generate(self.runtime, environ, *found)
        start_response(written.status, written.headers)
        return written.body

    def _allow_origin(self, environ: WSGIEnvironment, start_response: StartResponse) -> StartResponse:
        """Adds the headers that let a page from a configured origin read the response."""
        access, origin = self.runtime.services.access, environ["HTTP_ORIGIN"]
        preflight = environ["REQUEST_METHOD"] == "OPTIONS"
        allowed = access.preflight_headers(origin) if preflight else access.cors_headers(origin)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, *allowed], exc_info)

        return start if allowed else start_response


def build_application(settings: Settings) -> Application:
    """Builds the WSGI application for our own worker. Raises ConfigError."""
    families = (anthropic, openai)
    endpoints = Endpoints({path: endpoint for family in families for path, endpoint in family.ENDPOINTS.items()})
    runtime = Runtime(settings, os.environ, endpoints.roots)
    runtime.observers.find_version = own_version
    runtime.workers.gauges.append(partial(describe_state, runtime))

    def load_flask() -> FlaskApp:
        from app.flask_app import FlaskApp

        return FlaskApp(runtime, endpoints.all)

    app = Application(runtime, endpoints, load_flask)
    if settings.server.root_path:
        app.wsgi_app = RootPath(app.wsgi_app, settings.server.root_path)
    return app
