"""The Flask part of the application, which answers all requests but the generating ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from flask import Flask

from app.blueprints import models
from app.blueprints.api_families import anthropic_counting, openai_stored
from app.blueprints.operations import monitoring, permissions, plugins, refusals, reports, system
from app.blueprints.views import add_endpoints
from app.credentials.oauth.web_logins import WebLogins
from app.dashboard import blueprint as dashboard
from app.dashboard import json_views, login, sign_in
from app.dashboard.pages import load_pages
from app.errors import DragomanError
from app.settings.places import home_folder

if TYPE_CHECKING:
    from app.blueprints.endpoints import Endpoint
    from app.runtime import Runtime


class FlaskApp(Flask):
    """Flask with our views, which use `runtime`."""

    def __init__(self, runtime: Runtime, endpoints: Mapping[str, Endpoint]) -> None:
        super().__init__(__name__, static_folder=None)
        self.runtime = runtime
        self.extensions["dragoman"] = runtime
        self.extensions["dragoman.logins"] = WebLogins(
            os.environ, home_folder(os.environ), runtime.reload_login, runtime.find_session
        )
        add_endpoints(self, endpoints)
        load_pages()
        for module in (
            anthropic_counting,
            openai_stored,
            models,
            login,
            reports,
            monitoring,
            permissions,
            plugins,
            system,
            dashboard,
            sign_in,
            json_views,
        ):
            self.register_blueprint(module.blueprint)
        self.register_error_handler(404, refusals.not_found)
        self.register_error_handler(405, refusals.method_not_allowed)
        self.register_error_handler(DragomanError, refusals.refuse_request)
        self.register_error_handler(Exception, refusals.internal_error)
        self.before_request(refusals.guard)
