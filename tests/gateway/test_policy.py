"""What follows a failure: the same again, another request, another upstream, or the client."""

from __future__ import annotations

import collections
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from app.errors import DragomanError, Failure, FailureKind, UpstreamCut, UpstreamRefused, UpstreamTimeout
from app.errors import UpstreamUnreachable as Unreachable
from app.gateway.failures.policy import cool_down, more_informative, tries_next, wait_before_retry


def refused(status: int, kind: FailureKind = "internal", message: str = "boom", **headers: str) -> UpstreamRefused:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return UpstreamRefused(Failure(kind=kind, message=message, status=status, origin="upstream"), named)


@pytest.mark.parametrize(
    "error", [refused(500), refused(503), refused(529), refused(522), Unreachable("no"), UpstreamCut("x", began=False)]
)
def test_what_may_pass_is_tried_again_soon(error: DragomanError) -> None:
    firsts, seconds = [[wait_before_retry(error, attempt) or 0.0 for _ in range(300)] for attempt in (1, 2)]

    assert 0 < min(firsts) < 0.1 < 0.4 < max(firsts) <= 0.5
    assert 0 < min(seconds) < 0.2 < 0.8 < max(seconds) <= 1.0


@pytest.mark.parametrize(
    "error",
    [
        refused(400),
        refused(401),
        refused(404),
        refused(413),
        refused(501),
        UpstreamTimeout("idle", 3),
        UpstreamCut("x", began=True),
    ],
)
def test_what_would_fail_or_cost_again_is_not_repeated(error: DragomanError) -> None:
    assert wait_before_retry(error, 1) is None


def test_a_rate_limit_is_waited_out_unless_it_is_a_long_one() -> None:
    assert 2.0 <= (wait_before_retry(refused(429, "rate_limit", retry_after="2"), 1) or 0) <= 3.0
    assert 0.3 <= (wait_before_retry(refused(429, "rate_limit", retry_after_ms="300", retry_after="9"), 1) or 0) <= 0.45
    assert wait_before_retry(refused(429, "rate_limit", retry_after="287441"), 1) is None
    assert 0 < (wait_before_retry(refused(429, "rate_limit"), 1) or 0) < 0.5
    assert wait_before_retry(refused(429, "quota", retry_after="1"), 1) is None


def test_an_upstream_that_forbids_a_retry_is_obeyed() -> None:
    assert wait_before_retry(refused(500, x_should_retry="false"), 1) is None


def test_a_wrong_request_is_wrong_everywhere() -> None:
    assert not tries_next(refused(400, "invalid_request"))
    assert not tries_next(refused(400, "context_overflow"))
    assert tries_next(refused(429, "rate_limit"))
    assert tries_next(UpstreamTimeout("first_byte", 1))


def test_an_upstream_cools_down_only_on_its_own_word() -> None:
    assert cool_down(refused(429, "rate_limit", retry_after="3600")) == 3600.0
    assert cool_down(refused(429, "rate_limit")) is None
    assert cool_down(refused(500, retry_after="3600")) is None


def test_the_time_to_come_back_may_be_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)

    wait = wait_before_retry(refused(503, retry_after=soon), 1)

    assert wait is not None
    assert 1 < wait <= 4.5


def test_requests_that_were_told_the_same_time_do_not_come_back_together() -> None:
    told = refused(429, "rate_limit", retry_after="1")

    waits = [wait_before_retry(told, 1) or 0.0 for _ in range(300)]

    tenths = collections.Counter(int(wait * 10) for wait in waits)
    assert min(waits) >= 1
    assert max(tenths.values()) < 0.35 * len(waits)


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "-inf", "Mon, 01 Jan 99999 00:00:00 GMT", "2026-11-21"])
def test_a_time_to_come_back_that_is_none_pauses_nobody(text: str) -> None:
    assert cool_down(refused(429, "rate_limit", retry_after=text)) is None


def test_the_last_failure_of_a_route_is_told() -> None:
    first, last = refused(429, "rate_limit"), refused(503, "overloaded")

    assert more_informative(None, first) is first
    assert more_informative(first, last) is last
    assert more_informative(refused(401, "upstream_auth"), last) is last


def test_a_fallback_without_access_does_not_hide_when_to_come_back() -> None:
    limit, locked = refused(429, "rate_limit"), refused(401, "upstream_auth")

    assert more_informative(limit, locked) is limit
    assert more_informative(refused(404, "not_found"), locked) is locked
