"""Whether an address can be listened at."""

from __future__ import annotations

import errno
import socket

from app.errors import ConfigError
from app.settings import ServerSettings


def check_port(server: ServerSettings) -> None:
    """Raises ConfigError when somebody else holds the port: gunicorn would try for five seconds, and then end."""
    if server.host.startswith("unix:"):
        return
    try:
        family, kind, _, _, address = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(f"{server.host} is no address of this machine", key="server.host") from error
    except OSError as error:
        said = f"cannot be used: {error.strerror}"
        if error.errno == errno.EADDRINUSE:
            said = "is in use; stop the program that listens there or choose another with --port"
        raise ConfigError(f"{server.host}:{server.port} {said}", key="server.port") from error
