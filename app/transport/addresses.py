"""Remembers for a while which addresses a host name stands for."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable
from typing import Any

# Family, and what `socket.connect` takes for it.
Address = tuple[socket.AddressFamily, tuple[Any, ...]]


class AddressBook:
    """Name look-ups with a memory: under gevent each look-up goes through a pool of ten threads, also for literals.

    `lifetime` is in seconds. A book that is `public_only` knows no address of this machine or its own networks, so
    that a URL which somebody else chose leads to none of them. An address that worked is moved to the front with
    `prefer`; after a failure of all of them `forget` makes the next look-up a fresh one.
    """

    def __init__(
        self, lifetime: float, now: Callable[[], float] = time.monotonic, *, public_only: bool = False
    ) -> None:
        self._lifetime = lifetime
        self._public_only = public_only
        self._now = now
        self._known: dict[tuple[str, int], tuple[float, list[Address]]] = {}

    def find(self, host: str, port: int) -> list[Address]:
        """Addresses in the order to try them; never empty. Raises OSError if the name is not known."""
        known = self._known.get((host, port))
        now = self._now()
        if known is not None and known[0] > now:
            return known[1]
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses: list[Address] = [(family, address) for family, _, _, _, address in found]
        if self._public_only:
            addresses = [address for address in addresses if ipaddress.ip_address(address[1][0]).is_global]
            if not addresses:
                raise OSError(f"{host} has no public address")
        self._known[host, port] = (now + self._lifetime, addresses)
        return addresses

    def prefer(self, host: str, port: int, address: Address) -> None:
        """`address` worked: try it first from now on."""
        known = self._known.get((host, port))
        if known is not None and known[1][0] != address:
            others = [other for other in known[1] if other != address]
            self._known[host, port] = (known[0], [address, *others])

    def forget(self, host: str, port: int) -> None:
        """No address worked: the host may have moved."""
        self._known.pop((host, port), None)
