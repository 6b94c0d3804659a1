"""Decides for whom a credential cools down: for the tenant whose request met a limit, and for all once several met it.

One client must not be able to provoke a reply that takes a credential away from all others.
"""

from __future__ import annotations

from collections.abc import Iterator

# The number of tenants that must meet a limit before it holds for all.
CONFIRMING_TENANTS = 2
# The most tenants for which one credential cools down at a time.
MAX_TENANTS = 256


class Cooldowns:
    """The end of one credential's cooldowns, by the caller's clock; 0.0 if there is none. Tenants are given by their
    ids."""

    __slots__ = ("_tenants", "for_all")

    def __init__(self) -> None:
        self.for_all = 0.0
        self._tenants: dict[str, float] = {}

    def until(self, tenant: str) -> float:
        """When the cooldown of a tenant is over: the later of its own and the one for all."""
        return max(self.for_all, self._tenants.get(tenant, 0.0)) if self._tenants else self.for_all

    def any_until(self) -> float:
        """When the last cooldown is over, for any tenant or for all."""
        return max(self.for_all, *self._tenants.values()) if self._tenants else self.for_all

    def cool_down_for_all(self, until: float) -> None:
        self.for_all = max(self.for_all, until)

    def cool_down(self, tenant: str, until: float, now: float) -> None:
        """Cools the credential down for `tenant`. While CONFIRMING_TENANTS tenants have a cooldown, all have."""
        held = self._tenants = {name: end for name, end in self._tenants.items() if end > now}
        if until > held.get(tenant, now):
            held[tenant] = until
        if len(held) > MAX_TENANTS:
            del held[min(held, key=held.__getitem__)]
        if len(held) >= CONFIRMING_TENANTS:
            self.cool_down_for_all(sorted(held.values())[-CONFIRMING_TENANTS])

    def tenants(self, now: float) -> Iterator[tuple[str, float]]:
        """The tenants whose cooldowns end later than the one for all, and when."""
        return ((name, end) for name, end in self._tenants.items() if end > max(now, self.for_all))
