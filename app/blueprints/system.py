"""This file is what tells about the server itself, and what clients touch besides their API."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import HTTPException

from app.blueprints.front import family, house, refuse
from app.errors import DragomanError, Failure

blueprint = Blueprint("system", __name__)
log = logging.getLogger("dragoman")


@blueprint.get("/")
def index() -> Response:
    """Name and links. Claude Code sends HEAD here to see whether anybody is at home."""
    return _json(
        {
            "name": "dragoman",
            "message": "Dragoman, the interpreter between AI clients and language models",
            "health": "/health",
            "models": "/v1/models",
            "endpoints": ["/v1/messages", "/v1/chat/completions", "/v1/responses"],
        }
    )


@blueprint.get("/health")
def health() -> Response:
    """`status` is "healthy" while requests can be answered; `config` tells of a broken file that was not taken over."""
    parts = house()
    problem = current_app.extensions["dragoman"].problem
    body: dict[str, Any] = {
        "status": "healthy",
        "service": "dragoman",
        "providers": {name: _provider_health(provider) for name, provider in parts.providers.items()},
        "config": {"ok": problem is None, "error": problem},
    }
    return _json(body)


@blueprint.get("/ping")
def ping() -> Response:
    return _json({"status": "ok"})


@blueprint.route("/api/hello", methods=["GET", "HEAD"])
def hello() -> Response:
    return _json({"status": "ok"})


@blueprint.post("/api/event_logging/batch")
def swallow_telemetry() -> Response:
    """Claude Code's telemetry: thanked for and thrown away."""
    return Response(status=204)


def guard() -> Response | None:
    """Before every request: the name under which we were called must be ours, and it must be plain HTTP.

    Codex asks for a websocket first; a 426 is the only answer after which it goes on with POST at once.
    """
    try:
        house().access.check_host(request.host)
    except DragomanError as error:
        return refuse(family(), error.failure)
    if request.headers.get("upgrade", "").lower() == "websocket":
        message = "websockets are not served here; use POST"
        return refuse(family(), Failure(kind="invalid_request", message=message, status=426, origin="client"))
    return None


def internal_error(error: Exception) -> Response:
    """A fault of ours. Its text may hold anything, so the client only gets an id to look for in the log."""
    if isinstance(error, HTTPException):
        said = error.description or error.name
        failure = Failure(kind="invalid_request", message=said, status=error.code or 400, origin="client")
        return refuse(family(), failure)
    log.exception("a request failed", exc_info=error)
    return refuse(family(), Failure(kind="internal", message="internal error of the gateway; see its log"))


def not_found(_error: Exception) -> Response:
    """An unknown path, in the words of the dialect it looks like, with a hint."""
    message = f"Route not found: {request.method} {request.path}. {hint(request.path)}"
    return refuse(family(), Failure(kind="not_found", message=message, origin="client"))


def method_not_allowed(_error: Exception) -> Response:
    message = f"{request.path} does not take {request.method}"
    return refuse(family(), Failure(kind="invalid_request", message=message, status=405, origin="client"))


def hint(path: str) -> str:
    """Where a request on this path was probably meant to go."""
    for word, route in (
        ("count_tokens", "/v1/messages/count_tokens"),
        ("message", "/v1/messages"),
        ("response", "/v1/responses"),
        ("chat", "/v1/chat/completions"),
        ("complet", "/v1/chat/completions"),
        ("model", "/v1/models"),
    ):
        if word in path:
            return f"Did you mean {route}? An SDK's base URL ends in /v1 for OpenAI and before it for Anthropic."
    return "See / for what is served."


def _provider_health(provider: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"kind": provider.settings.kind}
    if provider.source is not None:
        status = provider.source.describe()
        entry["authenticated"] = status.problem is None
        if status.expires_at is not None:
            entry["token_expiry"] = status.expires_at
        if status.problem is not None:
            entry["problem"] = status.problem
    return entry


def _json(body: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(body), content_type="application/json")
