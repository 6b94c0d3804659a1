"""Writes a response in as few socket writes as possible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from gunicorn import SERVER
from gunicorn.util import hop_headers

from app.headers import FoundByNames

_LAST_CHUNK = b"0\r\n\r\n"
_BODILESS = frozenset({"204", "304"})
_WHOLE = (list, tuple)


class ResponseWriter:
    """WSGI's `start_response`, and the body that follows.

    The head is sent with the first piece of the body. Each further piece is one chunk and one write, which leaves as
    soon as the application waits for the next, if not at once. While the client does not read, a write blocks, up to
    the socket's time limit, and so stops the reading from the upstream.
    """

    __slots__ = ("_chunked", "_date", "_head", "_left", "_omits_body", "_transmit", "has_begun", "keep_alive")

    def __init__(self, transmit: Callable[[bytes], None], date: str, keep_alive: bool) -> None:
        """`transmit` sends to the client, and raises GreenletExit if it is gone."""
        self.keep_alive = keep_alive
        self.has_begun = False
        self._transmit = transmit
        self._date = date
        self._head = b""
        self._left: int | None = None
        self._chunked = False
        self._omits_body = False

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        """Stores the head until the body begins. Raises ValueError for a line break in a header."""
        if exc_info is not None and self.has_begun:
            raise exc_info[1].with_traceback(exc_info[2])
        if exc_info is None and (self._head or self.has_begun):
            raise ValueError("start_response was called twice")
        opening, self._omits_body = _open_head(status, self._date, self.keep_alive)
        self._left = None
        self._chunked = False
        names: list[str] = []
        values: list[str] = []
        for name, value in headers:  # `zip(*headers)` takes twice as long
            names.append(name)
            values.append(value)
        all_values = "".join(values)
        if "\n" in all_values or "\r" in all_values:
            raise ValueError("a response header contains a line break")
        shape = None if self._omits_body else _shapes[tuple(names)]
        if shape is None:
            all_names = "".join(names)
            if "\n" in all_names or "\r" in all_names:
                raise ValueError("a response header contains a line break")
            pieces = [opening, *[f"\r\n{name}: {value}" for name, value in self._pick(headers)]]
        else:
            pieces, place = [opening, *shape[0]], shape[1]
            pieces[2::2] = values  # takes half the time of a format
            if place >= 0:
                self._left = int(values[place])
        if self._left is None and not self._omits_body:
            self._chunked = True
            pieces.append("\r\nTransfer-Encoding: chunked")
        pieces.append("\r\n\r\n")
        self._head = "".join(pieces).encode("latin-1")
        return self.write

    def _pick(self, headers: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """The application's headers without those that only the server may set. Notes the length of the body."""
        for name, value in headers:
            lowered = name.lower()
            if lowered == "content-length":
                if self._omits_body:
                    continue
                self._left = int(value)
            if lowered not in hop_headers:
                yield name, value

    def write_all(self, pieces: Iterable[bytes]) -> None:
        """Writes a whole body. Raises ValueError if it is shorter than announced."""
        if isinstance(pieces, _WHOLE) or getattr(pieces, "came_whole", False):
            whole = b"".join(pieces)
            if self._left == len(whole) and not self.has_begun:
                self.has_begun, self._left = True, 0
                self._transmit(self._head + whole)
                return
            if self._chunked and whole and not self.has_begun:  # as below, with one copy
                self.has_begun = True
                self._transmit(b"%b%X\r\n%b\r\n%b" % (self._head, len(whole), whole, _LAST_CHUNK))
                return
            self._send(self._frame(whole) + (_LAST_CHUNK if self._chunked else b""))
        else:
            transmit = self._transmit
            for piece in pieces:
                if piece and self.has_begun and self._chunked:  # as in `write`
                    transmit(b"%X\r\n%b\r\n" % (len(piece), piece))
                else:
                    self.write(piece)
                piece = b""  # not kept while the next is waited for
            if self._chunked or not self.has_begun:
                self._send(_LAST_CHUNK if self._chunked else b"")
        if self._left:
            raise ValueError(f"the response ended {self._left} bytes before its announced length")

    def write(self, piece: bytes) -> None:
        """Writes a piece of the body. Even an empty one sends the head."""
        if piece and self.has_begun and self._chunked:
            self._transmit(b"%X\r\n%b\r\n" % (len(piece), piece))
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
            data, self._head = self._head + data, b""  # not kept for as long as a stream lasts
            self.has_begun = True
        if data:
            self._transmit(data)


# The same within a second.
@lru_cache(maxsize=64)
def _open_head(status: str, date: str, keep_alive: bool) -> tuple[str, bool]:
    """How a head begins, and whether no body follows it."""
    kept = "keep-alive" if keep_alive else "close"
    return f"HTTP/1.1 {status}\r\nServer: {SERVER}\r\nDate: {date}\r\nConnection: {kept}", status[:3] in _BODILESS


def _find_shape(names: tuple[str, ...]) -> tuple[list[str], int] | None:
    """The header lines as a list with a place for a value behind each name, and the index of Content-Length among them
    (-1 without one). None if a header may only be set by the server, or anything is odd."""
    lowered = [name.lower() for name in names]
    if not hop_headers.isdisjoint(lowered) or lowered.count("content-length") > 1 or not "".join(names).isprintable():
        return None
    place = lowered.index("content-length") if "content-length" in lowered else -1
    return [piece for name in names for piece in (f"\r\n{name}: ", "")], place


# Applications repeat the same names.
_shapes = FoundByNames(_find_shape)
