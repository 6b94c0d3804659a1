"""This package is Dragoman: any client dialect in, any upstream dialect out."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.application import Application
    from app.settings import Settings


def create_app(settings: Settings | None = None) -> Application:
    """The WSGI application. Without settings they are looked for as `dragoman serve` does. Raises ConfigError."""
    # Imported here: gunicorn's master and the commands read settings only, and need neither Flask nor what answers.
    from app.application import Application
    from app.blueprints import api, login, models
    from app.blueprints.api_families import (
        anthropic,
        openai_chat,
        openai_conversations,
        openai_legacy,
        openai_responses,
    )
    from app.blueprints.endpoints import Endpoints
    from app.blueprints.operations import monitoring, permissions, plugins, reports, system
    from app.blueprints.operations.gauges import describe_state
    from app.blueprints.operations.versions import own_version
    from app.blueprints.root_path import RootPath
    from app.credentials.oauth.web_logins import WebLogins
    from app.dashboard import blueprint as dashboard
    from app.dashboard import sign_in, twins
    from app.dashboard.pages import load_pages
    from app.runtime import Runtime
    from app.settings import load_settings
    from app.settings.loading import home_folder

    if settings is None:
        settings = load_settings(None, os.environ, {})
    families = (anthropic, openai_chat, openai_legacy, openai_responses)
    endpoints = Endpoints({path: endpoint for family in families for path, endpoint in family.ENDPOINTS.items()})
    app = Application(Runtime(settings, os.environ, endpoints.roots), endpoints, api.generate, api.refuse_page)
    app.extensions["dragoman.logins"] = WebLogins(
        os.environ, home_folder(os.environ), app.runtime.take_up_login, app.runtime.find_session
    )
    app.runtime.workers.gauges.append(partial(describe_state, app.runtime))
    app.runtime.observers.version = own_version() or "unknown"
    load_pages()
    for module in (
        *families,
        openai_conversations,
        models,
        login,
        reports,
        monitoring,
        permissions,
        plugins,
        system,
        dashboard,
        sign_in,
        twins,
    ):
        app.register_blueprint(module.blueprint)
    app.register_error_handler(404, system.not_found)
    app.register_error_handler(405, system.method_not_allowed)
    app.register_error_handler(Exception, system.internal_error)
    app.before_request(system.guard)
    if settings.server.root_path:
        app.wsgi_app = RootPath(app.wsgi_app, settings.server.root_path)  # type: ignore[method-assign]
    return app
