"""Tracks running requests, and finds those whose client has left."""

from __future__ import annotations

import select
import socket
from typing import Protocol

from gevent import GreenletExit
from gevent.monkey import get_original

# Linux tells that the peer will send no more even while we do not read. Elsewhere only a connection that is gone in
# both directions shows (POLLHUP), so there a client that left is noticed at the next write at the latest.
_GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR

# A patched `poll` would wait in gevent's hub; this one is asked without waiting.
_poll = get_original("select", "poll")


class ClientGone(GreenletExit):  # type: ignore[misc]  # gevent is untyped
    """Thrown into the greenlet of a request whose client has left.

    Stands outside the tree of errors: there is nobody to be told, and no `except Exception` may swallow it. Servers
    built on gevent end a greenlet with this base class without a word in the log.
    """


class Killable(Protocol):
    """A greenlet, as far as it matters here."""

    def kill(self, exception: type[BaseException] | BaseException, block: bool) -> object: ...


class ActiveRequests:
    """The running requests of one worker, by the file descriptor of their client's connection.

    A connection carries one request at a time. A client that only closes its sending side counts as gone, as it does
    for nginx. Not for use by several threads; greenlets of one thread are fine.
    """

    def __init__(self) -> None:
        self._greenlets: dict[int, Killable] = {}
        self._poll = _poll()
        # Set when the server ends what runs, so that nobody takes it for the client's doing.
        self.stopping = False

    def __len__(self) -> int:
        return len(self._greenlets)

    def register(self, client_socket: socket.socket, greenlet: Killable) -> int:
        """Watches a client until `unregister` is called with the token that this returns."""
        # gevent's socket would ask the one inside of it.
        token: int = getattr(client_socket, "_sock", client_socket).fileno()
        if token >= 0:
            self._greenlets[token] = greenlet
            self._poll.register(token, _GONE)
        return token

    def unregister(self, token: int) -> None:
        """The request has ended. Does nothing if its client was found gone before."""
        if self._greenlets.pop(token, None) is not None:
            self._poll.unregister(token)

    def end(self, token: int, error: Exception) -> bool:
        """Throws an error into one request, which ends with it as with any other; whether it runs."""
        greenlet = self._greenlets.get(token)
        if greenlet is not None:
            greenlet.kill(error, block=False)
        return greenlet is not None

    def end_abandoned(self) -> int:
        """Throws ClientGone into the requests whose client has left, each once; returns how many. Does not wait."""
        gone = [token for token, _ in self._poll.poll(0)]
        for token in gone:
            greenlet = self._greenlets[token]
            self.unregister(token)
            greenlet.kill(ClientGone, block=False)
        return len(gone)

    def stop_all(self) -> None:
        """Throws ClientGone into every request: the server cannot wait for it any longer."""
        self.stopping = True
        for token, greenlet in list(self._greenlets.items()):
            self.unregister(token)
            greenlet.kill(ClientGone, block=False)
