"""Whom a rest holds for: the tenant whose request showed it, and all once tenants apart have met it.

What one client makes an upstream say must not take a credential from the others.
"""

from __future__ import annotations

from collections.abc import Iterator

# Tenants that must have met something before it holds for all.
CONFIRMING_TENANTS = 2
# Tenants that one credential rests for at a time.
MOST_TENANTS = 256


class Rests:
    """Until when one thing rests, by a clock that the caller reads; 0.0 where it does not. A tenant is its mark."""

    __slots__ = ("_tenants", "for_all")

    def __init__(self) -> None:
        self.for_all = 0.0
        self._tenants: dict[str, float] = {}

    def until(self, tenant: str) -> float:
        """When it is over for a tenant; for the empty one it is what holds for all, unless all have that name."""
        return max(self.for_all, self._tenants.get(tenant, 0.0)) if self._tenants else self.for_all

    def any_until(self) -> float:
        """When it is over for every tenant."""
        return max(self.for_all, *self._tenants.values()) if self._tenants else self.for_all

    def rest_for_all(self, until: float) -> None:
        self.for_all = max(self.for_all, until)

    def rest(self, tenant: str, until: float, now: float) -> None:
        """Notes what a request of `tenant` has met. As long as that of tenants apart holds, it holds for all."""
        held = self._tenants = {name: end for name, end in self._tenants.items() if end > now}
        if until > held.get(tenant, now):
            held[tenant] = until
        if len(held) > MOST_TENANTS:
            del held[min(held, key=held.__getitem__)]
        if len(held) >= CONFIRMING_TENANTS:
            self.rest_for_all(sorted(held.values())[-CONFIRMING_TENANTS])

    def tenants(self, now: float) -> Iterator[tuple[str, float]]:
        """The tenants that it still rests for, longer than for all, and until when."""
        return ((name, end) for name, end in self._tenants.items() if end > max(now, self.for_all))
