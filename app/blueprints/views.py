"""What views outside the fast path share: the current services, and errors in the client's dialect."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from flask import Flask, Response, current_app, request

from app.blueprints.api import generate, list_ids, write_error
from app.blueprints.endpoints import Endpoint
from app.dialects.contract import ClientDialect
from app.dialects.registry import find_dialect
from app.errors import DragomanError, Failure, Unauthorized
from app.gateway.messages import new_id
from app.gateway.record import Record
from app.headers import read_headers

if TYPE_CHECKING:
    from app.runtime import Runtime
    from app.services import Services


def runtime() -> Runtime:
    return cast("Runtime", current_app.extensions["dragoman"])


def services() -> Services:
    """The current services. A request keeps those that it began with, even across a reload."""
    return runtime().services


def has_key(*, to_manage: bool = False) -> bool:
    """Whether the request has a valid client key in its headers, or needs none. With `to_manage`, whether this key may
    change logins."""
    try:
        key = services().access.check_key(read_headers(request.environ))
    except Unauthorized:
        return False
    return key.may_manage or not to_manage


def add_endpoints(app: Flask, endpoints: Mapping[str, Endpoint]) -> None:
    """Registers the endpoints as views too. So Flask knows their paths and refuses other methods with a 405."""
    for path, endpoint in endpoints.items():
        app.add_url_rule(path, path, partial(view, endpoint), methods=["POST"])


def view(endpoint: Endpoint, **path_parts: Any) -> Response:
    """`generate` as a Flask view."""
    written = generate(runtime(), request.environ, endpoint, path_parts)
    return Response(written.body, written.status, written.headers, direct_passthrough=True)


def family() -> ClientDialect:
    """The dialect that the request probably expects, judged by its path and headers."""
    return find_dialect(request.path, request.headers.__contains__)


def refuse(dialect: ClientDialect, failure: Failure) -> Response:
    """The error response outside generating requests, with a log line, so that a wrong path or key leaves a trace."""
    error = DragomanError(failure.message)
    error.failure = failure
    record = runtime().recorder.begin(new_id(), dialect.NAME, request.environ)
    record.operation = ""
    record.fail(error)
    refused = answer_error(dialect, error, record)
    record.write()
    return refused


def answer_error(dialect: ClientDialect, error: DragomanError, record: Record) -> Response:
    written = write_error(dialect, error, record)
    return Response(written.body, written.status, written.headers)


def sign(response: Response, request_id: str) -> Response:
    response.headers.extend(list_ids(request_id))
    return response
