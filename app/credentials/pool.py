"""Chooses among several credentials of one provider, and cools down those that have reached a limit."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from app.credentials.credential import Credential, CredentialSource, SourceStatus
from app.errors import CredentialUnavailable

# Seconds. A cooldown is no longer than this, whatever its upstream says.
LONGEST_COOLDOWN = 7 * 86400.0
# The number of tenants that must meet a limit before it holds for all.
CONFIRMING_TENANTS = 2
# The most tenants for which one credential cools down at a time.
MAX_TENANTS = 256


class Cooldown(msgspec.Struct, frozen=True):
    """A member that cools down `until` a time of the monotonic clock, for one `tenant`, or for all if that is None."""

    member: str
    until: float
    tenant: str | None = None


class MemberState(msgspec.Struct, frozen=True):
    """A member's state, for humans. `cooldown` is how many seconds its cooldown still lasts; it applies only to
    `tenants` if there are any."""

    name: str
    status: SourceStatus
    cooldown: float
    tenants: tuple[str, ...] = ()


class PoolMember:
    """One credential of a pool, with the name that logs and status pages use for it."""

    def __init__(self, name: str, source: CredentialSource, priority: int = 0) -> None:
        self.name = name
        self.source = source
        self.priority = priority
        self.cooldowns = Cooldowns()
        self.used = 0  # the number of the last request that got it
        self._given: tuple[Credential, Credential] | None = None

    def snapshot(self) -> Credential:
        """The credential, labelled with the member's name. Raises CredentialUnavailable."""
        plain = self.source.snapshot()
        given = self._given
        if given is None or given[0] is not plain:
            given = self._given = plain, msgspec.structs.replace(plain, name=self.name)
        return given[1]


class CredentialPool:
    """A CredentialSource that combines several others.

    A session keeps its member as long as that is ready, because a provider's prompt cache belongs to an account. The
    member follows from the session's name alone, so that all workers agree. Requests without a session go to the member
    that was used least recently. Members with the highest priority are preferred. A member that its upstream limits or
    refuses cools down, for the tenant whose request met that, or for all (cooldowns.py). If all do, the one that is
    ready soonest is used. Clients that cannot be told apart share the empty tenant.
    """

    def __init__(self, members: Sequence[PoolMember], monotonic: Callable[[], float] = time.monotonic) -> None:
        self.members = tuple(members)
        self._monotonic = monotonic
        self._numbers = itertools.count(1)

    def snapshot(self) -> Credential:
        return self.choose("")

    def choose(self, session: str, tenant: str = "") -> Credential:
        """The credential for a tenant's request. `session` is empty if it is unknown. Raises CredentialUnavailable if
        no member has one."""
        problem: CredentialUnavailable | None = None
        for member in self._rank(session, tenant):
            try:
                credential = member.snapshot()
            except CredentialUnavailable as error:
                problem = problem or error
            else:
                member.used = next(self._numbers)
                return credential
        assert problem is not None, "a pool has at least one member"
        raise problem

    def switch(
        self, failed: Credential, session: str, seconds: float, tenant: str = "", *, for_all: bool = False
    ) -> Credential | None:
        """Cool down the member that supplied `failed` for `seconds`, and return another ready member's credential, or
        None. `for_all` says that the upstream's refusal concerns the account, not just this request."""
        now = self._monotonic()
        until = now + min(seconds, LONGEST_COOLDOWN)
        for member in self.members:
            if member.name == failed.name:
                member.cooldowns.cool_down(tenant, until, now)
                if for_all:
                    member.cooldowns.cool_down_for_all(until)
        if not any(member.cooldowns.until(tenant) <= now for member in self.members):
            return None
        try:
            other = self.choose(session, tenant)
        except CredentialUnavailable:
            return None
        return other if other.name != failed.name else None

    def refresh(self, failed: Credential) -> Credential:
        member = next((each for each in self.members if each.name == failed.name), self.members[0])
        member.source.refresh(failed)
        return member.snapshot()

    def describe(self) -> SourceStatus:
        """The status of the first member without a problem, else of the first member."""
        states = [member.status for member in self.describe_members()]
        return next((state for state in states if state.problem is None and state.kind != "none"), states[0])

    def describe_members(self) -> list[MemberState]:
        now = self._monotonic()
        return [
            MemberState(
                each.name,
                each.source.describe(),
                max(0.0, each.cooldowns.any_until() - now),
                () if each.cooldowns.for_all > now else tuple(sorted(name for name, _ in each.cooldowns.tenants(now))),
            )
            for each in self.members
        ]

    def cooldowns(self) -> list[Cooldown]:
        """All cooldowns of members, for all tenants or for one."""
        now = self._monotonic()
        found = [Cooldown(each.name, each.cooldowns.for_all) for each in self.members if each.cooldowns.for_all > now]
        return found + [
            Cooldown(each.name, end, name) for each in self.members for name, end in each.cooldowns.tenants(now)
        ]

    def adopt_cooldowns(self, cooldowns: Iterable[Cooldown]) -> None:
        """Adopts the cooldowns that other workers report, where they last longer than our own."""
        now = self._monotonic()
        members = {member.name: member for member in self.members}
        for cooldown in cooldowns:
            member, until = members.get(cooldown.member), min(cooldown.until, now + LONGEST_COOLDOWN)
            if member is None or not until > now:
                continue
            if cooldown.tenant is None:
                member.cooldowns.cool_down_for_all(until)
            else:
                member.cooldowns.cool_down(cooldown.tenant, until, now)

    def poll(self) -> None:
        for member in self.members:
            member.source.poll()

    def _rank(self, session: str, tenant: str) -> list[PoolMember]:
        """All members, the preferred one first."""
        now = self._monotonic()
        ends = {member: member.cooldowns.until(tenant) for member in self.members}
        ready = [member for member in self.members if ends[member] <= now]
        resting = sorted((each for each in self.members if ends[each] > now), key=ends.__getitem__)
        if session:
            ready.sort(key=lambda each: (-each.priority, _session_rank(session, each.name)))
        else:
            ready.sort(key=lambda each: (-each.priority, each.used))
        return ready + resting


def _session_rank(session: str, name: str) -> bytes:
    """A member's lot in a session (rendezvous hashing). It is the same in every worker and independent of the other
    members, so adding or removing a member moves no sessions but its own."""
    return hashlib.blake2b(f"{session}\0{name}".encode("utf-8", "replace"), digest_size=8).digest()


class Cooldowns:
    """The end of one credential's cooldowns, by the caller's clock; 0.0 if there is none. Tenants are given by their
    ids. A cooldown holds for the tenant whose request met a limit, and for all once several met it: one client must not
    be able to provoke a reply that takes a credential away from all others."""

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
