"""The places of queues that several workers share."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

from app.rate_limits.shared_counts import CountedPlaces, SharedCounts
from app.settings import SharedSettings
from app.transport.provider_queue import LOOK_AGAIN, ProviderQueue


def queues(folder: Path, maximum: int, workers: int = 2) -> list[ProviderQueue]:
    """Queues of several workers of one host, as far as one process can have them: each with a count of its own."""
    counts = [SharedCounts(folder, SharedSettings()) for _ in range(workers)]
    places = [CountedPlaces(lambda each=each: each, "provider up") for each in counts]  # type: ignore[misc]
    return [ProviderQueue(maximum, maximum // workers, each) for each in places]


def test_one_worker_may_use_all_places_while_the_other_is_idle(tmp_path: Path) -> None:
    busy, _ = queues(tmp_path, 7)

    tickets = [busy.enter("") for _ in range(9)]

    assert sum(ticket.given for ticket in tickets) == 7


def test_a_place_that_another_worker_gives_back_is_found(tmp_path: Path) -> None:
    one, other = queues(tmp_path, 1)
    running, waiting = one.enter(""), other.enter("")
    before = waiting.given

    one.leave(running)

    assert not before
    assert waiting.wait(5)
    assert (one.given, other.given) == (0, 1)


def test_a_worker_that_has_more_than_its_share_leaves_the_next_place_to_the_others(tmp_path: Path) -> None:
    greedy, late = queues(tmp_path, 4)
    tickets = [greedy.enter("") for _ in range(1000)]
    waiting = [late.enter("") for _ in range(2)]

    deadline = time.monotonic() + 20
    while not all(ticket.given for ticket in waiting) and time.monotonic() < deadline:
        greedy.leave(next(ticket for ticket in tickets if ticket.given and not ticket.left))
        time.sleep(LOOK_AGAIN / 2)

    assert all(ticket.given for ticket in waiting)


def test_with_fewer_places_than_workers_no_crowd_at_one_worker_keeps_them(tmp_path: Path) -> None:
    crowded, other = queues(tmp_path, 1)
    crowd = [crowded.enter("ana") for _ in range(500)]
    waiting = other.enter("bob")

    for _ in range(100):
        if waiting.wait(LOOK_AGAIN / 2):
            break
        running = next((ticket for ticket in crowd if ticket.given and not ticket.left), None)
        if running is not None:
            crowded.leave(running)

    assert waiting.given


def test_never_are_more_given_than_may_be_by_all_workers_together(tmp_path: Path) -> None:
    all_queues = queues(tmp_path, 5, workers=3)
    under_way, maximum, lock = 0, 0, threading.Lock()

    def work(queue: ProviderQueue, seed: int) -> None:
        nonlocal under_way, maximum
        dice = random.Random(seed)
        for _ in range(15):
            ticket = queue.enter(f"tenant {seed % 3}")
            assert ticket.wait(30)
            with lock:
                under_way += 1
                maximum = max(maximum, under_way)
            time.sleep(dice.random() / 500)
            with lock:
                under_way -= 1
            queue.leave(ticket)

    threads = [threading.Thread(target=work, args=(all_queues[seed % 3], seed)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert maximum == 5
    assert [(queue.given, queue.waiting) for queue in all_queues] == [(0, 0)] * 3


def test_without_counts_to_share_each_worker_keeps_to_its_share(tmp_path: Path) -> None:
    broken = tmp_path / "no-folder"
    broken.write_text("")
    one, other = queues(broken, 4)

    given = [sum(ticket.given for ticket in [queue.enter("") for _ in range(9)]) for queue in (one, other)]

    assert given == [2, 2]


def test_a_queue_keeps_to_its_share_where_limits_fail_closed(tmp_path: Path) -> None:
    counts = SharedCounts(tmp_path, SharedSettings(redis="unix:///nowhere/redis.sock", fail_closed=True))
    queue = ProviderQueue(6, 3, CountedPlaces(lambda: counts, "provider up"))

    given = sum(ticket.given for ticket in [queue.enter("") for _ in range(9)])

    assert given == 3
