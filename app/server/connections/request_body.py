"""A request body that is still arriving from the client."""

from __future__ import annotations

import io
import socket
import time
from typing import TYPE_CHECKING

import gevent

from app.errors import InvalidRequest

if TYPE_CHECKING:
    from typing_extensions import Buffer

_BUFFER = 64 * 1024
# Bytes that count as progress. Clients that trickle single bytes keep a connection no longer than silent ones.
STEP = 16 * 1024


class BodyDeadline:
    """The time limit for receiving a body: `seconds` for each STEP bytes of it. Raises InvalidRequest."""

    __slots__ = ("_left", "_seconds", "_until")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._left = STEP

    def remaining(self) -> float:
        """The seconds left for the next byte. Raises InvalidRequest if there are none."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise self.exhausted()
        return left

    def note(self, count: int) -> None:
        self._left -= count
        if self._left <= 0:
            self._left = STEP
            self._until = time.monotonic() + self._seconds

    def exhausted(self) -> InvalidRequest:
        return InvalidRequest(
            f"the request's body made no progress for {self._seconds:g} s; see server.client_timeout", status=408
        )


class RequestBody(io.RawIOBase):
    """Reads up to the announced length and never beyond, where the connection's next request begins.

    The socket is read only when the application reads, so that a client without a key, or with too large a body, fills
    no memory. `ahead` are the bytes that were read along with the head. A body that stalls for `seconds` raises
    InvalidRequest.
    """

    def __init__(self, client: socket.socket, ahead: bytes, length: int, seconds: float) -> None:
        self.left = length
        self._client = client
        self._ahead = ahead
        self._seconds = seconds
        self._deadline = BodyDeadline(seconds)

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
        """The body in the form that `wsgi.input` needs."""
        return io.BufferedReader(self, _BUFFER)

    def skip(self, seconds: float) -> bool:
        """Reads and discards the rest of the body. Returns whether its end came within `seconds`."""
        sink = memoryview(bytearray(_BUFFER))
        with gevent.Timeout(seconds, False):
            while self.left and self.readinto(sink):
                pass
        return not self.left

    def _receive(self, view: memoryview) -> int:
        client = self._client
        try:
            client.settimeout(self._deadline.remaining())
            count = client.recv_into(view)
        except TimeoutError as error:
            raise self._deadline.exhausted() from error
        except OSError as error:
            raise gevent.GreenletExit("the client has gone") from error
        finally:
            client.settimeout(self._seconds)
        self._deadline.note(count)
        return count
