"""Hands a connection over to gunicorn's own loop. The bytes already read are read again, and our limits on time and
memory still apply."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Any

from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import LimitRequestHeaders

from app.server.connections.request_body import BodyDeadline
from app.server.gunicorn_settings import MAX_HEAD

if TYPE_CHECKING:
    from app.server.gateway_worker import GatewayWorker

# gunicorn reads at most this much ahead of what it parses.
_AHEAD = 64 * 1024

# What ends the authority of a URL.
_AUTHORITY_END = re.compile(r"[/?#]")


class Reread:
    """A client's socket as gunicorn reads it. It is at a request's head at first, and again from `begin_head` to
    `begin_body`. While it waits for a head, it counts as idle."""

    def __init__(self, worker: GatewayWorker, client: socket.socket, ahead: bytes) -> None:
        self.beginning = ahead[:MAX_HEAD]
        self._worker = worker
        self._client = client
        self._ahead = ahead
        self._deadline: BodyDeadline | None = None
        self._head_size = 0

    def begin_body(self, request: Any) -> None:
        self._deadline = BodyDeadline(self._worker.cfg.keepalive)
        runtime = getattr(self._worker.wsgi, "runtime", None)  # none in an application that is not ours
        if runtime is not None and isinstance(request.body.reader, ChunkedReader):
            limit = runtime.services.settings.server.max_body_mb << 20
            request.body.reader = BoundedChunks(request, limit)

    def begin_head(self) -> None:
        self._deadline = None
        self._head_size = 0
        self.beginning = b""

    def recv(self, size: int) -> bytes:
        if self._ahead:
            piece, self._ahead = self._ahead[:size], self._ahead[size:]
            return piece
        return self._receive_head(size) if self._deadline is None else self._receive_body(size, self._deadline)

    def _receive_head(self, size: int) -> bytes:
        worker, client = self._worker, self._client
        worker.idle[client] = worker.clock
        try:
            piece = client.recv(size)
        finally:
            worker.idle.pop(client, None)
        self._head_size += len(piece)
        if self._head_size > MAX_HEAD + _AHEAD:
            raise LimitRequestHeaders("the head is too large")
        return piece

    def _receive_body(self, size: int, deadline: BodyDeadline) -> bytes:
        try:
            self._client.settimeout(deadline.remaining())
            piece = self._client.recv(size)
        except TimeoutError as error:
            raise deadline.exhausted() from error
        finally:
            self._client.settimeout(self._worker.cfg.keepalive)
        deadline.note(len(piece))
        return piece

    def sendall(self, data: bytes) -> None:
        """Sends piece by piece, since the socket's time limit is for one `send`, not for everything sent to a slow
        reader."""
        sent = 0
        while sent < len(data):
            sent += self._client.send(memoryview(data)[sent:])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def name_host(request: Any) -> None:
    """Makes the authority of an absolute request target the request's host, as RFC 9112 section 3.2.2 wants: otherwise
    the host that is checked is not the one that was asked for."""
    scheme, separator, rest = request.uri.partition("://")
    if separator and scheme.isalpha():
        others = [(name, value) for name, value in request.headers if name != "HOST"]
        request.headers = [*others, ("HOST", _AUTHORITY_END.split(rest, maxsplit=1)[0])]


class BoundedChunks(ChunkedReader):  # type: ignore[misc]
    """Reads a body in chunks. Raises TooLarge at once for a chunk that announces more than a whole body may have,
    instead of waiting for it."""

    def __init__(self, request: Any, limit: int) -> None:
        super().__init__(request, request.unreader)
        self._limit = limit

    def parse_chunk_size(self, unreader: Any, data: bytes | None = None) -> tuple[int, bytes | None]:
        size, rest = super().parse_chunk_size(unreader, data)
        if size > self._limit:
            # Imported here: gunicorn loads this package before it patches the modules that the application imports.
            from app.blueprints.bodies import too_large

            raise too_large(self._limit)
        return size, rest
