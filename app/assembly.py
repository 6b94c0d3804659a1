"""Puts the WSGI application together."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from app.application import Application
from app.blueprints import api
from app.blueprints.api_families import anthropic, openai_chat, openai_legacy, openai_responses
from app.blueprints.endpoints import Endpoints
from app.blueprints.operations.gauges import describe_state
from app.blueprints.operations.versions import own_version
from app.blueprints.root_path import RootPath
from app.runtime import Runtime

if TYPE_CHECKING:
    from app.flask_app import FlaskApp
    from app.settings import Settings


def build_application(settings: Settings) -> Application:
    """The WSGI application for our own worker. Raises ConfigError."""
    families = (anthropic, openai_chat, openai_legacy, openai_responses)
    endpoints = Endpoints({path: endpoint for family in families for path, endpoint in family.ENDPOINTS.items()})
    runtime = Runtime(settings, os.environ, endpoints.roots)
    runtime.observers.find_version = own_version
    runtime.workers.gauges.append(partial(describe_state, runtime))

    def load_flask() -> FlaskApp:
        from app.flask_app import FlaskApp

        return FlaskApp(runtime, endpoints.all)

    app = Application(runtime, endpoints, api.generate, api.refuse_page, load_flask)
    if settings.server.root_path:
        app.wsgi_app = RootPath(app.wsgi_app, settings.server.root_path)
    return app
