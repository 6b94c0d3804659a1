"""Opens connections: look-up, TCP, the tunnel through a proxy, TLS."""

from __future__ import annotations

import base64
import socket
import ssl
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import certifi
from requests.utils import select_proxy, should_bypass_proxies

from app.errors import ConfigError, UpstreamTimeout, UpstreamUnreachable
from app.transport.addresses import AddressBook
from app.transport.call import Origin
from app.transport.connection import Connection, TlsConnection
from app.transport.waiting import Alarm

_MAX_PROXY_HEAD = 64 * 1024

# A dead peer, for example behind a NAT that forgot us, is noticed within about two minutes of silence.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


class Dialer:
    """Opens connections to origins.

    `proxies` has the keys that requests uses: `http`, `https`, `all`, each also with `://host`, and `no_proxy`.
    `ca_bundle` is a file or a folder of certificates that are trusted besides certifi's.
    """

    def __init__(self, proxies: Mapping[str, str], ca_bundle: str | None, addresses: AddressBook) -> None:
        self._proxies = dict(proxies)
        self._no_proxy = self._proxies.pop("no_proxy", "")
        self._addresses = addresses
        self._chosen: dict[Origin, str | None] = {}
        self._tls = _tls_context(ca_bundle)
        self._alarm = Alarm()

    def knows_way(self, origin: Origin) -> bool:
        """False for what requests does better: plain HTTP by way of a proxy, and proxies that are not plain HTTP."""
        proxy = self._proxy_for(origin)
        return proxy is None or (origin.scheme == "https" and urlsplit(proxy).scheme == "http")

    def dial(self, origin: Origin, limit: float) -> Connection:
        """A connection ready for a request. Raises UpstreamUnreachable, or UpstreamTimeout after `limit` seconds."""
        deadline = time.monotonic() + limit
        try:
            proxy = self._proxy_for(origin)
            if proxy is None:
                sock = self._connect(origin.host, origin.port, deadline)
            else:
                parts = urlsplit(proxy)
                sock = self._connect(parts.hostname or "", parts.port or 80, deadline)
            try:
                if proxy is not None:
                    _open_tunnel(sock, proxy, origin, deadline)
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
            raise UpstreamUnreachable(f"cannot connect to {origin}: {error.strerror or error}") from error

    def _proxy_for(self, origin: Origin) -> str | None:
        """The URL of the proxy to an origin; the choice is requests', made once."""
        if not self._proxies:
            return None
        if origin not in self._chosen:
            url = f"{origin.scheme}://{origin}"
            bypass = should_bypass_proxies(url, self._no_proxy)
            proxy = None if bypass else select_proxy(url, self._proxies)
            self._chosen[origin] = proxy if proxy is None or "://" in proxy else f"http://{proxy}"
        return self._chosen[origin]

    def _connect(self, host: str, port: int, deadline: float) -> socket.socket:
        """A socket connected to the first address that answers."""
        failure: OSError = ConnectionError("no address")
        addresses = self._addresses.find(host, port)
        for tried, address in enumerate(addresses):
            # A dead first address (IPv6 without a way out) must leave time for the others.
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
                _tune(sock)
                self._addresses.prefer(host, port, address)
                return sock
        self._addresses.forget(host, port)
        raise failure


def _tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    if ca_bundle is not None:
        try:
            if Path(ca_bundle).is_dir():
                context.load_verify_locations(capath=ca_bundle)
            else:
                context.load_verify_locations(cafile=ca_bundle)
        except OSError as error:
            raise ConfigError(f"cannot read certificates from {ca_bundle}", key="server.ca_bundle") from error
    return context


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _open_tunnel(sock: socket.socket, proxy: str, origin: Origin, deadline: float) -> None:
    """Asks an HTTP proxy for a connection to `origin` (RFC 9110 section 9.3.6)."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"host: {host}:{origin.port}"]
    parts = urlsplit(proxy)
    if parts.username:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"proxy-authorization: Basic {base64.b64encode(user.encode()).decode()}")
    sock.settimeout(_remaining(deadline))
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    # One byte more than the head would already belong to TLS, but the upstream's TLS waits for us to speak first.
    for received in iter(partial(sock.recv, 4096), b""):
        head += received
        if b"\r\n\r\n" in head or len(head) > _MAX_PROXY_HEAD:
            break
    status = head.partition(b"\r\n")[0].split(b" ", 2)
    if len(status) < 2 or not status[1].startswith(b"2"):
        answer = status[1].decode("latin-1") if len(status) > 1 else "nothing"
        raise ConnectionError(f"the proxy answered {answer} instead of opening the tunnel")


def _remaining(deadline: float) -> float:
    """Seconds left, never so few that a socket would take them for "do not wait"."""
    return max(deadline - time.monotonic(), 0.001)
