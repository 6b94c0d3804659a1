"""Specifies how long waits under gevent last; it uses gevent's sockets in an unpatched process."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import gevent.socket
import pytest

from app.transport.call import Origin
from app.transport.connections import waiting
from app.transport.connections.connection import Connection
from app.transport.connections.waiting import Alarm, Readable

Pair = tuple[Connection, socket.socket]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def alarm(monkeypatch: pytest.MonkeyPatch) -> Alarm:
    """An alarm that times every wait with its ticks, and ticks often."""
    monkeypatch.setattr(waiting, "_TICK", 0.01)
    monkeypatch.setattr(waiting, "_EXACT_BELOW", 0.0)
    return Alarm()


@pytest.fixture
def pair(alarm: Alarm) -> Iterator[Pair]:
    ours, theirs = gevent.socket.socketpair()
    connection = Connection(Origin("http", "host", 80), ours, alarm)
    yield connection, theirs
    connection.close()
    theirs.close()


def test_bytes_end_a_wait(pair: Pair) -> None:
    connection, peer = pair
    gevent.spawn_later(0.05, peer.send, b"x")

    assert connection.read(5.0) == b"x"


def test_patience_ends_a_wait(pair: Pair) -> None:
    connection, _ = pair
    began_at = time.monotonic()

    with pytest.raises(TimeoutError):
        connection.read(0.1)

    assert 0.1 <= time.monotonic() - began_at < 0.3


def test_a_short_wait_is_exact() -> None:
    ours, theirs = gevent.socket.socketpair()
    connection = Connection(Origin("http", "host", 80), ours, Alarm())
    began_at = time.monotonic()

    with pytest.raises(TimeoutError):
        connection.read(0.02)

    assert 0.015 <= time.monotonic() - began_at < 0.09
    connection.close()
    theirs.close()


def test_no_wait_at_all_tells_at_once(pair: Pair) -> None:
    connection, peer = pair

    with pytest.raises(BlockingIOError):
        connection.read(0.0)
    peer.send(b"x")

    assert connection.read(0.0) == b"x"


def test_a_wait_that_has_ended_is_not_disturbed_later(pair: Pair) -> None:
    connection, peer = pair
    peer.send(b"x")
    connection.read(0.05)

    gevent.sleep(0.15)

    peer.send(b"y")
    assert connection.read(0.05) == b"y"


def test_each_wait_has_its_own_patience(alarm: Alarm) -> None:
    pairs = [gevent.socket.socketpair() for _ in range(3)]
    connections = [Connection(Origin("http", "host", 80), ours, alarm) for ours, _ in pairs]

    def wait(connection: Connection, seconds: float) -> float:
        began_at = time.monotonic()
        with pytest.raises(TimeoutError):
            connection.read(seconds)
        return time.monotonic() - began_at

    waits = [gevent.spawn(wait, *given) for given in zip(connections, (0.05, 0.15, 0.1), strict=True)]
    gevent.joinall(waits, raise_error=True)

    lasted = [round(wait.value, 1) for wait in waits]
    assert lasted == [pytest.approx(0.05, abs=0.05), pytest.approx(0.15, abs=0.06), pytest.approx(0.1, abs=0.05)]
    for connection, (_, theirs) in zip(connections, pairs, strict=True):
        connection.close()
        theirs.close()


def test_a_killed_wait_is_forgotten(pair: Pair) -> None:
    connection, peer = pair
    waiting = gevent.spawn(connection.read, 0.1)
    gevent.sleep(0.02)

    waiting.kill()
    gevent.sleep(0.15)

    assert isinstance(waiting.value, gevent.GreenletExit)
    peer.send(b"x")
    assert connection.read(0.1) == b"x"


def test_closing_twice_does_nothing_more(pair: Pair) -> None:
    connection, peer = pair

    connection.close()
    connection.close()

    assert peer.recv(1) == b""


def test_a_plain_socket_waits_by_itself(alarm: Alarm) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert alarm.watch(ours) is None


def test_all_of_this_room_holds_in_a_patched_process() -> None:
    files = ["test_exchange.py", "test_kept_connections.py", "test_tls.py", "test_proxies.py", "test_session.py"]
    program = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import sys, pytest\n"
        "sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', *sys.argv[1:]]))"
    )
    paths = [f"tests/transport/{name}" for name in files]

    finished = subprocess.run(
        [sys.executable, "-c", program, *paths], cwd=ROOT, capture_output=True, text=True, timeout=120
    )

    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-1000:]


@pytest.fixture
def watched() -> Iterator[tuple[socket.socket, socket.socket, Readable]]:
    ours, theirs = gevent.socket.socketpair()
    readable = Readable(ours.fileno())
    yield ours, theirs, readable
    readable.close()
    ours.close()
    theirs.close()


def test_what_nobody_waits_for_wakes_the_process_once(
    watched: tuple[socket.socket, socket.socket, Readable], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, peer, readable = watched
    wakes = []
    wake = Readable._wake
    monkeypatch.setattr(Readable, "_wake", lambda self: (wakes.append(1), wake(self)))
    gevent.spawn_later(0.01, peer.send, b"x")

    readable.wait()
    for _ in range(5):  # the byte stays unread
        gevent.sleep(0.01)

    assert len(wakes) == 2  # the one that ended the wait, and the one that stopped the watcher


def test_a_wait_after_an_event_that_nobody_waited_for_sees_what_is_there(
    watched: tuple[socket.socket, socket.socket, Readable],
) -> None:
    ours, peer, readable = watched
    peer.send(b"x")
    readable.wait()
    gevent.sleep(0.01)

    readable.wait()

    assert ours.recv(9) == b"x"


def test_a_wait_that_was_broken_off_leaves_nothing_that_is_woken(
    watched: tuple[socket.socket, socket.socket, Readable],
) -> None:
    ours, peer, readable = watched
    waiting_one = gevent.spawn(readable.wait)
    gevent.sleep(0.01)
    waiting_one.kill()
    peer.send(b"x")
    gevent.sleep(0.01)

    readable.wait()

    assert waiting_one.dead
    assert ours.recv(9) == b"x"
