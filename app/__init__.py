"""Dragoman: an LLM gateway that lets a client of any dialect use an upstream of any dialect."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.flask_app import FlaskApp
    from app.settings import Settings


def create_app(settings: Settings | None = None) -> FlaskApp:
    """The WSGI application as a Flask application. Without `settings`, they are found as `dragoman serve` finds them.
    Raises ConfigError."""
    # Imported here: the commands import this package too, and need none of this.
    from app.application import build_application
    from app.settings import load_settings

    return build_application(settings or load_settings(None, os.environ, {})).flask
