"""Ten pages that are open while a gateway is busy: what they take from its requests."""

from __future__ import annotations

import time

import gevent
from werkzeug.test import Client

from app.application import Application
from app.gateway.messages import new_id
from tests.dashboard.conftest import MakeApp, enter
from tests.dashboard.test_dashboard import record

PAGES, RUNNING, ROWS_A_ROUND = 10, 100, 30
SECONDS = 1.0
WINDOWS = 5
MAX_SHARE = 0.02


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
    app = make_app(None, *(record(number) for number in range(200)))
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
