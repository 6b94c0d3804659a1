"""Handles a generating request over HTTP: reads it, hands it to the gateway, writes the response.

It bypasses Flask's dispatch and its request and response objects: they cost more than the whole relay, and a worker
that only relays need not load Flask. The views of all other requests use `views.py`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Any

import gevent
import msgspec

from app.blueprints.bodies import SMALL, check_transfer, read_body, read_length
from app.blueprints.endpoints import Endpoint
from app.credentials.credential import name_login_page
from app.dialects.contract import ClientDialect
from app.dialects.json_bodies import name_model
from app.dialects.registry import find_dialect
from app.errors import (
    CredentialUnavailable,
    DragomanError,
    Failure,
    Forbidden,
    InvalidRequest,
    LimitReached,
    Unauthorized,
    UpstreamRefused,
    UpstreamUnreachable,
)
from app.gateway.failures.policy import is_lasting, with_end
from app.gateway.large_bodies.body_budget import Hold, NoRoom
from app.gateway.messages import MAX_NAME, ClientRequest, ClientResponse, new_id
from app.gateway.peek import NO_PARTS, Parts
from app.gateway.record import Record
from app.gateway.replies.reply_headers import with_own_limits
from app.headers import FIELDS, HeaderFields, read_headers
from app.transport import ActiveRequests

if TYPE_CHECKING:
    from app.gateway.use_limits.limiter import Reservation
    from app.runtime import Runtime
    from app.services import Services

_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class WsgiResponse(msgspec.Struct, frozen=True):
    """A response as WSGI wants it."""

    status: str
    headers: list[tuple[str, str]]
    body: Iterable[bytes]


def read_client_request(
    owner: Runtime, parts: Services, environ: dict[str, Any], endpoint: Endpoint, request_id: str | None = None,
    path_parts: Parts = NO_PARTS,
) -> ClientRequest:  # fmt: skip
    """Checks host and key, and reads the body. The caller must call `release_body` once the request is done, whatever
    happens. Raises DragomanError for a wrong host, key or body."""
    known = environ.get(FIELDS)
    headers: HeaderFields = read_headers(environ) if known is None else known
    admission = parts.access.admit(headers)
    length = read_length(environ.get("CONTENT_LENGTH"))
    if "HTTP_TRANSFER_ENCODING" in environ:
        check_transfer(environ["HTTP_TRANSFER_ENCODING"])
    limit = parts.settings.server.max_body_mb * 1024 * 1024
    encoding = headers.get("content-encoding", "")
    hold = None
    if encoding or length is None or length > SMALL or endpoint.continues:
        hold = environ["dragoman.hold"] = owner.bodies.hold(admission.key.tenant)
    body = read_body(environ["wsgi.input"], length, encoding, limit, hold)
    if "dragoman.model" in environ:
        body = name_model(body, environ["dragoman.model"])
    session = environ.get("dragoman.session") or path_parts.get("session")
    if session is None:
        session = admission.session
    if session is not None and len(session) > MAX_NAME:
        raise InvalidRequest(f"a session's name may have at most {MAX_NAME} characters", param="session_id")
    client_request = ClientRequest(endpoint.dialect, body, admission.client_headers, admission.key, request_id)
    client_request.provider = environ.get("dragoman.provider")
    client_request.session = session
    client_request.session_mounted = "dragoman.session" in environ or "session" in path_parts
    client_request.read_peek, client_request.parts = endpoint.read_peek, path_parts
    client_request.plans = admission.plans
    if hold is not None:
        client_request.hold = hold
    return client_request


def admit(
    owner: Runtime, parts: Services, client_request: ClientRequest, record: Record, environ: Mapping[str, Any]
) -> ClientRequest:
    """Notes in the record who asks, and returns the request as the hooks allow and change it. Raises DragomanError if a
    hook refuses it."""
    record.admitted = True
    record.session, record.tenant = client_request.session, client_request.tenant
    record.key = client_request.key.name or None
    record.bytes_in = len(client_request.body)
    observers = owner.observers
    if observers.wiretaps is not None and (wiretap := observers.wiretaps.open(record)) is not None:
        record.wiretap = wiretap
        wiretap.client_request(environ, client_request.body)
    hooks = observers.hooks
    if hooks.look_at_requests:
        client_request.plans = None  # a hook may change the request, so that it no longer matches its head
        return hooks.admit(client_request)
    return client_request


def is_strange(error: DragomanError, record: Record) -> bool:
    """Whether a refused request came from somebody who has no access to the gateway."""
    return not record.admitted and isinstance(error, Unauthorized | Forbidden)


def release_body(environ: Mapping[str, Any]) -> None:
    """Returns the memory of the request's body to the budget."""
    hold = environ.get("dragoman.hold")
    if hold is not None:
        hold.release()


def generate(owner: Runtime, environ: dict[str, Any], endpoint: Endpoint, path_parts: Parts = NO_PARTS) -> WsgiResponse:
    """Handles a request completely, from its bytes to its log line. `path_parts` are the variable parts of its path."""
    dialect = endpoint.dialect
    parts = owner.services
    record = owner.recorder.begin(new_id(), dialect.NAME, environ)
    active = owner.active
    client_socket = environ.get("gunicorn.socket")
    token = record.token = active.register(client_socket, gevent.getcurrent()) if client_socket is not None else -1
    streaming = False
    client_request = None
    try:
        client_request = read_client_request(owner, parts, environ, endpoint, record.id, path_parts)
        client_request = admit(owner, parts, client_request, record, environ)
        if client_request.key.limits and client_request.body and endpoint.names_model:
            reservation = record.reservation = _reserve(owner, parts, client_request, endpoint)
            client_response = endpoint.answer(parts, client_request, record)
            own_limits = reservation.limit_headers(dialect.TRAITS)
            client_response.headers = with_own_limits(client_response.headers, own_limits)
        else:
            client_response = endpoint.answer(parts, client_request, record)
        streaming = not isinstance(client_response.body, bytes)
        return write_client_response(client_response, record, active, token, client_request.hold)
    except DragomanError as error:
        if is_strange(error, record):
            record.operation = ""
        _name_model(record, client_request)
        record.fail(error)
        return write_error(dialect, _with_login_page(error, environ), record)
    except RecursionError:
        deep = InvalidRequest("the request body is nested too deeply")
        record.fail(deep)
        return write_error(dialect, deep, record)
    except MemoryError:
        record.fail(full := NoRoom())
        return write_error(dialect, full, record)
    except Exception as fault:
        return write_error(dialect, record.fault(fault), record)
    except BaseException:
        record.terminal = "stopped" if active.stopping else "client_closed"
        record.status = 499
        raise
    finally:
        # A stream that has begun no longer needs the request's body.
        if "dragoman.hold" in environ:
            release_body(environ)
        if not streaming:
            active.unregister(token)
            record.write()


def _reserve(owner: Runtime, parts: Services, client_request: ClientRequest, endpoint: Endpoint) -> Reservation:
    """Counts a request against the limits of its key, and with it what it continues. Raises DragomanError."""
    key = client_request.key
    if endpoint.continues:
        client_request.continuation = parts.response_store.begin(client_request)
    return owner.limiter.reserve(
        "key", key.name, key.limits, client_request, lambda: parts.gateway.resolve(client_request)[0]
    )


def _name_model(record: Record, client_request: ClientRequest | None) -> None:
    """Notes the model of a request that was refused before its model was read."""
    if not record.model and client_request is not None and record.admitted:
        with suppress(DragomanError):
            record.model = client_request.peek.model


def write_client_response(
    client_response: ClientResponse, record: Record, active: ActiveRequests, token: int, hold: Hold | None
) -> WsgiResponse:
    """A whole answer that is large counts like a request's body until it is sent."""
    record.status = client_response.status
    headers = [*client_response.headers.items(), ("x-request-id", record.id), ("request-id", record.id)]
    body = client_response.body
    if record.wiretap is not None:
        record.wiretap.client_response(_STATUS_LINES[client_response.status], headers)
        if isinstance(body, bytes):
            record.wiretap.client_part(body)
        else:
            body = record.wiretap.tee(body)
    if isinstance(body, bytes):
        record.bytes_out = len(body)
        headers.append(("content-length", str(len(body))))
        pieces = (body,) if hold is None or len(body) <= SMALL else _Large(body, hold.keep(len(body)))
        return WsgiResponse(_STATUS_LINES[client_response.status], headers, pieces)
    watched = _Watched(body, record, active, token, came_whole=client_response.came_whole)
    return WsgiResponse(_STATUS_LINES[client_response.status], headers, watched)


def write_error(dialect: ClientDialect, error: DragomanError, record: Record) -> WsgiResponse:
    """The error in the client's dialect. `x-gateway-error` marks errors in the gateway's own words, as when it reached
    no upstream."""
    failure = error.failure
    headers: dict[str, str] = {}
    body = None
    if isinstance(error, UpstreamRefused):
        headers, body = dict(error.headers), error.body
    elif isinstance(error, LimitReached):
        headers = dict(error.headers)
    if failure.retry_after is not None:
        headers.setdefault("retry-after", failure.retry_after)
    lasting = is_lasting(failure)
    if lasting:
        # Claude Code and the vendors' SDKs would retry for minutes, without showing anybody the remedy.
        headers.setdefault("x-should-retry", "false")
        failure = with_end(failure)
    if failure.origin != "upstream" or isinstance(error, UpstreamUnreachable):
        headers["x-gateway-error"] = failure.kind
    # Faults in the HTTP itself (405, 426 …) keep their own status in every dialect.
    own = failure.origin == "client" and failure.status
    record.status = own or dialect.error_status(failure)
    if lasting and (record.agent or "").startswith("codex") and _codex_repeats(record.status, failure):
        record.status = 400
    body = body or dialect.render_error(failure, record.id)
    record.bytes_out = len(body)
    fixed = [("content-type", "application/json"), ("content-length", str(len(body)))]
    status = _STATUS_LINES.get(record.status, f"{record.status} Error")
    all_headers = [*headers.items(), *fixed, *list_ids(record.id)]
    if record.wiretap is not None:
        record.wiretap.client_response(status, all_headers)
        record.wiretap.client_part(body)
    return WsgiResponse(status, all_headers, (body,))


def _codex_repeats(status: int, failure: Failure) -> bool:
    """Whether Codex would ask again at this status, up to thirty times. At 400 it stops and shows the error.

    At a 401 for credentials that are its own it renews them.
    """
    return status in (403, 502) or (status == 401 and failure.origin != "upstream")


def _with_login_page(error: DragomanError, environ: Mapping[str, Any]) -> DragomanError:
    """An error about a missing login gets the login page's address as this client reaches it. Others are unchanged."""
    host = environ.get("HTTP_HOST")
    if not host or not isinstance(error, CredentialUnavailable):
        return error
    message = name_login_page(error.failure.message, f"{environ['wsgi.url_scheme']}://{host}")
    error.failure = msgspec.structs.replace(error.failure, message=message)
    return error


def refuse_page(owner: Runtime, environ: dict[str, Any]) -> WsgiResponse | None:
    """The refusal of a request that another site's page made a browser send, or None for any other request."""
    try:
        owner.services.access.check_page(environ["REQUEST_METHOD"], environ)
    except Forbidden as error:
        dialect = find_dialect(environ["PATH_INFO"], lambda name: f"HTTP_{name.upper().replace('-', '_')}" in environ)
        record = owner.recorder.begin(new_id(), dialect.NAME, environ)
        record.operation = ""
        record.fail(error)
        written = write_error(dialect, error, record)
        record.write()
        return written
    return None


def list_ids(request_id: str) -> list[tuple[str, str]]:
    """The headers with a request's id. The two families' SDKs read it under different names."""
    return [("x-request-id", request_id), ("request-id", request_id)]


class _Large:
    """A large whole body, which takes room until the server has sent it."""

    came_whole = True

    def __init__(self, body: bytes, hold: Hold) -> None:
        self._body = body
        self._hold = hold

    def __iter__(self) -> Iterator[bytes]:
        return iter((self._body,))

    def close(self) -> None:
        self._hold.release()


class _Watched:
    """A response's stream. When it ends or the server closes it, stops watching its client and logs the request. Not a
    generator around the parts, which would run for each part. The server writes them at once if they `came_whole`.
    """

    __slots__ = ("_active", "_parts", "_record", "_token", "came_whole")

    def __init__(
        self, parts: Iterator[bytes], record: Record, active: ActiveRequests, token: int, *, came_whole: bool
    ) -> None:
        self.came_whole = came_whole
        self._parts = parts
        self._record = record
        self._active = active
        self._token = token

    def __iter__(self) -> Iterator[bytes]:
        ends: Iterator[bytes] = iter(self.close, None)  # calls it once, and gives nothing
        return chain(self._parts, ends)

    def close(self) -> None:
        record, active, parts = self._record, self._active, self._parts
        if record.written:
            return
        try:
            if isinstance(parts, Generator):
                if getattr(parts, "gi_frame", None) is not None:  # it has not finished
                    record.terminal = "client_closed"
                parts.close()
        finally:
            if active.stopping and record.terminal == "client_closed":
                record.terminal = "stopped"
            active.unregister(self._token)
            record.write()
