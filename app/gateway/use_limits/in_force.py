"""The current limits, and how much of each is used."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from app.gateway.client_access.client_keys import ClientKey
from app.gateway.use_limits.refusal import Owner, format_dollars
from app.rate_limits.counts import Demand, Kind, Limit, Period, read_limits
from app.rate_limits.shared_counts import SharedCounts
from app.settings import ProviderSettings


class Limited(msgspec.Struct, frozen=True):
    """A key or provider with limits. `tenant` is the client key's tenant, empty for a provider."""

    owner: Owner
    tenant: str
    limits: tuple[Limit, ...]


class LimitUse(msgspec.Struct, frozen=True):
    """One limit and its use. `limit` is the name of its setting; `maximum` and `used` are requests, tokens, or (for a
    budget) billionths of a dollar. `resets` is the unix time at which a budget starts anew; other windows slide."""

    owner: Literal["key", "provider"]
    name: str
    limit: str
    kind: Kind
    period: Period
    maximum: int
    used: int
    resets: int | None = None

    @property
    def share(self) -> float:
        return self.used / self.maximum


def find_limited(keys: Iterable[ClientKey], providers: Mapping[str, ProviderSettings]) -> list[Limited]:
    """All keys and providers with limits, keys first. A key and its rotated successors have one name and one entry."""
    found = {key.name: Limited(Owner("key", key.name), key.tenant, key.limits) for key in keys if key.limits}
    limits = {name: read_limits(provider) for name, provider in providers.items()}
    return [*found.values(), *(Limited(Owner("provider", name), "", rows) for name, rows in limits.items() if rows)]


def read_use(limited: Sequence[Limited], counts: SharedCounts) -> list[LimitUse]:
    now = time.time()
    rows = [(each.owner, limit) for each in limited for limit in each.limits]
    if not rows:
        return []
    used = counts.look([Demand(owner.mark, limit, 0) for owner, limit in rows])
    return [
        LimitUse(
            owner.kind, owner.name, limit.setting, limit.kind, limit.period, limit.maximum, count,
            limit.ends(limit.number(now)) if limit.kind == "budget" else None,
        )
        for (owner, limit), count in zip(rows, used, strict=True)
    ]  # fmt: skip


def format_use(use: LimitUse) -> str:
    """`41 of 60`, `$0.50 of $2.00`."""
    if use.kind == "budget":
        return f"{format_dollars(use.used)} of {format_dollars(use.maximum)}"
    return f"{use.used:,} of {use.maximum:,}"
