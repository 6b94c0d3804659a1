"""Ten pages that are open while a gateway is busy: what they take from its requests."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType, SimpleNamespace
from typing import Any

import gevent
import greenlet
import pytest
from werkzeug.test import Client

from app.application import Application
from app.dashboard.live import FOUND, MAX_NEW, MAX_SHARE, PERIOD, POLL, SEND, Live
from app.dashboard.pages.overview import MAX_RUNNING
from app.fairness import STEP, Budget
from app.gateway.messages import new_id
from app.gateway.recording.workers import MAX_RUNNING as MAX_PUBLISHED
from tests.dashboard.conftest import MakeApp, enter
from tests.dashboard.records import record

PAGES, RUNNING, ROWS_A_ROUND = 10, 100, 30
SECONDS = 1.0
WINDOWS = 5
A_FIFTIETH = 0.02
# Seconds of the processor that a request may wait for the pages' work at once.
LONGEST_STEP = 0.0012
# Calls of functions in a round that updates ten pages with as many rows and running requests as they show: about
# four milliseconds, after which the share demands a pause of more than a second.
MAX_CALLS = 30_000


def read(client: Client, path: str) -> None:
    for _ in client.get(path).response:
        pass


def work(app: Application) -> float:
    """What this process spends, of a second, while rows come in: seconds of the processor."""
    accounts = app.runtime.accounts
    assert accounts is not None
    begun, end = time.process_time(), time.monotonic() + SECONDS
    while time.monotonic() < end:
        for _ in range(ROWS_A_ROUND):
            accounts.accounts.take([record(id=new_id(), received=time.time())])
        accounts.flush()
        gevent.sleep(0.5)
    return (time.process_time() - begun) / SECONDS


def test_ten_open_pages_take_less_than_a_fiftieth_of_a_worker(make_app: MakeApp) -> None:
    app = make_app(None, *(record(number, received=time.time() - 60) for number in range(200)))
    for number in range(RUNNING):
        running = app.runtime.recorder.begin(new_id(), "openai_chat")
        running.model, running.agent = f"m{number % 3}", "claude-cli/2.1"
    client = enter(app)
    work(app)
    alone = min(work(app) for _ in range(WINDOWS))

    paths = ("/_/live/overview", "/_/live/requests")
    readers = [gevent.spawn(read, client, paths[number % 2]) for number in range(PAGES)]
    gevent.sleep(1.5)
    live = app.extensions["dragoman.live"]
    followers = len(live._followers)
    watched = min(work(app) for _ in range(WINDOWS))
    gevent.killall(readers)

    assert followers == PAGES
    assert watched - alone <= A_FIFTIETH, f"{alone:.4f} s of each second without pages, {watched:.4f} s with them"


def test_requests_come_in_between_each_row_and_page(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.fairness.time", SimpleNamespace(sleep=gevent.sleep))
    app = make_app(None, *(record(number, received=time.time() - 60) for number in range(200)))
    client = enter(app)
    paths = ("/_/live/overview", "/_/live/requests")
    readers = [gevent.spawn(read, client, paths[number % 2]) for number in range(PAGES)]
    gevent.sleep(1.5)
    work(app)

    longest = min(time_longest_step(app) for _ in range(3))
    gevent.killall(readers)

    assert longest <= LONGEST_STEP, f"{longest * 1000:.2f} ms"


class Work:
    """Work on a clock of its own, on which each part of a page takes PART seconds and nothing else takes any."""

    PART = 0.00008

    def __init__(self) -> None:
        self.now = 0.0
        self.parts = Counter[str]()
        self.unbroken = self.longest = 0.0

    def render(self, template: str, macro: str, *arguments: Any) -> str:
        self.now += self.PART
        self.unbroken += self.PART
        self.longest = max(self.longest, self.unbroken)
        self.parts[macro] += 1
        return f"{macro} {self.parts[macro]}"

    def give_way(self) -> None:
        self.unbroken = 0.0


@pytest.fixture
def work_of_pages(monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    monkeypatch.setattr("app.dashboard.pages.live.render_part", work.render)
    monkeypatch.setattr("app.fairness.give_way", work.give_way)
    monkeypatch.setattr("app.dashboard.live.give_way", work.give_way)
    return work


def open_pages(app: Application, work: Work, count: int) -> tuple[Live, list[Any]]:
    """Pages of an admin, open as long as their answers are kept, and what the test polls for them."""
    live = app.extensions["dragoman.live"] = Live(app.runtime)
    live._budget = Budget(MAX_SHARE, lambda: work.now)
    live._greenlet = SimpleNamespace(dead=False)  # type: ignore[assignment]  # the test polls itself
    client = enter(app)
    answers = [client.get(("/_/live/overview", "/_/live/requests")[number % 2]) for number in range(count)]
    for answer in answers:
        assert next(iter(answer.response))
    live._look(with_running=False)
    live._budget.pause()
    return live, answers


@pytest.mark.parametrize(("pages", "running"), [(1, 0), (PAGES, 0), (PAGES, RUNNING), (10, 1000)])
def test_pages_take_their_share_and_no_more_in_steps_that_keep_no_request_waiting(
    make_app: MakeApp, work_of_pages: Work, pages: int, running: int
) -> None:
    app, work = make_app(None), work_of_pages
    for _ in range(running):
        app.runtime.recorder.begin(new_id(), "openai_chat")
    live, answers = open_pages(app, work, pages)

    poll(app, live)
    pause = live._pause()

    # Each part is rendered once for all pages, and each poll renders a bounded number of them.
    assert work.parts == {"request_row": MAX_NEW, "running_rows": min(max(running, 1), MAX_RUNNING)}
    spent = work.parts.total() * work.PART + POLL + min(running, MAX_PUBLISHED) * FOUND + pages * SEND
    assert spent / pause <= MAX_SHARE * 1.000001
    assert work.longest <= STEP + work.PART
    assert [follower.queue.qsize() for follower in live._followers] == [1] * len(answers)

    live._update(live._look(with_running=False))
    assert live._pause() == PERIOD, "nothing has happened"


def test_what_pages_do_in_a_poll_is_bounded_in_calls(make_app: MakeApp) -> None:
    app = make_app(None)
    for _ in range(RUNNING):
        app.runtime.recorder.begin(new_id(), "openai_chat")
    live, answers = open_pages(app, Work(), PAGES)
    poll(app, live)  # the templates are compiled once

    assert count_calls(lambda: poll(app, live)) <= MAX_CALLS
    assert [follower.queue.qsize() for follower in live._followers] == [2] * len(answers)


def poll(app: Application, live: Live) -> None:
    """One round of updates, which finds as many new rows as it shows."""
    accounts = app.runtime.accounts
    assert accounts is not None
    for _ in range(MAX_NEW + 5):
        accounts.accounts.take([record(id=new_id(), received=time.time())])
    accounts.flush()
    live._update(live._look(with_running=True))


def count_calls(work: Callable[[], object]) -> int:
    """The calls that some work makes, of Python's functions and of C's."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def test_a_live_list_shows_requests_in_the_order_of_their_ends(make_app: MakeApp) -> None:
    now = time.time()
    app = make_app(None, *(record(number, received=now - 30) for number in range(MAX_NEW)))
    accounts = app.runtime.accounts
    assert accounts is not None
    live = Live(app.runtime)
    live._look(with_running=False)

    accounts.accounts.take([record(id=new_id(), received=now - 600, model="began-long-ago")])
    accounts.flush()

    assert [row["model"] for row in live._look(with_running=False).rows] == ["began-long-ago"]
    assert live._look(with_running=False).rows == []


def time_longest_step(app: Application) -> float:
    """The longest time of the processor that one greenlet other than the caller's took before others could run, while
    each poll finds as many new rows as it may."""
    accounts = app.runtime.accounts
    assert accounts is not None
    for _ in range(ROWS_A_ROUND):
        accounts.accounts.take([record(id=new_id(), received=time.time())])
    accounts.flush()
    me, begun, longest = greenlet.getcurrent(), time.thread_time(), 0.0

    def see(event: str, ends: tuple[greenlet.greenlet, greenlet.greenlet]) -> None:
        nonlocal begun, longest
        now = time.thread_time()
        if ends[0] not in (me, gevent.get_hub()):
            longest = max(longest, now - begun)
        begun = now

    before = greenlet.settrace(see)
    try:
        gevent.sleep(1.2)
    finally:
        greenlet.settrace(before)
    return longest
