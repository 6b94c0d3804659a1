"""Tracks running requests, and finds those whose client has left."""

from __future__ import annotations

import select
import socket
from typing import Protocol

from gevent import GreenletExit
from gevent.monkey import get_original

# Linux reports that the peer will send no more, even while we do not read. Other systems report only connections closed
# in both directions (POLLHUP), so there a client that left may be noticed only at the next write.
_GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR

# gevent's patched `poll` would wait in its hub. This one is called without waiting.
_poll = get_original("select", "poll")


class ClientGone(GreenletExit):  # type: ignore[misc]  # gevent is untyped
    """Thrown into the greenlet of a request whose client has left.

    Not part of the tree of errors: nobody is left to receive one, and no `except Exception` may catch it. With this
    base class, servers built on gevent end the greenlet without logging it.
    """


class Killable(Protocol):
    """The part of a greenlet that is used here."""

    def kill(self, exception: type[BaseException] | BaseException, block: bool) -> object: ...


class ActiveRequests:
    """The running requests of one worker, by the file descriptor of their client's connection.

    A connection carries one request at a time. A client that closes only its sending side counts as gone, as in nginx.
    Safe for greenlets of one thread, but not for several threads.
    """

    def __init__(self) -> None:
        self._greenlets: dict[int, Killable] = {}
        self._poll = _poll()
        # Set when the server ends its requests, so that this is not attributed to the clients.
        self.stopping = False

    def __len__(self) -> int:
        return len(self._greenlets)

    def register(self, client_socket: socket.socket, greenlet: Killable) -> int:
        """Watches a client until `unregister` is called with the returned token."""
        # Skips gevent's wrapper around the socket.
        token: int = getattr(client_socket, "_sock", client_socket).fileno()
        if token >= 0:
            self._greenlets[token] = greenlet
            self._poll.register(token, _GONE)
        return token

    def unregister(self, token: int) -> None:
        """Stops watching a request that has ended. Does nothing if its client was already found to be gone."""
        if self._greenlets.pop(token, None) is not None:
            self._poll.unregister(token)

    def end(self, token: int, error: Exception) -> bool:
        """Ends one request by throwing an error into it. Returns whether it was running."""
        greenlet = self._greenlets.get(token)
        if greenlet is not None:
            greenlet.kill(error, block=False)
        return greenlet is not None

    def end_abandoned(self) -> int:
        """Throws ClientGone once into each request whose client has left. Returns their number. Does not wait."""
        gone = [token for token, _ in self._poll.poll(0)]
        for token in gone:
            greenlet = self._greenlets[token]
            self.unregister(token)
            greenlet.kill(ClientGone, block=False)
        return len(gone)

    def stop_all(self) -> None:
        """Throws ClientGone into all requests, because the server cannot wait for them any longer."""
        self.stopping = True
        for token, greenlet in list(self._greenlets.items()):
            self.unregister(token)
            greenlet.kill(ClientGone, block=False)
