"""This package is Dragoman: any client dialect in, any upstream dialect out."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.application import Application
    from app.flask_app import FlaskApp
    from app.settings import Settings


def create_app(settings: Settings | None = None) -> FlaskApp:
    """The WSGI application as Flask knows it, with all that Flask answers loaded. Without settings they are looked for
    as `dragoman serve` does. Raises ConfigError."""
    from app.flask_app import FlaskApp

    app = build_application(settings).flask
    assert isinstance(app, FlaskApp)
    return app


def build_application(settings: Settings | None = None) -> Application:
    """The WSGI application for our own worker; Flask is loaded when it is needed. Raises ConfigError."""
    # Imported here: gunicorn's master and the commands read settings only, and need nothing of what answers.
    from app.application import Application
    from app.blueprints import api
    from app.blueprints.api_families import anthropic, openai_chat, openai_legacy, openai_responses
    from app.blueprints.endpoints import Endpoints
    from app.blueprints.operations.gauges import describe_state
    from app.blueprints.operations.versions import own_version
    from app.blueprints.root_path import RootPath
    from app.runtime import Runtime
    from app.settings import load_settings

    if settings is None:
        settings = load_settings(None, os.environ, {})
    families = (anthropic, openai_chat, openai_legacy, openai_responses)
    endpoints = Endpoints({path: endpoint for family in families for path, endpoint in family.ENDPOINTS.items()})
    runtime = Runtime(settings, os.environ, endpoints.roots)
    runtime.observers.find_version = own_version
    runtime.workers.gauges.append(partial(describe_state, runtime))

    def load_flask() -> Flask:
        from app.flask_app import FlaskApp

        return FlaskApp(runtime, endpoints.all)

    app = Application(runtime, endpoints, api.generate, api.refuse_page, load_flask)
    if settings.server.root_path:
        app.wsgi_app = RootPath(app.wsgi_app, settings.server.root_path)
    return app
