"""The way to the upstreams that one process has."""

from __future__ import annotations

from msgspec import Struct, field
from requests import Session

from app.transport.adapter import PoolAdapter, UpstreamSession
from app.transport.addresses import AddressBook
from app.transport.call import Call
from app.transport.dialer import Dialer
from app.transport.exchange import Exchange
from app.transport.pool import ConnectionPool
from app.transport.reply import MAX_HEAD


class TransportSettings(Struct, frozen=True):
    """How to reach upstreams. `idle_lifetime` and `address_lifetime` are in seconds.

    `proxies` has requests' keys: `http`, `https`, `all`, each also with `://host`, and `no_proxy`. `ca_bundle` is a
    file or folder of certificates to trust; `public_only` refuses addresses of private networks. `pool_size` bounds
    the unused connections kept for one origin, `max_head` the bytes of a reply's head.
    """

    proxies: dict[str, str] = field(default_factory=dict)
    ca_bundle: str | None = None
    pool_size: int = 4096
    idle_lifetime: float = 45.0
    address_lifetime: float = 60.0
    public_only: bool = False
    max_head: int = MAX_HEAD


class Transport:
    """Sends calls to upstreams over kept connections; one for each process, shared by all its requests.

    `session` is the same for callers that speak requests. Raises ConfigError if the certificates cannot be read.
    """

    def __init__(self, settings: TransportSettings) -> None:
        addresses = AddressBook(settings.address_lifetime, public_only=settings.public_only)
        dialer = Dialer(settings.proxies, settings.ca_bundle, addresses)
        pool = ConnectionPool(dialer, settings.pool_size, settings.idle_lifetime, settings.max_head)
        self._adapter = PoolAdapter(pool, dialer)
        self.session: Session = UpstreamSession(self._adapter, settings.proxies, settings.ca_bundle)

    def send(self, call: Call) -> Exchange:
        """Connects, or takes a kept connection, and writes the request; the reply is not waited for.

        Raises UpstreamUnreachable, or UpstreamTimeout with phase "connect".
        """
        return self._adapter.begin(call, self.session)

    def close(self) -> None:
        """Closes the kept connections."""
        self.session.close()
