"""A request's body that is still on its way from the client."""

from __future__ import annotations

import io
import socket
from typing import TYPE_CHECKING

import gevent

if TYPE_CHECKING:
    from typing_extensions import Buffer

_BUFFER = 64 * 1024


class RequestBody(io.RawIOBase):
    """Reads up to the announced length and never beyond: what follows is the connection's next request.

    It is read from the socket when the application asks for it, so that a client without a key, or with too large a
    body, fills no memory. `ahead` is what was read along with the head.
    """

    def __init__(self, client: socket.socket, ahead: bytes, length: int) -> None:
        self.left = length
        self._client = client
        self._ahead = ahead

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)[: self.left]
        if self._ahead:
            count = min(len(view), len(self._ahead))
            view[:count] = self._ahead[:count]
            self._ahead = self._ahead[count:]
        elif view:
            count = self._receive(view)
        else:
            count = 0
        self.left -= count
        return count

    def buffered(self) -> io.BufferedReader:
        """The body as `wsgi.input` has to be."""
        return io.BufferedReader(self, _BUFFER)

    def skip(self, seconds: float) -> bool:
        """Reads to the end what nobody wanted; whether that was possible in time."""
        sink = memoryview(bytearray(_BUFFER))
        with gevent.Timeout(seconds, False):
            while self.left and self.readinto(sink):
                pass
        return not self.left

    def _receive(self, view: memoryview) -> int:
        try:
            return self._client.recv_into(view)
        except OSError as error:
            raise gevent.GreenletExit("the client is gone") from error
