"""What upstreams teach by refusing: whom a fact holds for, and for how long."""

from __future__ import annotations

import msgspec
import pytest

from app.conversation.capabilities import Capabilities
from app.gateway.failures.learned_facts import LIFETIME, MAX_FACTS_PER_TENANT, KnownFact, LearnedFacts
from tests.support.clock import Clock

PLAIN = Capabilities(dialect="openai_chat")


@pytest.fixture
def facts(clock: Clock) -> LearnedFacts:
    return LearnedFacts(clock)


def no_seed(capabilities: Capabilities) -> Capabilities:
    return msgspec.structs.replace(capabilities, seed=False)


def report(facts: LearnedFacts, tenant: str, times: int = 3, upstream: str = "chat/m") -> None:
    for _ in range(times):
        facts.report(upstream, tenant, "seed", no_seed)


def has_seed(facts: LearnedFacts, tenant: str, upstream: str = "chat/m") -> bool:
    return facts.adapt(upstream, tenant, PLAIN).seed


def test_a_fact_holds_after_three_refusals_for_the_tenant_who_saw_them_and_nobody_else(facts: LearnedFacts) -> None:
    report(facts, "anna", times=2)
    assert has_seed(facts, "anna")

    report(facts, "anna", times=1)

    assert not has_seed(facts, "anna")
    assert has_seed(facts, "bert")
    assert has_seed(facts, "anna", upstream="chat/other")


def test_however_often_one_tenant_shows_a_fact_it_stays_its_own(facts: LearnedFacts) -> None:
    report(facts, "anna", times=1000)
    report(facts, "bert", times=2)

    assert has_seed(facts, "carl")


def test_what_tenants_apart_have_shown_holds_for_all(facts: LearnedFacts) -> None:
    report(facts, "anna")
    report(facts, "bert")

    assert not has_seed(facts, "carl")


def test_facts_expire(facts: LearnedFacts, clock: Clock) -> None:
    report(facts, "anna")
    report(facts, "bert")

    clock.now += LIFETIME + 1

    assert has_seed(facts, "anna")
    assert has_seed(facts, "carl")
    assert list(facts.known()) == []


def test_a_pause_ends_when_it_said_and_never_lasts_longer_than_a_fact(facts: LearnedFacts, clock: Clock) -> None:
    facts.report("chat/m", "anna", "cool_down", times=1, seconds=60)
    facts.report("chat/n", "anna", "cool_down", times=1, seconds=10**9)

    clock.now += 61
    assert not facts.holds("chat/m", "anna", "cool_down")
    assert facts.holds("chat/n", "anna", "cool_down")

    clock.now += LIFETIME
    assert not facts.holds("chat/n", "anna", "cool_down")


def test_one_tenant_fills_its_own_share_only(facts: LearnedFacts) -> None:
    report(facts, "bert")

    for number in range(MAX_FACTS_PER_TENANT * 3):
        report(facts, "anna", upstream=f"chat/made-up-{number}")

    assert len(list(facts.known())) == MAX_FACTS_PER_TENANT + 1
    assert not has_seed(facts, "bert")


def test_known_facts_say_for_whom_and_for_how_long(facts: LearnedFacts) -> None:
    report(facts, "anna")
    report(facts, "anna", upstream="chat/n")
    report(facts, "bert", upstream="chat/n")

    assert list(facts.known()) == [
        KnownFact("chat/m", "seed", "anna", LIFETIME),
        KnownFact("chat/n", "seed", None, LIFETIME),
    ]


def test_a_provider_that_changed_has_taught_nothing_yet(facts: LearnedFacts) -> None:
    report(facts, "anna")
    report(facts, "anna", upstream="chat-two/m")

    facts.forget_provider("chat")

    assert has_seed(facts, "anna")
    assert not has_seed(facts, "anna", upstream="chat-two/m")
