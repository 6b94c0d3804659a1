"""The retry budget: a share of the traffic, and a few in any case."""

from __future__ import annotations

import pytest

from app.gateway.upstream_health.retry_budget import FLOOR, SHARE, RetryBudget


@pytest.mark.parametrize("requests", [0, 1, 20, 50, 51, 300, 10_000])
def test_retries_are_a_share_of_the_requests_but_a_few_are_free(requests: int) -> None:
    budget = RetryBudget()

    for _ in range(requests):
        budget.earn(1000.0)
    granted = sum(budget.spend(1000.0) for _ in range(3 * requests + 100))

    assert granted == max(FLOOR, int(SHARE * requests))


@pytest.mark.parametrize("per_second", [1, 5, 40])
def test_within_no_minute_are_there_more(per_second: int) -> None:
    """Each request that fails wants two retries; time goes on in tenths of a second."""
    budget = RetryBudget()
    retries: list[float] = []

    for tenth in range(3000):
        now = tenth / 10
        for _ in range(per_second // 10 if per_second >= 10 else tenth % (10 // per_second) == 0):
            budget.earn(now)
            retries += [now for _ in range(2) if budget.spend(now)]

    for start in range(0, 240, 10):
        within = sum(start <= at < start + 60 for at in retries)
        assert within <= max(FLOOR, SHARE * per_second * 60)


@pytest.mark.parametrize("pause", [60, 61, 600, 86_400])
def test_a_minute_later_all_is_forgotten(pause: int) -> None:
    budget = RetryBudget()
    while budget.spend(5.0):
        pass

    assert budget.count(5.0 + pause) == (0, 0)
    assert budget.spend(5.0 + pause)


def test_a_request_that_was_begun_before_the_newest_slice_turns_nothing_back() -> None:
    budget = RetryBudget()
    while budget.spend(35.0):
        pass

    budget.earn(9.0)

    assert not budget.spend(35.0)
