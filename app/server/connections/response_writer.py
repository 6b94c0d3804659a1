"""Writes a response in as few socket writes as possible."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Literal

import gevent
from gunicorn import SERVER
from gunicorn.util import hop_headers

_LAST_CHUNK = b"0\r\n\r\n"
_BODILESS = frozenset({"204", "304"})
# Line ends among the lines that every head begins with, less the one that none of the lines ends with.
_OWN_ENDS = 3 - 1


class ResponseWriter:
    """What WSGI calls `start_response`, and the body that follows.

    The head goes out with the first piece of the body, and each further piece is one chunk and one write: a client
    sees an event when the application has it. A write waits while the client does not read, which is what stops the
    reading upstream, as long as the socket's time limit. A client that is gone ends the greenlet (GreenletExit).
    """

    __slots__ = ("_bare", "_chunked", "_client", "_date", "_head", "_left", "_omits_body", "has_begun", "keep_alive")

    def __init__(self, client: socket.socket, date: str, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.has_begun = False
        self._client = client
        self._bare: Any = getattr(client, "_sock", client)
        self._date = date
        self._head = b""
        self._left: int | None = None
        self._chunked = False
        self._omits_body = False

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        """Takes the head; it is not sent before the body begins. Raises ValueError for a line break in a header."""
        if exc_info is not None and self.has_begun:
            raise exc_info[1].with_traceback(exc_info[2])
        if exc_info is None and self._head:
            raise ValueError("start_response was called twice")
        self._omits_body = status[:3] in _BODILESS
        self._left = None
        kept = "keep-alive" if self.keep_alive else "close"
        lines = [f"HTTP/1.1 {status}\r\nServer: {SERVER}\r\nDate: {self._date}\r\nConnection: {kept}"]
        for name, value in headers:
            place = _find_place(name)
            if place == "length":
                if self._omits_body:
                    continue
                self._left = int(value)
            elif place == "ours":
                continue
            lines.append(f"{name}: {value}")
        self._chunked = self._left is None and not self._omits_body
        if self._chunked:
            lines.append("Transfer-Encoding: chunked")
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) + _OWN_ENDS or text.count("\r") != len(lines) + _OWN_ENDS:
            raise ValueError("a response header contains a line break")
        self._head = f"{text}\r\n\r\n".encode("latin-1")
        return self.write

    def write_all(self, pieces: Iterable[bytes]) -> None:
        """Writes a whole body. Raises ValueError if it is shorter than announced."""
        if isinstance(pieces, list | tuple):
            whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            if self._left == len(whole) and not self.has_begun:
                self.has_begun, self._left = True, 0
                self._push(self._head + whole)
                return
            self._send(self._frame(whole) + (_LAST_CHUNK if self._chunked else b""))
        else:
            for piece in pieces:
                self.write(piece)
            if self._chunked or not self.has_begun:
                self._send(_LAST_CHUNK if self._chunked else b"")
        if self._left:
            raise ValueError(f"the response ended {self._left} bytes before its announced length")

    def write(self, piece: bytes) -> None:
        """Writes a piece of the body at once; an empty one still sends the head."""
        if piece and self.has_begun and self._chunked:
            self._push(b"%X\r\n%b\r\n" % (len(piece), piece))
        elif piece or not self.has_begun:
            self._send(self._frame(piece))

    def _frame(self, piece: bytes) -> bytes:
        if self._chunked:
            return b"%X\r\n%b\r\n" % (len(piece), piece) if piece else b""
        if self._omits_body or self._left is None:
            return b""
        piece = piece[: self._left]
        self._left -= len(piece)
        return piece

    def _send(self, data: bytes) -> None:
        if not self.has_begun:
            if not self._head:
                raise ValueError("the body begins before start_response was called")
            data = self._head + data
            self.has_begun = True
        if data:
            self._push(data)

    def _push(self, data: bytes) -> None:
        try:
            try:
                sent = self._bare.send(data)
            except BlockingIOError:
                sent = 0
            # Piece by piece: the socket's time limit is for one of them, not for all that a slow reader is sent.
            while sent < len(data):
                sent += self._client.send(memoryview(data)[sent:])
        except OSError as error:
            raise gevent.GreenletExit("the client is gone, or does not read") from error


# Applications say the same names again and again.
@lru_cache(maxsize=512)
def _find_place(name: str) -> Literal["length", "ours", "theirs"]:
    """Whether a header frames the body, is for the server alone to say, or is the application's."""
    lowered = name.lower()
    return "length" if lowered == "content-length" else "ours" if lowered in hop_headers else "theirs"
