"""The blueprint shared by all pages."""

from __future__ import annotations

from flask import Blueprint

from app.dashboard.sign_in import dress, need_dashboard, show_error
from app.errors import DragomanError

blueprint = Blueprint("dashboard", __name__, url_prefix="/_")

blueprint.before_request(need_dashboard)
blueprint.after_request(dress)
blueprint.register_error_handler(DragomanError, show_error)
