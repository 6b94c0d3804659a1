"""The breaker: which failures count, when it opens, for whom, and how it closes."""

from __future__ import annotations

import pytest

from app.errors import (
    CredentialUnavailable,
    DragomanError,
    Failure,
    FailureKind,
    InvalidRequest,
    UpstreamCut,
    UpstreamMalformed,
    UpstreamRefused,
    UpstreamSpared,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from app.gateway.upstream_health.breaker import LONGEST_PROBE, TOLERANCES, Breaker, Fault, find_fault


def refused(status: int, kind: FailureKind = "internal") -> UpstreamRefused:
    return UpstreamRefused(Failure(kind=kind, message="boom", status=status, origin="upstream"))


def failed(fault: Fault, times: int, *, tenant: str = "", now: float = 0.0) -> Breaker:
    """A breaker after so many faults of different requests."""
    breaker = Breaker()
    for number in range(times):
        breaker.fail(fault, tenant, number, now, probe=False)
    return breaker


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (UpstreamUnreachable("no"), "unreachable"),
        (UpstreamCut("x", began=False), "failing"),
        (UpstreamCut("x", began=True), "failing"),
        (UpstreamTimeout("connect", 10), "silent"),
        (UpstreamTimeout("first_byte", 10), "silent"),
        (UpstreamMalformed("a page"), "failing"),
        *((refused(status), "failing") for status in (500, 502, 503, 504, 522, 524, 529)),
        (refused(529, "overloaded"), "failing"),
        # The request's own, the account's, the model's, the gateway's.
        *((refused(status), None) for status in (400, 404, 405, 409, 413, 415, 422, 501)),
        (refused(500, "invalid_request"), None),
        (refused(500, "context_overflow"), None),
        (refused(503, "rate_limit"), None),
        (refused(429, "rate_limit"), None),
        (refused(429, "quota"), None),
        (refused(502, "upstream_auth"), None),
        (InvalidRequest("no"), None),
        (CredentialUnavailable("log in"), None),
        (UpstreamSpared("later", retry_after=1), None),
    ],
    ids=str,
)
def test_only_what_is_the_targets_own_trouble_counts(error: DragomanError, fault: Fault | None) -> None:
    assert find_fault(error) == fault


@pytest.mark.parametrize("fault", TOLERANCES)
def test_it_opens_after_faults_in_a_row_and_lets_one_probe_through_later(fault: Fault) -> None:
    tolerance = TOLERANCES[fault]

    assert failed(fault, tolerance.faults - 1).judge("", 0.0) == "go"
    breaker = failed(fault, tolerance.faults)
    assert breaker.judge("", tolerance.first - 0.1) == "wait"
    assert breaker.judge("", tolerance.first) == "probe"
    breaker.begin_probe(tolerance.first)
    assert breaker.judge("", tolerance.first) == "wait"
    assert breaker.judge("", tolerance.first + LONGEST_PROBE) == "probe"


@pytest.mark.parametrize("fault", TOLERANCES)
def test_each_failed_probe_doubles_the_pause_up_to_a_limit(fault: Fault) -> None:
    breaker = failed(fault, TOLERANCES[fault].faults)
    periods = [breaker.period]

    for number in range(100, 112):
        assert breaker.until is not None
        breaker.begin_probe(breaker.until)
        assert breaker.fail(fault, "", number, breaker.until, probe=True)
        periods.append(breaker.period)

    first, longest = TOLERANCES[fault].first, TOLERANCES[fault].longest
    assert periods == [min(longest, first * 2**times) for times in range(13)]


def test_a_probe_that_told_nothing_leaves_the_turn_to_the_next_request() -> None:
    breaker = failed("unreachable", 3)
    breaker.begin_probe(5.0)

    breaker.end_probe()

    assert breaker.judge("", 5.0) == "probe"


def test_one_request_sent_again_and_again_does_not_open_it() -> None:
    breaker = Breaker()

    opened = [breaker.fail("failing", "", 7, 0.0, probe=False) for _ in range(100)]

    assert not any(opened)
    assert breaker.judge("", 0.0) == "go"


def test_what_was_under_way_when_it_opened_does_not_prolong_it() -> None:
    breaker = failed("unreachable", 300)

    assert (breaker.until, breaker.opened) == (TOLERANCES["unreachable"].first, 1)


def test_what_one_tenant_meets_holds_for_it_alone_until_another_has_met_it() -> None:
    breaker = failed("failing", 50, tenant="anna")
    assert (breaker.judge("anna", 0.0), breaker.judge("bert", 0.0)) == ("wait", "go")

    breaker.fail("failing", "bert", 1000, 0.0, probe=False)

    assert breaker.judge("carl", 0.0) == "wait"


def test_what_cannot_be_reached_is_so_for_all() -> None:
    assert failed("unreachable", 3, tenant="anna").judge("bert", 0.0) == "wait"


def test_it_does_not_grow_with_its_faults() -> None:
    breaker = Breaker()

    for number in range(10_000):
        breaker.fail("failing", f"tenant {number}", number, 0.0, probe=False)

    assert max(len(breaker.tenants), len(breaker.requests)) <= 64
