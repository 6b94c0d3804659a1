"""A process's connections to its upstreams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace
from requests import Session
from requests.adapters import HTTPAdapter

from app.transport.adapter import OWN_SEND, PoolAdapter, UpstreamSession
from app.transport.call import Call, locate
from app.transport.connections.addresses import AddressBook
from app.transport.connections.dialer import Dialer
from app.transport.connections.pool import ConnectionPool
from app.transport.exchange import Exchange, SocketExchange
from app.transport.reply import MAX_HEAD
from app.transport.response_exchange import ResponseExchange


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
    `call` is one of these calls."""

    __slots__ = ("_call", "_pool", "_target", "_transport")

    def __init__(self, transport: Transport, pool: ConnectionPool, call: Call) -> None:
        self._transport = transport
        self._pool = pool
        self._call = call
        self._target = locate(call.url)

    def send(self, body: bytes, may_resend: Callable[[], bool]) -> Exchange:
        """`Transport.send` for this call with another body."""
        call = self._call
        call = Call(call.method, call.url, call.headers, body, call.limits, may_resend, call.head)
        if HTTPAdapter.send is not OWN_SEND:  # as `can_reach` has it
            return self._transport.send(call)
        return SocketExchange(self._pool, call, self._target)


class Transport:
    """Sends calls to upstreams over kept connections. All requests of a process share one.

    `session` offers the same to callers that use requests. Raises ConfigError if the certificates cannot be read.
    """

    def __init__(self, settings: TransportSettings) -> None:
        self.settings = settings
        self._variants: dict[bytes, Transport] = {}
        addresses = AddressBook(settings.address_lifetime, public_only=settings.public_only)
        dialer = Dialer(
            settings.proxies,
            settings.ca_bundle,
            addresses,
            client_cert=settings.client_cert,
            client_key=settings.client_key,
            public_only=settings.public_only,
        )
        self._pool = ConnectionPool(dialer, settings.pool_size, settings.idle_lifetime, settings.max_head)
        self._adapter = PoolAdapter(self._pool, dialer)
        self.session: Session = UpstreamSession(self._adapter, settings.proxies, settings.ca_bundle)
        if settings.client_cert is not None:
            self.session.cert = (settings.client_cert, settings.client_key or settings.client_cert)

    def send(self, call: Call) -> Exchange:
        """Sends the request without waiting for the reply, over a kept or a new connection. Returns an Exchange, which
        the caller must close.

        Raises UpstreamUnreachable, or UpstreamTimeout with phase "connect".
        """
        target = locate(call.url)
        if self._adapter.can_reach(target.origin):
            return SocketExchange(self._pool, call, target)
        return ResponseExchange(self.session, call)

    def prepare(self, call: Call) -> PreparedCall | None:
        """Prepares to send calls that differ from this one only in their bodies. None if requests must make the
        connection. Raises UpstreamUnreachable."""
        if call.head is None or not self._adapter.can_reach(locate(call.url).origin):
            return None
        return PreparedCall(self, self._pool, call)

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
        self.session.close()
        for variant in self._variants.values():
            variant.close()
