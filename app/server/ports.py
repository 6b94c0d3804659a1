"""Checks whether we can listen at an address, or systemd does so for us."""

from __future__ import annotations

import errno
import os
import socket

from app.errors import ConfigError
from app.settings import ServerSettings

# The first descriptor that systemd passes.
_FIRST_HANDED = 3


def check_port(server: ServerSettings) -> None:
    """Raises ConfigError if the address cannot be used: gunicorn would retry for five seconds, and then end."""
    if handed := find_handed_addresses():
        _check_handed(server, handed)
        return
    if server.host.startswith("unix:"):
        return
    try:
        family, kind, _, _, address = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(f"{server.host} is not an address of this machine", key="server.host") from error
    except OSError as error:
        message = f"cannot be used: {error.strerror}"
        if error.errno == errno.EADDRINUSE:
            message = "is in use; stop the program that listens there or choose another with --port"
        raise ConfigError(f"{server.host}:{server.port} {message}", key="server.port") from error


def find_handed_addresses() -> list[str]:
    """The addresses of the sockets that systemd opened for this process, see sd_listen_fds(3), as `HOST:PORT` or
    `unix:PATH`."""
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return []
    return [_describe(descriptor) for descriptor in range(_FIRST_HANDED, _FIRST_HANDED + int(count))]


def _describe(descriptor: int) -> str:
    with socket.socket(fileno=os.dup(descriptor)) as handed:
        name = handed.getsockname()
    return f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}"


def _check_handed(server: ServerSettings, handed: list[str]) -> None:
    """Raises ConfigError if a socket of systemd listens elsewhere than at `[server] host`. That setting decides who has
    access, and under which host names; another socket would be open to others."""
    wanted = server.host if server.host.startswith("unix:") else f"{server.host}:{server.port}"
    for address in handed:
        if address != wanted.replace("localhost:", "127.0.0.1:"):
            message = f"is {wanted}, but systemd's socket listens at {address}; make them match"
            raise ConfigError(message, key="server.host")
