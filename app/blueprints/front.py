"""This file is what every API family does with HTTP: read a request, hand it to the gateway, write the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import gevent
from flask import Response, current_app, request

from app.blueprints.bodies import read_body
from app.dialects.contract import Dialect
from app.dialects.registry import DIALECTS
from app.errors import DragomanError, Failure, UpstreamRefused
from app.gateway.messages import Inbound, Outbound, new_id
from app.gateway.record import Record
from app.house import House

SESSION_HEADERS = ("x-claude-code-session-id", "session-id", "session_id", "x-session-id")


def house() -> House:
    """The parts that answer now; a request keeps those that it began with."""
    return cast(House, current_app.extensions["dragoman"].house)


def request_headers() -> dict[str, str]:
    """The request's headers, lower-case, straight from the WSGI environment."""
    environ = request.environ
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            headers[name.replace("_", "-").lower()] = environ[name]
    return headers


def admit(parts: House, headers: Mapping[str, str]) -> None:
    """Raises Unauthorized unless the client shows a key where one is demanded."""
    parts.access.check_key(headers)


def read_inbound(parts: House, dialect: Dialect) -> Inbound:
    """The request of this HTTP request. Raises DragomanError for a bad key or body."""
    headers = request_headers()
    admit(parts, headers)
    length = request.environ.get("CONTENT_LENGTH")
    body = read_body(
        request.environ["wsgi.input"],
        int(length) if length else None,
        headers.get("content-encoding", ""),
        parts.settings.server.max_body_mb * 1024 * 1024,
    )
    session = request.environ.get("dragoman.session") or next(
        (headers[name] for name in SESSION_HEADERS if name in headers), None
    )
    client_headers = parts.access.client_headers(headers)
    return Inbound(dialect, body, client_headers, provider=request.environ.get("dragoman.provider"), session=session)


def answer(dialect: Dialect) -> Response:
    """The whole way of one generating request, from its bytes to its log line."""
    parts = house()
    record = Record(new_id(), dialect.NAME, None)
    active = current_app.extensions["dragoman"].active
    client_socket = request.environ.get("gunicorn.socket")
    token = active.register(client_socket, gevent.getcurrent()) if client_socket is not None else -1
    streaming = False
    try:
        inbound = read_inbound(parts, dialect)
        inbound.id, record.session = record.id, inbound.session
        outbound = parts.gateway.answer(inbound, record)
        streaming = not isinstance(outbound.body, bytes)
        response = write_outbound(outbound, record)
        if streaming:
            response.response = _watched(cast(Iterator[bytes], outbound.body), record, active, token)
        return response
    except DragomanError as error:
        record.terminal = "error"
        record.error, record.origin = error.failure.kind, error.failure.origin
        return write_error(dialect, error, record)
    except BaseException:
        record.terminal = "client_closed"
        record.status = 499
        raise
    finally:
        if not streaming:
            active.unregister(token)
            record.write()


def write_outbound(outbound: Outbound, record: Record) -> Response:
    record.status = outbound.status
    response = Response(outbound.body, outbound.status, outbound.headers, direct_passthrough=True)
    return sign(response, record.id)


def write_error(dialect: Dialect, error: DragomanError, record: Record) -> Response:
    """The error in the client's dialect, with a mark on those that the gateway itself made."""
    failure = error.failure
    body = error.body if isinstance(error, UpstreamRefused) and error.body is not None else None
    headers = dict(error.headers) if isinstance(error, UpstreamRefused) else {}
    if failure.retry_after is not None:
        headers.setdefault("retry-after", failure.retry_after)
    if failure.origin != "upstream":
        headers["x-gateway-error"] = failure.kind
    record.status = dialect.error_status(failure)
    response = Response(
        body or dialect.render_error(failure, record.id), record.status, headers, content_type="application/json"
    )
    return sign(response, record.id)


def refuse(dialect: Dialect, failure: Failure) -> Response:
    """An error outside any generating request."""
    error = DragomanError(failure.message)
    error.failure = failure
    return write_error(dialect, error, Record(new_id(), dialect.NAME, None))


def family() -> Dialect:
    """The dialect that a request without a known path, or without a body, probably expects."""
    path = request.path
    if "/messages" in path or "anthropic-version" in request.headers:
        return DIALECTS["anthropic_messages"]
    return DIALECTS["openai_responses" if "/responses" in path else "openai_chat"]


def sign(response: Response, request_id: str) -> Response:
    """Both families' SDKs look for the id of a request, under different names."""
    response.headers["x-request-id"] = request_id
    response.headers["request-id"] = request_id
    return response


def _watched(parts: Iterator[bytes], record: Record, active: object, token: int) -> Iterator[bytes]:
    """A stream that is taken off the watch list, and logged, however it ends."""
    try:
        yield from parts
    except GeneratorExit:
        record.terminal = "client_closed"
        raise
    finally:
        active.unregister(token)  # type: ignore[attr-defined]
        record.write()
