"""This file is the Responses family."""

from __future__ import annotations

from flask import Blueprint, Response, request

from app.blueprints.front import answer, refuse
from app.dialects.registry import DIALECTS
from app.errors import Failure

blueprint = Blueprint("openai_responses", __name__)
DIALECT = DIALECTS["openai_responses"]


@blueprint.post("/v1/responses")
@blueprint.post("/responses")
def create_response() -> Response:
    return answer(DIALECT)


@blueprint.get("/v1/responses")
@blueprint.get("/responses")
def upgrade() -> Response:
    """Codex asks for a websocket first; only a 426 makes it go on with POST at once."""
    wants = request.headers.get("upgrade", "").lower() == "websocket"
    message = "websockets are not served here; use POST" if wants else "responses are made with POST"
    failure = Failure(kind="invalid_request", message=message, status=426 if wants else 405, origin="client")
    return refuse(DIALECT, failure)
