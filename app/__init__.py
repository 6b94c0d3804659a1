"""This package is Dragoman: any client dialect in, any upstream dialect out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from app.household import Household
    from app.settings import Settings


def create_app(settings: Settings | None = None) -> Flask:
    """The WSGI application. Without settings they are looked for as `dragoman serve` does. Raises ConfigError."""
    from app.blueprints import anthropic, models, openai_chat, openai_responses, system
    from app.household import Household
    from app.settings import load_settings

    if settings is None:
        settings = load_settings(None, os.environ, {})
    app = _Dragoman(__name__, static_folder=None)
    app.extensions["dragoman"] = app.household = Household(settings, os.environ)
    for module in (anthropic, openai_chat, openai_responses, models, system):
        app.register_blueprint(module.blueprint)
    app.register_error_handler(404, system.not_found)
    app.register_error_handler(405, system.method_not_allowed)
    app.register_error_handler(Exception, system.internal_error)
    app.before_request(system.guard)
    return app


class _Dragoman(Flask):
    """Takes the mount off a path before Flask looks for its route."""

    household: Household

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.household.unmount(environ)
        return super().wsgi_app(environ, start_response)
