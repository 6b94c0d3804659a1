"""Polls for changes, once for all open pages."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import gevent
from flask import Response, request
from gevent.queue import Empty, Queue
from msgspec import Struct

from app.accounts.queries import list_new
from app.accounts.record import RequestRecord
from app.blueprints.operations.rights import own_rows, while_allowed
from app.blueprints.turnstile import Turnstile, until_client_leaves
from app.dashboard.rendering import PAGE_HEADERS
from app.dashboard.visitors import find_visitor
from app.errors import DragomanError
from app.fairness import Budget, give_way
from app.runtime import Runtime

T = TypeVar("T")

log = logging.getLogger("dragoman.dashboard")

# Minimum seconds between two polls, and polls between two looks at running requests.
PERIOD = 0.5
RUNNING_EVERY = 2
# The share of a worker's time that may go to its pages; polls that find much to show come less often. And what is
# reckoned for work that waits, so that it cannot be measured: seconds for a poll, for each running request that it
# finds, and for sending to one page.
MAX_SHARE = 0.003
POLL, FOUND, SEND = 0.0005, 0.00002, 0.0001
# Maximum new rows sent per poll; nobody can read more.
MAX_NEW = 20
# Maximum pages that one worker updates, and maximum queue of a slow one.
MAX_PAGES = 20
MAX_WAITING = 20
# Seconds after which a page must reconnect and show its cookie again; and seconds between keep-alives.
LONGEST = 600.0
PING = 15.0


class Seen(Struct, frozen=True):
    """The result of one poll: new rows, oldest first, and the running requests if they were polled. `rendered` and
    `encoded` cache the rendering for other pages that show the same. `newest` is the number of the newest row.
    `running` are the requests of `workers` workers, all of them if `complete`."""

    rows: list[dict[str, Any]]
    running: list[RequestRecord] | None
    rendered: dict[Any, list[str]]
    encoded: dict[tuple[str, str], bytes]
    newest: int = 0
    workers: int = 0
    complete: bool = False


class Follower(Struct, Generic[T], eq=False):
    """A connection that is kept up to date. `prepare` is called once for each poll, in the greenlet that all share, and
    `send` in that of the connection; what it returns are whole events."""

    prepare: Callable[[Seen], T]
    send: Callable[[T], bytes]
    queue: Queue[T]


class Live:
    """The shared polling of one worker."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._budget = Budget(MAX_SHARE)
        self._followers: set[Follower[Any]] = set()
        refusal = "too many dashboard pages are receiving live updates; close some of them"
        self._turnstile = Turnstile(MAX_PAGES, refusal, MAX_PAGES // 2)
        self._greenlet: gevent.Greenlet | None = None
        self._last: int | None = None
        self._faults = 0

    def show(self, render: Callable[[Seen], Iterable[str]], tenant: str) -> Response:
        """Server-sent events for a page of `tenant`. `render` gives the HTML of what the page shows in parts, each of
        which is rendered as it is asked for. Raises TooMany."""
        # Behind a proxy with a path prefix, links in events need the prefix too: only pages get it when they are sent.
        root = request.script_root

        def prepare(seen: Seen) -> bytes:
            return _encode(seen, "".join(self._budget.run(render(seen))), root)

        return self._open(Follower(prepare, bytes, Queue(MAX_WAITING)), tenant, find_visitor)

    def stream(self, render: Callable[[Seen], bytes], tenant: str) -> Response:
        """Server-sent events for a program of `tenant`. `render` gives whole events; it is called at once, with nothing
        new, and after polls, and may wait. Raises TooMany."""
        queue: Queue[Seen] = Queue(MAX_WAITING)
        queue.put_nowait(Seen([], None, {}, {}))
        return self._open(Follower(lambda seen: seen, render, queue), tenant, own_rows)

    def _open(self, follower: Follower[Any], tenant: str, find_rights: Callable[[], object]) -> Response:
        parts = while_allowed(find_rights, self._follow(follower))
        return send_events(self._turnstile.hold(until_client_leaves(parts), tenant))

    def _follow(self, follower: Follower[Any]) -> Iterator[bytes]:
        self._followers.add(follower)
        if self._greenlet is None or self._greenlet.dead:
            self._last = None
            self._greenlet = gevent.spawn(self._run)

        def look() -> bytes:
            try:
                return follower.send(follower.queue.get(timeout=1.0))
            except Empty:
                return b""

        try:
            yield from watch(self._runtime, look, pause=0.0)
        finally:
            self._followers.discard(follower)

    def _run(self) -> None:
        number = 0
        while self._followers and not self._runtime.draining:
            try:
                self._update(self._look(with_running=number % RUNNING_EVERY == 0))
                self._faults = 0
            except DragomanError:
                pass  # the accounts are unreadable now; the pages say so when they are loaded
            except Exception as fault:
                self._faults += 1
                if self._faults == 1:
                    log.error("live updates failed", exc_info=fault)
            number += 1
            gevent.sleep(self._pause())

    def _pause(self) -> float:
        """Seconds until the next poll."""
        return max(PERIOD, self._budget.pause())

    def _update(self, seen: Seen) -> None:
        """Prepares for one follower after the other what it is sent, with requests in between."""
        if not seen.rows and seen.running is None:
            return
        for follower in list(self._followers):
            if not follower.queue.full():  # else it reads too slowly, and misses some events
                follower.queue.put_nowait(follower.prepare(seen))
                self._budget.spend(SEND)
                give_way()

    def _look(self, *, with_running: bool) -> Seen:
        self._budget.spend(POLL)
        rows: list[dict[str, Any]] = []
        accounts = self._runtime.accounts
        if accounts is not None:
            last = self._last
            rows, self._last = accounts.read(lambda connection: list_new(connection, last, MAX_NEW), 2.0)
        newest = self._last or 0
        if not with_running:
            return Seen(rows, None, {}, {}, newest)
        running = self._runtime.workers.look_running()
        self._budget.spend(FOUND * len(running.records))
        return Seen(rows, running.records, {}, {}, newest, running.workers, running.complete)


def watch(owner: Runtime, look: Callable[[], bytes], *, pause: float = PERIOD) -> Iterator[bytes]:
    """Server-sent events: the results of `look`, called every `pause` seconds, with keep-alives in between."""
    end, pinged = time.monotonic() + LONGEST, time.monotonic()
    yield b"retry: 2000\n\n"
    while time.monotonic() < end and not owner.draining:
        found = look()
        if found or time.monotonic() - pinged >= PING:
            pinged = time.monotonic()
            yield found or b": still here\n\n"
        gevent.sleep(pause)


def send_events(parts: Iterator[bytes]) -> Response:
    headers = {**PAGE_HEADERS, "x-accel-buffering": "no"}
    return Response(parts, headers=headers, content_type="text/event-stream; charset=utf-8")


def _encode(seen: Seen, html: str, root: str) -> bytes:
    if html and (root, html) not in seen.encoded:
        seen.encoded[root, html] = encode_html(html.replace('href="/_/', f'href="{root}/_/') if root else html)
    return seen.encoded.get((root, html), b"")


def encode_html(html: str) -> bytes:
    lines = html.replace("\r", "").split("\n")
    return "".join(f"data: {line}\n" for line in lines).encode() + b"\n"
