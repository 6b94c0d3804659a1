"""Tunnels through HTTP and SOCKS proxies."""

from __future__ import annotations

import base64
import socket
from functools import partial
from urllib.parse import SplitResult, unquote, urlsplit

_MAX_HEAD = 64 * 1024
# PySocks' numbers of the protocol's versions.
_SOCKS = {"socks4": 1, "socks4a": 1, "socks5": 2, "socks5h": 2}
# With these, the proxy looks up the upstream's name.
_LOOK_UP_THERE = frozenset({"socks4a", "socks5h"})
# The default ports of proxies.
_PORTS = {"http": 80, "https": 443} | dict.fromkeys(_SOCKS, 1080)


class Proxy:
    """A proxy, given by its URL. User and password appear in none of its messages."""

    def __init__(self, url: str) -> None:
        parts: SplitResult = urlsplit(url if "://" in url else f"http://{url}")
        self.url = parts.geturl()
        self.scheme = parts.scheme
        self.host = parts.hostname or ""
        self.port = parts.port or _PORTS.get(parts.scheme, 80)
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password or "")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def is_socks(self) -> bool:
        return self.scheme in _SOCKS

    @property
    def resolves_names(self) -> bool:
        """Whether the proxy looks up the upstream's name."""
        return self.scheme not in _SOCKS or self.scheme in _LOOK_UP_THERE

    def open_socks(self, address: tuple[socket.AddressFamily, str], host: str, port: int, wait: float) -> socket.socket:
        """A socket that leads to `host` through the SOCKS proxy at `address`. Raises OSError."""
        import socks  # imported late: it uses the socket class it finds then, which must be gevent's if that is in use

        sock = socks.socksocket(address[0])
        try:
            sock.set_proxy(_SOCKS[self.scheme], address[1], self.port, self.resolves_names, self._user, self._password)
            sock.settimeout(wait)
            sock.connect((host, port))
        except socks.ProxyError as error:
            sock.close()
            cause = getattr(error, "socket_err", None)
            if isinstance(cause, TimeoutError):
                raise TimeoutError from error
            raise ConnectionError(f"the proxy {self} did not open the tunnel: {error}") from error
        except BaseException:
            sock.close()
            raise
        tunnel: socket.socket = sock
        return tunnel

    def open_tunnel(self, sock: socket.socket, host: str, port: int) -> None:
        """Requests a tunnel from the HTTP proxy to which `sock` is connected (RFC 9110 section 9.3.6). Raises
        OSError."""
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {authority} HTTP/1.1", f"host: {authority}"]
        if self._user:
            user = f"{self._user}:{self._password}"
            lines.append(f"proxy-authorization: Basic {base64.b64encode(user.encode()).decode()}")
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        head = bytearray()
        # Reading beyond the head would lose bytes of TLS, but there are none: in TLS, the client speaks first.
        for received in iter(partial(sock.recv, 4096), b""):
            head += received
            if b"\r\n\r\n" in head[-len(received) - 3 :] or len(head) > _MAX_HEAD:
                break
        status = bytes(head[:200]).partition(b"\r\n")[0].split(b" ", 2)
        if len(status) < 2 or not status[1].startswith(b"2"):
            raise ConnectionError(self._describe(status[1].decode("latin-1") if len(status) > 1 else "nothing"))

    def _describe(self, answer: str) -> str:
        if answer == "407":
            given = (
                "does not accept the user and password in its URL" if self._user else "requires a user and a password"
            )
            return f"the proxy {self} {given} (it answered 407); write it as http://USER:PASSWORD@{self}"
        return f"the proxy {self} answered {answer} instead of opening the tunnel"
