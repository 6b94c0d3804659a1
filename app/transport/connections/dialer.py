"""Opens connections: look-up, TCP, proxy tunnel, TLS."""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path

import certifi

from app.errors import ConfigError, UpstreamTimeout, UpstreamUnreachable
from app.transport.call import Origin
from app.transport.connections.addresses import AddressBook, is_loopback
from app.transport.connections.connection import Connection, TlsConnection
from app.transport.connections.waiting import Alarm
from app.transport.network.tunnel import Proxy

# With these, a dead peer, for example behind a NAT that forgot us, is noticed within about two minutes of silence.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}

# OpenSSL's reason if the peer refuses our certificate, or misses one.
_REFUSED_US = re.compile(r"ALERT_(?:\w{0,20}CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)")
# OpenSSL's codes for a certificate chain without a trusted authority.
_UNKNOWN_AUTHORITY = frozenset({18, 19, 20, 21})


class Dialer:
    """Opens connections to origins.

    `proxies` has the keys that requests uses: `http`, `https`, `all`, each also with `://host`, and `no_proxy`. This
    machine is never reached through a proxy. `ca_bundle` is a file or folder of certificates that are trusted besides
    certifi's. `client_cert` and `client_key` are the files of our own certificate. With `public_only`, proxies get
    checked addresses instead of names.
    """

    def __init__(
        self,
        proxies: Mapping[str, str],
        ca_bundle: str | None,
        addresses: AddressBook,
        *,
        client_cert: str | None = None,
        client_key: str | None = None,
        public_only: bool = False,
    ) -> None:
        self._proxies = dict(proxies)
        self._no_proxy = self._proxies.pop("no_proxy", "")
        self._addresses = addresses
        self._proxy_addresses = AddressBook(addresses.lifetime) if public_only else addresses
        self._public_only = public_only
        self._choose = lru_cache(maxsize=1024)(self._find_proxy)
        self._own_tls = (ca_bundle, client_cert, client_key)
        if any(self._own_tls):
            _check_files(*self._stamped())  # reports unreadable files at the start
        self._alarm = Alarm()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """The TLS context, created on first use: 140 certificates take time and memory that many processes can save."""
        return _tls_context(*self._stamped())

    def _stamped(self) -> tuple[_Stamped | None, ...]:
        return tuple(None if path is None else (path, _stamp(path)) for path in self._own_tls)

    def can_reach(self, origin: Origin) -> bool:
        """Whether `dial` supports an origin. It does not support plain HTTP through an HTTP proxy, nor proxies that use
        TLS themselves; requests does. Raises UpstreamUnreachable if addresses must be checked but a proxy prevents
        it."""
        proxy = self._choose(origin) if self._proxies else None
        if proxy is None or proxy.is_socks or (origin.scheme == "https" and proxy.scheme == "http"):
            return True
        if self._public_only:
            raise UpstreamUnreachable(
                f"{origin} would be reached through the proxy {proxy}, which might resolve it inside its own network"
            )
        return False

    def dial(self, origin: Origin, limit: float) -> Connection:
        """A connection ready for a request. Raises UpstreamUnreachable, or UpstreamTimeout after `limit` seconds."""
        deadline = time.monotonic() + limit
        try:
            sock = self._reach(origin, deadline)
            try:
                if origin.scheme == "http":
                    return Connection(origin, sock, self._alarm)
                connection = TlsConnection(origin, sock, self._alarm, self._tls)
                connection.shake_hands(_remaining(deadline))
                return connection
            except BaseException:
                sock.close()
                raise
        except TimeoutError as error:
            raise UpstreamTimeout("connect", limit) from error
        except OSError as error:
            raise UpstreamUnreachable(f"cannot connect to {origin}: {describe_failure(error)}") from error

    def _find_proxy(self, origin: Origin) -> Proxy | None:
        """The proxy for an origin, chosen as requests does."""
        from requests.utils import select_proxy, should_bypass_proxies

        url = f"{origin.scheme}://{origin}"
        if is_loopback(origin.host) or should_bypass_proxies(url, self._no_proxy):
            return None
        proxy = select_proxy(url, self._proxies)
        return Proxy(proxy) if proxy else None

    def _reach(self, origin: Origin, deadline: float) -> socket.socket:
        """A socket connected to the origin, directly or through a proxy."""
        proxy = self._choose(origin) if self._proxies else None
        if proxy is None:
            return self._connect(origin.host, origin.port, deadline, self._addresses)
        host = origin.host
        if self._public_only or not proxy.resolves_names:
            host = self._addresses.find(host, origin.port, _remaining(deadline))[0][1][0]
        if proxy.is_socks:
            family, address = self._proxy_addresses.find(proxy.host, proxy.port, _remaining(deadline))[0]
            return proxy.open_socks((family, address[0]), host, origin.port, _remaining(deadline))
        try:
            sock = self._connect(proxy.host, proxy.port, deadline, self._proxy_addresses)
        except TimeoutError:
            raise
        except OSError as error:
            raise ConnectionError(f"the proxy {proxy} does not answer: {describe_failure(error)}") from error
        try:
            sock.settimeout(_remaining(deadline))
            proxy.open_tunnel(sock, host, origin.port)
        except BaseException:
            sock.close()
            raise
        return sock

    def _connect(self, host: str, port: int, deadline: float, book: AddressBook) -> socket.socket:
        """A socket connected to the first address that answers."""
        failure: OSError = ConnectionError("no address")
        addresses = book.find(host, port, _remaining(deadline))
        for tried, address in enumerate(addresses):
            # A dead first address (IPv6 without a route) must leave time for the others.
            wait = _remaining(deadline) / (len(addresses) - tried)
            sock = socket.socket(address[0], socket.SOCK_STREAM)
            try:
                sock.settimeout(wait)
                sock.connect(address[1])
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
            else:
                _set_options(sock)
                book.prefer(host, port, address)
                return sock
        book.forget(host, port)
        raise failure


def describe_failure(error: OSError) -> str:
    """Why a connection failed, with the remedy if there is one."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _UNKNOWN_AUTHORITY:
            return (
                f"certificate verify failed: {error.verify_message}. No trusted authority signed it; if your network "
                "has a certificate authority of its own, set its file as [server] ca_bundle or SSL_CERT_FILE"
            )
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and _REFUSED_US.search(error.reason or ""):
        alert = (error.reason or "").rpartition("ALERT_")[2].replace("_", " ").lower()
        return f"it rejects our certificate ({alert}); set one that it accepts as client_cert"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "TLS failed").replace("_", " ").lower()
        return f"the TLS handshake failed ({reason}); does the server speak HTTPS on this port?"
    if isinstance(error, socket.gaierror):
        return f"its name cannot be resolved ({error.strerror})"
    return error.strerror or str(error) or type(error).__name__


_Stamped = tuple[str, tuple[int, int] | None]


def _stamp(path: str) -> tuple[int, int] | None:
    """A value that differs after each change of a file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=4)
def _tls_context(
    ca_bundle: _Stamped | None, client_cert: _Stamped | None, client_key: _Stamped | None
) -> ssl.SSLContext:
    """The TLS context for these files. It is cached and shared, also by workers if their master has created it."""
    return _build_context(*(None if each is None else each[0] for each in (ca_bundle, client_cert, client_key)))


@lru_cache(maxsize=4)
def _check_files(ca_bundle: _Stamped | None, client_cert: _Stamped | None, client_key: _Stamped | None) -> None:
    """Raises ConfigError for unusable files. The context is not kept, since many upstreams do not use TLS."""
    paths = (None if each is None else each[0] for each in (ca_bundle, client_cert, client_key))
    _load_files(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), *paths)


def _build_context(ca_bundle: str | None, client_cert: str | None, client_key: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    _load_files(context, ca_bundle, client_cert, client_key)
    return context


def _load_files(
    context: ssl.SSLContext, ca_bundle: str | None, client_cert: str | None, client_key: str | None
) -> None:
    if ca_bundle is not None:
        try:
            if Path(ca_bundle).is_dir():
                context.load_verify_locations(capath=ca_bundle)
            else:
                context.load_verify_locations(cafile=ca_bundle)
        except OSError as error:
            raise ConfigError(f"cannot read certificates from {ca_bundle}", key="server.ca_bundle") from error
        except ValueError as error:  # a NUL in the path
            raise ConfigError(f"{ca_bundle!r} is not a path", key="server.ca_bundle") from error
    if client_cert is not None:
        try:
            context.load_cert_chain(client_cert, client_key, password=_no_password)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"cannot use the certificate in {client_cert} and its key", key="server.client_cert"
            ) from error


def _no_password() -> str:
    """Refuses keys with a password. Otherwise OpenSSL would ask for it on the terminal."""
    raise ValueError("the key of the client certificate has a password; use a key without one")


def _set_options(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _remaining(deadline: float) -> float:
    """The seconds left, but never 0, which would make a socket non-blocking."""
    return max(deadline - time.monotonic(), 0.001)
