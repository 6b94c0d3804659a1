"""Refuses requests that never reach the application, in the client's dialect."""

from __future__ import annotations

import contextlib
import logging
import socket
from http import HTTPStatus

import gevent
from gunicorn.http.errors import (
    ExpectationFailed,
    ForbiddenProxyRequest,
    LimitRequestHeaders,
    LimitRequestLine,
)

from app.errors import Failure, FailureKind, Origin

log = logging.getLogger("dragoman")

# The bytes of a request that are searched to guess its dialect.
_LOOK = 8192
# A client that is still sending would lose the response to a reset, so reading goes on within these limits.
_LINGER_BYTES = 1024 * 1024
_LINGER_SECONDS = 2.0

# Errors of gunicorn with another status than 400. Its own messages quote what the client sent.
_STATUS: dict[type[Exception], tuple[int, str]] = {
    LimitRequestLine: (414, "the request line is too long"),
    LimitRequestHeaders: (431, "the request's headers are too large"),
    ExpectationFailed: (417, "only `Expect: 100-continue` is supported"),
    ForbiddenProxyRequest: (403, "this proxy is not trusted here"),
}
_KINDS: dict[int, FailureKind] = {403: "permission", 500: "internal", 503: "overloaded"}


def explain(error: BaseException) -> tuple[int, str]:
    """The status and message for a request that gunicorn could not read."""
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            return status
    return 400, f"the request is not valid HTTP ({type(error).__name__})"


def render_refusal(status: int, message: str, beginning: bytes, retry_after: int | None = None) -> bytes:
    """A whole response that ends its connection. `beginning` are the first bytes of the request, if any."""
    # Imported here: gunicorn's master loads this package, and --reload would not notice changes in what it has loaded.
    from app.dialects.registry import find_dialect
    from app.gateway.messages import new_id

    look = beginning[:_LOOK]
    target = look.lstrip().partition(b"\n")[0].split()
    path = target[1].decode("latin-1") if len(target) > 1 else ""
    lowered = look.lower()
    dialect = find_dialect(path, lambda name: name.encode() in lowered)
    retry = None if retry_after is None else str(retry_after)
    origin: Origin = "gateway" if status >= 500 else "client"
    failure = Failure(
        kind=_KINDS.get(status, "invalid_request"), message=message, status=status, retry_after=retry, origin=origin
    )
    request_id = new_id()
    body = dialect.render_error(failure, request_id)
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"x-gateway-error: {failure.kind}",
        f"x-request-id: {request_id}",
        f"request-id: {request_id}",
    ]
    if retry is not None:
        lines.append(f"retry-after: {retry}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def refuse(client: socket.socket, status: int, message: str, beginning: bytes, retry_after: int | None = None) -> None:
    """Sends the response, and ends the connection in such a way that it arrives. Ignores a client that is gone."""
    log.info("a request was refused with %d: %s", status, message)
    with contextlib.suppress(OSError), gevent.Timeout(_LINGER_SECONDS, False):
        client.sendall(render_refusal(status, message, beginning, retry_after))
        client.shutdown(socket.SHUT_WR)
        left = _LINGER_BYTES
        while left > 0 and (data := client.recv(65536)):
            left -= len(data)
