"""Several credentials of one provider: who gets which, and what happens when one is limited."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import requests

from app.credentials.pool import LONGEST_COOLDOWN, MAX_TENANTS, Cooldown, Cooldowns, CredentialPool, PoolMember
from app.credentials.sources import open_source
from app.credentials.static import StaticSource
from app.errors import CredentialUnavailable
from app.settings import ProviderSettings
from app.settings.tables import CredentialSettings
from tests.support.clock import Clock


def pool_of(*priorities: int, clock: Clock | None = None) -> CredentialPool:
    """Members "a", "b" … with these priorities."""
    members = [
        PoolMember(name, StaticSource("anthropic", source=name, api_key=f"key-{name}"), priority)
        for name, priority in zip("abcdef", priorities, strict=False)
    ]
    return CredentialPool(members, clock or Clock())


def test_a_session_keeps_its_credential() -> None:
    pool = pool_of(0, 0, 0)

    assert len({pool.choose("s1").name for _ in range(20)}) == 1


def test_sessions_are_spread_over_all() -> None:
    pool = pool_of(0, 0, 0)

    spread = Counter(pool.choose(f"session-{number}").name for number in range(600))

    assert set(spread) == {"a", "b", "c"}
    assert min(spread.values()) > 120


def test_every_worker_gives_a_session_the_same() -> None:
    one, other = pool_of(0, 0, 0), pool_of(0, 0, 0)

    assert all(one.choose(f"s{number}").name == other.choose(f"s{number}").name for number in range(50))


def test_requests_without_a_session_take_turns() -> None:
    pool = pool_of(0, 0, 0)

    assert [pool.choose("").name for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_the_highest_priority_comes_first() -> None:
    pool = pool_of(0, 5, 5)

    assert {pool.choose(f"s{number}").name for number in range(50)} == {"b", "c"}
    assert "a" not in {pool.choose("").name for _ in range(10)}


def test_who_is_limited_rests_and_its_sessions_come_back() -> None:
    clock = Clock()
    pool = pool_of(0, 0, clock=clock)
    first = pool.choose("s")
    bystanders = {name: pool.choose(name).name for name in map(str, range(40))}

    other = pool.switch(first, "s", 60.0)
    meanwhile = pool.choose("s")
    moved = {name for name, before in bystanders.items() if pool.choose(name).name != before}
    clock.now += 61
    after = pool.choose("s")

    assert other is not None
    assert other.name == meanwhile.name != first.name
    assert moved == {name for name, before in bystanders.items() if before == first.name}
    assert after.name == first.name


def test_when_all_rest_there_is_no_other_and_the_soonest_is_asked() -> None:
    pool = pool_of(0, 0)
    first = pool.choose("s")
    second = pool.switch(first, "s", 60.0)
    assert second is not None

    assert pool.switch(second, "s", 30.0) is None
    assert pool.choose("s").name == second.name


def test_a_member_without_a_login_is_passed_over(tmp_path: Path) -> None:
    settings = ProviderSettings(
        kind="anthropic",
        credentials=(
            CredentialSettings(name="gone", credentials_file=str(tmp_path / "none.json"), priority=1),
            CredentialSettings(name="key", api_key="sk"),
        ),
    )
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}

    source = open_source(settings, environ, tmp_path, requests.Session, name="work")

    assert isinstance(source, CredentialPool)
    assert (source.choose("s").name, source.choose("s").secret) == ("key", "sk")
    assert [member.status.problem is None for member in source.describe_members()] == [False, True]


def test_a_pool_without_any_login_says_what_is_missing(tmp_path: Path) -> None:
    missing = CredentialSettings(name="gone", credentials_file=str(tmp_path / "none.json"))
    settings = ProviderSettings(kind="anthropic", credentials=(missing,))
    source = open_source(settings, {"XDG_RUNTIME_DIR": str(tmp_path)}, tmp_path, requests.Session)
    assert source is not None

    with pytest.raises(CredentialUnavailable, match=r"none\.json does not exist"):
        source.snapshot()


def test_what_one_tenant_met_takes_no_credential_from_another() -> None:
    clock = Clock()
    pool = pool_of(0, 0, clock=clock)
    first = pool.choose("s", "anna")

    assert pool.switch(first, "s", 86400.0, "anna") is not None

    assert pool.choose("s", "anna").name != first.name
    assert {pool.choose("s", tenant).name for tenant in ("bert", "carl", "")} == {first.name}
    [state] = [member for member in pool.describe_members() if member.cooldown]
    assert (state.name, state.cooldown, state.tenants) == (first.name, 86400.0, ("anna",))


def test_what_tenants_apart_met_holds_for_all_as_long_as_it_held_for_two() -> None:
    clock = Clock()
    pool = pool_of(0, 0, clock=clock)
    first = pool.choose("s", "anna")
    for tenant, seconds in (("anna", 600.0), ("bert", 60.0), ("anna", 30.0)):
        pool.switch(first, "s", seconds, tenant)

    assert pool.choose("s", "carl").name != first.name
    clock.now += 61
    assert pool.choose("s", "carl").name == first.name
    assert pool.choose("s", "anna").name != first.name
    clock.now += 540
    assert pool.choose("s", "anna").name == first.name


def test_what_an_account_has_spent_rests_for_all() -> None:
    pool = pool_of(0, 0)
    first = pool.choose("s", "anna")

    pool.switch(first, "s", 60.0, "anna", for_all=True)

    assert pool.choose("s", "bert").name != first.name


def test_tenants_without_end_take_no_room_without_end() -> None:
    cooldowns = Cooldowns()
    for number in range(5000):
        cooldowns.cool_down(f"t{number}", 10.0 + number / 1000, 0.0)

    assert len(list(cooldowns.tenants(0.0))) <= MAX_TENANTS
    assert cooldowns.for_all == pytest.approx(14.998)


@pytest.mark.parametrize("until", [float("nan"), float("inf"), -1.0, 1e308, 0.0])
def test_odd_moments_of_another_worker_rest_nothing_for_ever(until: float) -> None:
    clock = Clock()
    pool = pool_of(0, 0, clock=clock)

    pool.adopt_cooldowns([Cooldown("a", until), Cooldown("a", until, "anna"), Cooldown("none", until)])

    clock.now += LONGEST_COOLDOWN + 1
    assert [member.cooldown for member in pool.describe_members()] == [0.0, 0.0]
    assert {pool.choose("", "anna").name for _ in range(4)} == {"a", "b"}
