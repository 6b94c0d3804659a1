"""Specifies when a client counts as gone."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest
from gevent import GreenletExit

from app.transport import ActiveRequests, ClientGone

Pair = tuple[socket.socket, socket.socket]


class Victim:
    """Stands for a request's greenlet; remembers what was thrown at it."""

    def __init__(self) -> None:
        self.thrown: list[type[BaseException]] = []

    def kill(self, exception: type[BaseException], block: bool) -> None:
        assert not block
        self.thrown.append(exception)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A client's socket and ours."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with client, ours:
        yield client, ours


def test_a_client_that_closed_ends_its_request_once(pair: Pair) -> None:
    client, ours = pair
    active, victim = ActiveRequests(), Victim()
    token = active.register(ours, victim)

    before = active.end_abandoned()
    client.close()
    after = [active.end_abandoned(), active.end_abandoned()]
    active.unregister(token)

    assert (before, after) == (0, [1, 0])
    assert victim.thrown == [ClientGone]


def test_a_client_that_stays_is_left_alone_even_when_it_sends(pair: Pair) -> None:
    client, ours = pair
    active, victim = ActiveRequests(), Victim()
    active.register(ours, victim)

    client.sendall(b"GET /next HTTP/1.1\r\n")

    assert active.end_abandoned() == 0
    assert len(active) == 1


@pytest.mark.skipif(not hasattr(select, "POLLRDHUP"), reason="only Linux tells")
def test_a_client_that_will_send_no_more_is_gone(pair: Pair) -> None:
    client, ours = pair
    active, victim = ActiveRequests(), Victim()
    active.register(ours, victim)

    client.shutdown(socket.SHUT_WR)

    assert active.end_abandoned() == 1


def test_a_request_that_has_ended_is_not_touched(pair: Pair) -> None:
    client, ours = pair
    active, victim = ActiveRequests(), Victim()
    active.unregister(active.register(ours, victim))

    client.close()

    assert (active.end_abandoned(), len(active), victim.thrown) == (0, 0, [])


def test_a_socket_closed_before_its_request_ended_does_no_harm(pair: Pair) -> None:
    _, ours = pair
    active, victim = ActiveRequests(), Victim()
    token = active.register(ours, victim)

    ours.close()

    assert active.end_abandoned() == 1
    active.unregister(token)
    assert len(active) == 0


def test_a_closed_socket_is_not_watched(pair: Pair) -> None:
    _, ours = pair
    ours.close()
    active = ActiveRequests()

    active.unregister(active.register(ours, Victim()))

    assert (len(active), active.end_abandoned()) == (0, 0)


def test_no_except_exception_swallows_it() -> None:
    assert issubclass(ClientGone, GreenletExit)
    assert not issubclass(ClientGone, Exception)
