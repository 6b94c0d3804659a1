"""A process's connections to its upstreams."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from app.patching import load_requests
from app.transport.call import Call, Origin, locate
from app.transport.connections.addresses import AddressBook
from app.transport.connections.dialer import Dialer
from app.transport.connections.pool import ConnectionPool
from app.transport.exchange import Exchange, Sent, SocketExchange
from app.transport.reply import MAX_HEAD
from app.transport.whole_reply import WholeReply

if TYPE_CHECKING:
    from requests import Session


class TransportSettings(Struct, frozen=True):
    """How to reach upstreams. `idle_lifetime` and `address_lifetime` are in seconds.

    `proxies` has the keys that requests uses: `http`, `https`, `all`, each also with `://host`, and `no_proxy`.
    `ca_bundle` is a file or folder of certificates to trust; `client_cert` and `client_key` are the files of our own
    certificate. `public_only` refuses addresses of private networks. `pool_size` is the most idle connections kept per
    origin, `max_head` the most bytes of a reply's head.
    """

    proxies: dict[str, str] = field(default_factory=dict)
    ca_bundle: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    pool_size: int = 4096
    idle_lifetime: float = 45.0
    address_lifetime: float = 60.0
    public_only: bool = False
    max_head: int = MAX_HEAD


class PreparedCall:
    """Sends calls that differ only in their bodies. The route to the upstream is found and the head is encoded once.
    `call` is one of these calls, with its encoded `head`."""

    __slots__ = ("_call", "_head", "_is_quick", "_limit", "_pool", "_read_whole", "_target", "_transport")

    def __init__(self, transport: Transport, pool: ConnectionPool, call: Call, head: bytes) -> None:
        self._transport = transport
        self._pool = pool
        self._call = call
        self._head = head
        self._target = locate(call.url)
        self._limit = call.limits.first_byte
        self._read_whole = pool.reader(self._target.origin).read
        self._is_quick = call.method == "POST" and call.limits.total is None

    def ask(self, body: bytes, may_resend: Callable[[], bool]) -> WholeReply | Exchange:
        """Sends this call with another, small body, and waits for the reply. If the reply does not come whole with its
        first read on a kept connection, returns the exchange, as `Transport.send` does."""
        connection = None
        if self._is_quick and not is_replaced():
            connection = self._pool.take(self._target.origin)
        if connection is None:
            return self._transport.send(self._make_call(body, may_resend))
        at, limit = monotonic(), self._limit
        first_read: bytes | OSError
        try:
            connection.write(b"%bcontent-length: %d\r\n\r\n%b" % (self._head, len(body), body), limit)
            first_read = connection.read(limit)
            whole = self._read_whole(first_read)
        except OSError as error:
            first_read, whole = error, None
        except BaseException:
            connection.close()
            raise
        if whole is not None:
            self._pool.keep(connection)
            return whole
        call = self._make_call(body, may_resend)
        return SocketExchange(self._pool, call, self._target, Sent(connection, at, first_read))

    def send(self, body: bytes, may_resend: Callable[[], bool]) -> Exchange:
        """Sends this call with another body, as `Transport.send` does."""
        call = self._make_call(body, may_resend)
        return self._transport.send(call) if is_replaced() else SocketExchange(self._pool, call, self._target)

    def _make_call(self, body: bytes, may_resend: Callable[[], bool]) -> Call:
        call = self._call
        return Call(call.method, call.url, call.headers, body, call.limits, may_resend, call.head)


class Transport:
    """Sends calls to upstreams over kept connections. All requests of a process share one.

    Raises ConfigError if the certificates cannot be read.
    """

    def __init__(self, settings: TransportSettings) -> None:
        self.settings = settings
        self._variants: dict[bytes, Transport] = {}
        addresses = AddressBook(settings.address_lifetime, public_only=settings.public_only)
        self._dialer = Dialer(
            settings.proxies,
            settings.ca_bundle,
            addresses,
            client_cert=settings.client_cert,
            client_key=settings.client_key,
            public_only=settings.public_only,
        )
        self._pool = ConnectionPool(self._dialer, settings.pool_size, settings.idle_lifetime, settings.max_head)

    @cached_property
    def session(self) -> Session:
        """The same connections for callers that use requests: logins, lists of models, receivers of alerts. Created on
        first use, since requests takes three megabytes, and calls to models do without."""
        load_requests()
        from app.transport.adapter import PoolAdapter, UpstreamSession

        settings = self.settings
        session = UpstreamSession(PoolAdapter(self._pool, self._can_reach), settings.proxies, settings.ca_bundle)
        if settings.client_cert is not None:
            session.cert = (settings.client_cert, settings.client_key or settings.client_cert)
        return session

    def send(self, call: Call) -> Exchange:
        """Sends the request without waiting for the reply, over a kept or a new connection. Returns an Exchange, which
        the caller must close.

        Raises UpstreamUnreachable, or UpstreamTimeout with phase "connect".
        """
        target = locate(call.url)
        if self._can_reach(target.origin):
            return SocketExchange(self._pool, call, target)
        session = self.session
        from app.transport.response_exchange import ResponseExchange

        return ResponseExchange(session, call)

    def prepare(self, call: Call) -> PreparedCall | None:
        """Prepares to send calls that differ from this one only in their bodies. None if requests must make the
        connection. Raises UpstreamUnreachable."""
        if call.head is None or not self._can_reach(locate(call.url).origin):
            return None
        return PreparedCall(self, self._pool, call, call.head)

    def variant(self, **changes: Any) -> Transport:
        """A transport with changed settings, cached; this one if nothing differs."""
        settings = replace(self.settings, **changes)
        if settings == self.settings:
            return self
        key = msgspec.json.encode(settings)
        if key not in self._variants:
            self._variants[key] = Transport(settings)
        return self._variants[key]

    def close(self) -> None:
        """Closes the kept connections."""
        if "session" in vars(self):
            self.session.close()
        self._pool.close()
        for variant in self._variants.values():
            variant.close()

    def _can_reach(self, origin: Origin) -> bool:
        """Whether the pool can reach an origin. If not, requests must make the connection."""
        return not is_replaced() and self._dialer.can_reach(origin)


def is_replaced() -> bool:
    """Whether a test has replaced requests' network access, as `responses` does. Then all calls go to requests."""
    adapter = getattr(sys.modules.get("requests.adapters"), "HTTPAdapter", None)
    return adapter is not None and adapter.send.__module__ != "requests.adapters"
