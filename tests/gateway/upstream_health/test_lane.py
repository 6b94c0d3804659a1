"""The lane: so many at a time, and tenants in turns."""

from __future__ import annotations

import random

from app.gateway.upstream_health.lane import Lane


def test_never_are_more_given_than_may_be() -> None:
    lane, dice = Lane(50), random.Random(1)
    tickets = [lane.enter(f"tenant {number % 7}") for number in range(1500)]
    most = lane.given

    while tickets:
        lane.leave(tickets.pop(dice.randrange(len(tickets))))
        most = max(most, lane.given)

    assert most == 50
    assert (lane.given, lane.waiting) == (0, 0)


def test_tenants_take_turns_however_many_requests_one_of_them_sends() -> None:
    lane = Lane(1)
    running = lane.enter("greedy")
    waiting = [lane.enter("greedy") for _ in range(100)] + [lane.enter("anna"), lane.enter("bert"), lane.enter("anna")]
    order = []

    for _ in range(6):
        lane.leave(running)
        (running,) = (ticket for ticket in waiting if ticket.given)
        waiting.remove(running)
        order.append(running.tenant)

    assert order == ["greedy", "anna", "bert", "greedy", "anna", "greedy"]


def test_a_place_is_given_back_once() -> None:
    lane = Lane(1)
    first, second, third = (lane.enter("") for _ in range(3))

    for _ in range(3):
        lane.leave(first)

    assert (second.given, third.given, lane.given) == (True, False, 1)


def test_who_leaves_the_queue_takes_no_place() -> None:
    lane = Lane(1)
    running, gone, waiting = (lane.enter("") for _ in range(3))

    lane.leave(gone)
    lane.leave(running)

    assert (gone.given, waiting.given, lane.given) == (False, True, 1)


def test_a_wider_lane_calls_those_who_wait() -> None:
    lane = Lane(1)
    tickets = [lane.enter("") for _ in range(5)]

    lane.resize(3)

    assert [ticket.given for ticket in tickets] == [True, True, True, False, False]
