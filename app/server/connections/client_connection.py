"""Answers the requests of one client connection."""

from __future__ import annotations

import io
import socket
from typing import TYPE_CHECKING, Any

import gevent

from app.errors import InvalidRequest
from app.fairness import give_way
from app.headers import FIELDS
from app.server.connections.refusals import refuse
from app.server.connections.request_body import RequestBody
from app.server.connections.request_parser import HEAD_END, Site, parse_head
from app.server.connections.response_writer import ResponseWriter
from app.server.gunicorn_settings import MAX_HEAD
from app.transport.connections.outbox import get_outbox
from app.transport.connections.waiting import Readable

if TYPE_CHECKING:
    from app.server.gateway_worker import GatewayWorker

_READ_SIZE = 64 * 1024


class ClientConnection:
    """A connection over plain HTTP."""

    __slots__ = ("_ahead", "_bare", "_client", "_outbox", "_site", "_unusual", "_worker", "_wsgi")

    def __init__(self, worker: GatewayWorker, client: socket.socket, site: Site) -> None:
        self._worker = worker
        self._client = client
        # Only read when it is ready, so gevent's wrapper is not needed.
        self._bare: Any = client._sock  # type: ignore[attr-defined]
        # Skips Application.__call__, which only calls this.
        self._wsgi: Any = getattr(worker.wsgi, "wsgi_app", worker.wsgi)
        self._site = site
        self._outbox = get_outbox()
        # Bytes read from the client that belong to no request yet.
        self._ahead = b""
        # The beginning of a request that is left to gunicorn.
        self._unusual = b""

    def serve(self) -> bytes:
        """Answers requests until the connection ends. An unusual request is not answered: the bytes read of it are
        returned, for gunicorn's own loop. Raises GreenletExit if the client is gone."""
        watcher = Readable(self._client.fileno())
        try:
            while (end := self._receive_head(watcher)) is not None and self._answer_next(end):
                pass
        finally:
            watcher.close()
            self._outbox.settle(self._client)
        return self._unusual

    def _receive_head(self, watcher: Readable) -> int | None:
        """Waits until there is a head to parse. Returns where its last line ends, -1 for a head that is wrong or too
        large, and None at the end of the connection.

        Always waits before it reads: a client that sends request after request must not block others, and a read that
        finds nothing costs more than the wait.
        """
        worker, client = self._worker, self._client
        worker.idle[client] = worker.clock
        try:
            if self._ahead:
                give_way()
            while True:
                if self._ahead:
                    # Faster than `in`, which first tries the operand as a number and discards the exception.
                    end = self._ahead.find(HEAD_END, 0, MAX_HEAD)
                    if end >= 0 or _is_wrong(self._ahead):
                        return end
                watcher.wait()
                try:
                    received = self._bare.recv(_READ_SIZE)
                except BlockingIOError:
                    continue
                if not received:
                    return None
                if not self._ahead:
                    # The whole head has the same time limit as the silence before it. Its bytes do not extend it.
                    worker.idle[client] = worker.clock
                self._ahead += received
        except OSError:
            return None
        finally:
            worker.idle.pop(client, None)

    def _answer_next(self, head_end: int) -> bool:
        """Answers the first request in the bytes read. Returns whether the connection can be used again."""
        worker = self._worker
        if head_end < 0:
            self._refuse_head()
            return False
        end = head_end + len(HEAD_END)
        head = parse_head(self._ahead[:end], self._site)
        if head is None:
            self._unusual = self._ahead
            return False
        response = ResponseWriter(self._transmit, worker.date, worker.goes_on() and head.keep_alive)
        head.environ[FIELDS] = head.headers
        body, self._ahead = self._ahead[end : end + head.length], self._ahead[end + head.length :]
        rest = None
        if len(body) < head.length:
            rest = RequestBody(self._client, body, head.length, worker.cfg.keepalive)
            head.environ["wsgi.input"] = rest.buffered()
        else:
            head.environ["wsgi.input"] = io.BytesIO(body)
        try:
            pieces = self._wsgi(head.environ, response.start)
            try:
                # A stream may run for minutes, and no longer needs its request.
                del head, body
                response.write_all(pieces)
            finally:
                close = getattr(pieces, "close", None)
                if close is not None:
                    close()
        except Exception:
            worker.log.exception("Error handling request")
            # A response that has begun is cut off: without its last chunk it cannot pass for a complete one.
            if not response.has_begun:
                self._outbox.settle(self._client)
                refuse(self._client, 500, "internal error of the gateway", b"")
            return False
        return response.keep_alive and (rest is None or self._skip(rest))

    def _transmit(self, data: bytes) -> None:
        try:
            self._outbox.send(self._client, data)
        except OSError as error:
            raise gevent.GreenletExit("the client has gone or is not reading") from error

    def _skip(self, rest: RequestBody) -> bool:
        """Reads the rest of a body that the application did not read. Returns whether its end was reached. Meanwhile
        the connection counts as idle, since its client may be anybody."""
        if not rest.left:
            return True
        worker, client = self._worker, self._client
        worker.idle[client] = worker.clock
        try:
            return rest.skip(worker.cfg.keepalive)
        except InvalidRequest:
            return False
        finally:
            worker.idle.pop(client, None)

    def _refuse_head(self) -> None:
        self._outbox.settle(self._client)
        if len(self._ahead) >= MAX_HEAD or HEAD_END in self._ahead:
            refuse(self._client, 431, f"the request's head is larger than {MAX_HEAD // 1024} KB", self._ahead)
        else:
            refuse(self._client, 400, "a line of the request's head ends without a carriage return", self._ahead)


def _is_wrong(data: bytes) -> bool:
    """Whether the data begins with a head that has not ended and never will be good."""
    return len(data) >= MAX_HEAD or data.count(b"\n") != data.count(b"\r\n")
