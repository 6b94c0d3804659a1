"""Ten pages that are open while a gateway is busy: what they take from its requests."""

from __future__ import annotations

import time
from types import SimpleNamespace

import gevent
import greenlet
import pytest
from werkzeug.test import Client

from app.application import Application
from app.dashboard.live import MAX_NEW, Live
from app.gateway.messages import new_id
from tests.dashboard.conftest import MakeApp, enter
from tests.dashboard.test_dashboard import record

PAGES, RUNNING, ROWS_A_ROUND = 10, 100, 30
SECONDS = 1.0
WINDOWS = 5
MAX_SHARE = 0.02
# Seconds of the processor that a request may wait for the pages' work at once.
LONGEST_STEP = 0.0012


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
            accounts.accounts.take(record(id=new_id(), received=time.time()))
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
    followers = len(live._pages)
    watched = min(work(app) for _ in range(WINDOWS))
    gevent.killall(readers)

    assert followers == PAGES
    assert watched - alone <= MAX_SHARE, f"{alone:.4f} s of each second without pages, {watched:.4f} s with them"


def test_requests_come_in_between_each_row_and_page(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.turns.time", SimpleNamespace(sleep=gevent.sleep))
    app = make_app(None, *(record(number, received=time.time() - 60) for number in range(200)))
    client = enter(app)
    paths = ("/_/live/overview", "/_/live/requests")
    readers = [gevent.spawn(read, client, paths[number % 2]) for number in range(PAGES)]
    gevent.sleep(1.5)
    work(app)

    longest = min(time_longest_step(app) for _ in range(3))
    gevent.killall(readers)

    assert longest <= LONGEST_STEP, f"{longest * 1000:.2f} ms"


def test_a_live_list_shows_requests_in_the_order_of_their_ends(make_app: MakeApp) -> None:
    now = time.time()
    app = make_app(None, *(record(number, received=now - 30) for number in range(MAX_NEW)))
    accounts = app.runtime.accounts
    assert accounts is not None
    live = Live(app.runtime)
    live._look(with_running=False)

    accounts.accounts.take(record(id=new_id(), received=now - 600, model="began-long-ago"))
    accounts.flush()

    assert [row["model"] for row in live._look(with_running=False).rows] == ["began-long-ago"]
    assert live._look(with_running=False).rows == []


def time_longest_step(app: Application) -> float:
    """The longest time of the processor that one greenlet other than the caller's took before others could run, while
    each poll finds as many new rows as it may."""
    accounts = app.runtime.accounts
    assert accounts is not None
    for _ in range(ROWS_A_ROUND):
        accounts.accounts.take(record(id=new_id(), received=time.time()))
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
