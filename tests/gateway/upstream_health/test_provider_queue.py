"""The queue: so many at a time, and tenants in turns."""

from __future__ import annotations

import random

from app.transport.provider_queue import ProviderQueue


def test_never_are_more_given_than_may_be() -> None:
    queue, dice = ProviderQueue(50), random.Random(1)
    tickets = [queue.enter(f"tenant {number % 7}") for number in range(1500)]
    maximum = queue.given

    while tickets:
        queue.leave(tickets.pop(dice.randrange(len(tickets))))
        maximum = max(maximum, queue.given)

    assert maximum == 50
    assert (queue.given, queue.waiting) == (0, 0)


def test_tenants_take_turns_however_many_requests_one_of_them_sends() -> None:
    queue = ProviderQueue(1)
    running = queue.enter("greedy")
    waiting = [queue.enter(tenant) for tenant in (*["greedy"] * 100, "anna", "bert", "anna")]
    order = []

    for _ in range(6):
        queue.leave(running)
        (running,) = (ticket for ticket in waiting if ticket.given)
        waiting.remove(running)
        order.append(running.tenant)

    assert order == ["greedy", "anna", "bert", "greedy", "anna", "greedy"]


def test_a_place_is_given_back_once() -> None:
    queue = ProviderQueue(1)
    first, second, third = (queue.enter("") for _ in range(3))

    for _ in range(3):
        queue.leave(first)

    assert (second.given, third.given, queue.given) == (True, False, 1)


def test_who_leaves_the_queue_takes_no_place() -> None:
    queue = ProviderQueue(1)
    running, gone, waiting = (queue.enter("") for _ in range(3))

    queue.leave(gone)
    queue.leave(running)

    assert (gone.given, waiting.given, queue.given) == (False, True, 1)


def test_a_wider_lane_calls_those_who_wait() -> None:
    queue = ProviderQueue(1)
    tickets = [queue.enter("") for _ in range(5)]

    queue.resize(3)

    assert [ticket.given for ticket in tickets] == [True, True, True, False, False]
