"""Resolves host names without blocking the caller."""

from __future__ import annotations

import ipaddress
import socket
import threading
from typing import Any

from gevent.monkey import get_original, is_module_patched
from gevent.threadpool import ThreadPool

# The family, and the argument of `socket.connect` for it.
Address = tuple[socket.AddressFamily, tuple[Any, ...]]

# The threads of a gevent worker that wait for name servers, each for one name.
_THREADS = 32
# The most digits of a network's number. More would exceed what the system accepts.
_MAX_DIGITS = 9


class LookUp:
    """A running look-up. Either `addresses` or `failure` is set when it is `done`."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.addresses: list[Address] = []
        self.failure: OSError | None = None


class Resolver:
    """Starts look-ups in threads, without blocking the caller.

    gevent's own resolver has only ten threads: a dozen requests to one dead name would delay all other names.
    """

    def __init__(self) -> None:
        self._threads: ThreadPool | None = None

    def start(self, host: str, port: int) -> LookUp:
        look_up = LookUp()
        threading.Thread(target=self._run, args=(look_up, host, port), daemon=True).start()
        return look_up

    def _run(self, look_up: LookUp, host: str, port: int) -> None:
        try:
            found = self._ask(host, port)
            look_up.addresses = [(family, address) for family, _, _, _, address in found]
        except OSError as error:
            look_up.failure = error
        except UnicodeError:
            look_up.failure = OSError(f"{host[:80]!r} is not a host's name")
        finally:
            look_up.done.set()

    def _ask(self, host: str, port: int) -> list[Any]:
        if not is_module_patched("socket"):
            return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        if self._threads is None:
            self._threads = ThreadPool(_THREADS)
        original = get_original("socket", "getaddrinfo")
        return list(self._threads.apply(original, (host, port, 0, socket.SOCK_STREAM)))


def read_literal(host: str, port: int) -> Address | None:
    """The address that a host's text spells, or None for a name. Raises OSError for an address with an unknown network
    interface."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 4:
        return socket.AF_INET, (str(address), port)
    return socket.AF_INET6, (str(address).partition("%")[0], port, 0, _read_scope(address.scope_id))


def _read_scope(scope: str | None) -> int:
    """The number of an address's network interface (its scope). Raises OSError for an unknown one."""
    if scope is None:
        return 0
    if not scope.isdecimal():
        return socket.if_nametoindex(scope)
    if len(scope) > _MAX_DIGITS:
        raise OSError("an address names a network interface that does not exist")
    return int(scope)
