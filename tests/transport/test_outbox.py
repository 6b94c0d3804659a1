"""Specifies when sends leave, and what becomes of those that cannot; it uses gevent's sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import gevent
import gevent.socket
import pytest

from app.transport.connections.outbox import MAX_BYTES, MAX_SOCKETS, Outbox

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = gevent.socket.socketpair()
    ours.settimeout(5)
    theirs.settimeout(5)
    yield ours, theirs
    ours.close()
    theirs.close()


def read(sock: socket.socket) -> bytes:
    """What has arrived, without waiting."""
    try:
        return bytes(sock._sock.recv(1 << 20))  # type: ignore[attr-defined]
    except BlockingIOError:
        return b""


def read_exactly(sock: socket.socket, count: int) -> bytes:
    pieces = []
    while count > 0 and (piece := sock.recv(min(count, 1 << 16))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def fill(sock: socket.socket) -> int:
    """Fills the kernel's buffer. Returns its size."""
    count = 0
    while True:
        try:
            count += sock._sock.send(b"." * 4096)  # type: ignore[attr-defined]
        except BlockingIOError:
            return count


def test_small_sends_leave_together_once_the_greenlet_waits(pair: Pair) -> None:
    ours, theirs = pair
    outbox = Outbox()

    outbox.send(ours, b"one ")
    outbox.send(ours, b"two")
    assert read(theirs) == b""
    gevent.sleep(0)

    assert read(theirs) == b"one two"


@pytest.mark.parametrize("size", [MAX_BYTES - 1, MAX_BYTES, MAX_BYTES + 1])
def test_large_sends_leave_at_once_after_the_small_ones_before_them(pair: Pair, size: int) -> None:
    ours, theirs = pair
    outbox = Outbox()
    reading = gevent.spawn(read_exactly, theirs, size + 2)

    outbox.send(ours, b"a")
    outbox.send(ours, b"b" * size)
    outbox.send(ours, b"c")
    reading.join(5)

    assert reading.value == b"a" + b"b" * size + b"c"


def test_sends_to_many_sockets_do_not_wait_for_the_end_of_the_turn() -> None:
    pairs = [gevent.socket.socketpair() for _ in range(MAX_SOCKETS)]
    outbox = Outbox()

    for ours, _ in pairs:
        outbox.send(ours, b"x")

    assert [read(theirs) for _, theirs in pairs] == [b"x"] * MAX_SOCKETS
    for sock in (sock for pair in pairs for sock in pair):
        sock.close()


def test_what_does_not_fit_is_sent_later_and_the_next_send_waits_for_it(pair: Pair) -> None:
    ours, theirs = pair
    outbox = Outbox()
    count = fill(ours)

    outbox.send(ours, b"late")
    gevent.sleep(0)
    following = gevent.spawn(outbox.send, ours, b" and later")
    gevent.sleep(0.02)
    assert not following.dead

    assert read_exactly(theirs, count + 14)[count:] == b"late and later"
    assert following.dead


def test_settling_waits_until_all_is_sent(pair: Pair) -> None:
    ours, theirs = pair
    outbox = Outbox()
    count = fill(ours)
    outbox.send(ours, b"late")
    settling = gevent.spawn(outbox.settle, ours)
    gevent.sleep(0.02)
    assert not settling.dead

    read_exactly(theirs, count)
    settling.join(5)

    assert settling.dead
    assert read_exactly(theirs, 4) == b"late"


def test_a_reader_that_never_reads_ends_its_connection_within_the_time_limit(pair: Pair) -> None:
    ours, _ = pair
    ours.settimeout(0.05)
    outbox = Outbox()
    fill(ours)
    outbox.send(ours, b"late")
    gevent.sleep(0)

    outbox.settle(ours)

    assert ours.recv(1) == b""


def test_a_peer_that_is_gone_ends_only_its_own_connection(pair: Pair) -> None:
    ours, theirs = pair
    gone, left = gevent.socket.socketpair()
    left.close()
    outbox = Outbox()

    outbox.send(gone, b"x")
    outbox.send(ours, b"y")
    gevent.sleep(0)

    assert read(theirs) == b"y"
    assert gone.recv(1) == b""
    gone.close()


def test_a_closed_socket_is_no_obstacle(pair: Pair) -> None:
    ours, theirs = pair
    closed, left = gevent.socket.socketpair()
    outbox = Outbox()

    outbox.send(closed, b"x")
    closed.close()
    outbox.send(ours, b"y")
    gevent.sleep(0)

    assert read(theirs) == b"y"
    left.close()
