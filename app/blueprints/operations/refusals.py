"""Answers requests that reach no view, and those that a view refuses or fails at."""

from __future__ import annotations

from flask import Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from app.blueprints.endpoints import Endpoint
from app.blueprints.operations.rights import is_local
from app.blueprints.views import answer_error, family, has_key, refuse, runtime, services, view
from app.errors import DragomanError, Failure
from app.gateway.endpoints.vendor_api import ROOT, find_vendor, relay
from app.gateway.messages import ClientRequest, ClientResponse, new_id
from app.gateway.record import Record
from app.services import Services

# Probes call these by address, without a host name, so it is not checked.
PROBES = frozenset({"/health", "/health/live", "/health/ready", "/ping"})


def guard() -> Response | None:
    """Runs before each request of Flask. Refuses host names that are not ours, and websockets.

    Codex tries a websocket first. Only after a 426 does it fall back to POST at once.
    """
    if request.path not in PROBES and (error := find_host_problem()) is not None:
        return refuse(family(), error.failure)
    if request.headers.get("upgrade", "").lower() == "websocket":
        message = "websockets are not supported; use POST"
        return refuse(family(), Failure(kind="invalid_request", message=message, status=426, origin="client"))
    return None


def find_host_problem() -> DragomanError | None:
    """The error for a request's host name that is not ours, or None."""
    try:
        access = services().access
        access.check_host(request.host, keyless=access.demands_key and not has_key())
    except DragomanError as error:
        return error
    return None


def refuse_request(error: DragomanError) -> Response:
    """Answers what a view refuses."""
    return refuse(family(), error.failure)


def internal_error(error: Exception) -> Response:
    """Answers an exception of a view. What Flask itself refuses keeps its status; anything else is our own fault."""
    if isinstance(error, HTTPException):
        message = error.description or error.name
        failure = Failure(kind="invalid_request", message=message, status=error.code or 400, origin="client")
        return refuse(family(), failure)
    record = runtime().recorder.begin(new_id(), family().NAME, request.environ)
    record.operation = ""
    answer = answer_error(family(), record.fault(error), record)
    record.write()
    return answer


def not_found(_error: Exception) -> Response:
    """The answer of the vendor's API below a mount; else the error for an unknown path, with a hint, in the dialect
    that the request seems to speak."""
    if (relayed := _relay()) is not None:
        return relayed
    message = f"Route not found: {request.method} {request.path}. {hint(request.path)}"
    return refuse(family(), Failure(kind="not_found", message=message, origin="client"))


def _relay() -> Response | None:
    name = request.environ.get("dragoman.provider")
    if not (request.path.startswith(ROOT) and (name or request.environ.get("dragoman.path", "").startswith("/api/"))):
        return None
    if not (services().access.demands_key or is_local(request.environ)):
        return None
    vendor = find_vendor(services().providers, name, family().NAME)
    if vendor is None:
        return None

    def answer(_parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
        record.operation = "relay"
        return relay(vendor, client_request, request.method, request.path, request.query_string.decode())

    return view(Endpoint(family(), answer, names_model=False))


def method_not_allowed(error: MethodNotAllowed) -> Response:
    message = f"{request.path} does not accept {request.method}"
    refused = refuse(family(), Failure(kind="invalid_request", message=message, status=405, origin="client"))
    refused.allow.update(error.valid_methods or ())
    return refused


def hint(path: str) -> str:
    """A hint at the path that was probably meant."""
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
    return "See / for the available paths."
