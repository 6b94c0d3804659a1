"""This file is the Responses family."""

from __future__ import annotations

from flask import Blueprint, Response, request

from app.blueprints.front import refuse, view
from app.dialects.registry import DIALECTS
from app.errors import Failure

blueprint = Blueprint("openai_responses", __name__)
DIALECT = DIALECTS["openai_responses"]
GENERATING = ("/v1/responses", "/responses")


def create_response() -> Response:
    return view(DIALECT)


def refuse_upgrade() -> Response:
    """Codex asks for a websocket first; only a 426 makes it go on with POST at once."""
    wants = request.headers.get("upgrade", "").lower() == "websocket"
    message = "websockets are not served here; use POST" if wants else "responses are made with POST"
    failure = Failure(kind="invalid_request", message=message, status=426 if wants else 405, origin="client")
    return refuse(DIALECT, failure)


for _path in GENERATING:
    blueprint.add_url_rule(_path, view_func=create_response, methods=["POST"])
    blueprint.add_url_rule(_path, view_func=refuse_upgrade, methods=["GET"])
