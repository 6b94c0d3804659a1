"""Looks up the addresses of host names, caches them, and recognises those of the public internet."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable

from app.transport.network.lookup import Address, LookUp, Resolver, read_literal

__all__ = ["Address", "AddressBook"]

# Seconds for which a failed look-up is not repeated.
_FAILURE_LIFETIME = 3.0
# Bounds the cache: strangers may choose any number of names.
_MAX_NAMES = 4096

_Key = tuple[str, int]
# Ranges whose addresses contain or lead to another address, and others that Python considers global. None of them has
# public servers.
_INDIRECT = tuple(
    ipaddress.ip_network(text)
    for text in (
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64 in private networks
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fec0::/10",  # site-local
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",  # benchmarks
        "100.64.0.0/10",  # carrier-grade NAT; 100.100.100.200 is a cloud's metadata
        "168.63.129.16/32",  # a cloud's internal services, at an address that looks public
    )
)


class AddressBook:
    """Looks up host names and remembers their addresses for `lifetime` seconds.

    With `public_only`, it refuses addresses of this machine and of private networks, so that URLs chosen by strangers
    cannot lead there. `prefer` moves an address that worked to the front. If all of a name's addresses fail, `forget`
    makes the next look-up a fresh one. While a name server does not answer, the last known addresses are used.
    """

    def __init__(
        self, lifetime: float, now: Callable[[], float] = time.monotonic, *, public_only: bool = False
    ) -> None:
        self.lifetime = lifetime
        self._public_only = public_only
        self._now = now
        self._resolver = Resolver()
        self._known: dict[_Key, tuple[float, list[Address]]] = {}
        self._failed: dict[_Key, tuple[float, OSError]] = {}
        self._under_way: dict[_Key, LookUp] = {}

    def find(self, host: str, port: int, limit: float = 10.0) -> list[Address]:
        """A host's addresses in the order to try them, never empty. Raises OSError if the name is unknown, TimeoutError
        if the look-up takes longer than `limit` seconds."""
        key = (host, port)
        known = self._known.get(key)
        if known is not None and known[0] > self._now():
            return known[1]
        literal = read_literal(host, port)
        if literal is not None:
            return self._admit(host, [literal])
        failed = self._failed.get(key)
        if failed is not None and failed[0] > self._now():
            raise type(failed[1])(*failed[1].args)
        return self._look_up(key, known[1] if known is not None else None, limit)

    def prefer(self, host: str, port: int, address: Address) -> None:
        """Puts `address`, which worked, first from now on."""
        known = self._known.get((host, port))
        if known is not None and known[1][0] != address:
            others = [other for other in known[1] if other != address]
            self._known[host, port] = (known[0], [address, *others])

    def forget(self, host: str, port: int) -> None:
        """Forgets a host's addresses, because none of them worked and it may have moved."""
        self._known.pop((host, port), None)

    def _look_up(self, key: _Key, last: list[Address] | None, limit: float) -> list[Address]:
        look_up = self._under_way.get(key)
        if look_up is None:
            if len(self._known) + len(self._failed) + len(self._under_way) > _MAX_NAMES:
                self._known.clear()
                self._failed.clear()
                # Nobody waits for these any more: all who did have left, or were told that it takes too long.
                self._under_way = {key: each for key, each in self._under_way.items() if not each.done.is_set()}
            look_up = self._under_way[key] = self._resolver.start(*key)
        finished = look_up.done.wait(limit)
        if finished and self._under_way.get(key) is look_up:
            del self._under_way[key]
        if not finished or look_up.failure is not None:
            if last is not None:
                return last
            if look_up.failure is None:
                raise TimeoutError(f"looking up {key[0]} takes too long")
            self._failed[key] = (self._now() + _FAILURE_LIFETIME, look_up.failure)
            raise look_up.failure
        addresses = self._admit(key[0], look_up.addresses)
        self._known[key] = (self._now() + self.lifetime, addresses)
        return addresses

    def _admit(self, host: str, addresses: list[Address]) -> list[Address]:
        if self._public_only:
            addresses = [address for address in addresses if is_public(str(address[1][0])) and not any(address[1][3:])]
        if not addresses:
            raise OSError(f"{host} has no public address")
        return addresses


def is_public(address: str) -> bool:
    """Whether an address, as the system writes it, belongs to the public internet."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if getattr(found, "scope_id", None) or not found.is_global or found.is_multicast or found.is_reserved:
        return False
    return not any(found.version == network.version and found in network for network in _INDIRECT)


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own, judged by its text alone."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
