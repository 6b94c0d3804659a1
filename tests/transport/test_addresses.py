"""Specifies how long addresses are remembered."""

from __future__ import annotations

import socket

import pytest

from app.transport import Transport, TransportSettings
from app.transport.connections import addresses
from app.transport.connections.addresses import Address, AddressBook
from app.transport.network.lookup import LookUp
from tests.support.fake_upstream import FakeUpstream, json_reply
from tests.transport.calls import fetch

HERE: Address = (socket.AF_INET, ("127.0.0.1", 80))
THERE: Address = (socket.AF_INET, ("127.0.0.2", 80))


@pytest.fixture
def look_ups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were looked up."""
    names: list[str] = []

    def look_up(host: str, port: int, type: int) -> list[tuple[object, ...]]:  # noqa: A002 as the real one has it
        names.append(host)
        return [(family, type, 6, "", address) for family, address in (HERE, THERE)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return names


def test_a_name_is_looked_up_once_in_a_lifetime(look_ups: list[str]) -> None:
    clock = [100.0]
    book = AddressBook(60.0, now=lambda: clock[0])

    found = [book.find("host", 80) for clock[0] in (100.0, 159.0, 161.0)]

    assert found == [[HERE, THERE]] * 3
    assert look_ups == ["host", "host"]


def test_the_address_that_worked_is_tried_first(look_ups: list[str]) -> None:
    book = AddressBook(60.0)
    book.find("host", 80)

    book.prefer("host", 80, THERE)

    assert book.find("host", 80) == [THERE, HERE]


def test_a_forgotten_name_is_looked_up_again(look_ups: list[str]) -> None:
    book = AddressBook(60.0)
    book.find("host", 80)

    book.forget("host", 80)
    book.find("host", 80)

    assert look_ups == ["host", "host"]


def test_a_dead_first_address_costs_one_attempt_only(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = Transport(TransportSettings())
    with FakeUpstream(json_reply(1)) as upstream:
        dead, alive = ("127.0.0.2", upstream.port), ("127.0.0.1", upstream.port)
        answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in (dead, alive)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: answers)

        body = fetch(transport, f"http://upstream.test:{upstream.port}/")

    assert body == b"1"
    transport.close()


def test_names_whose_look_up_came_too_late_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_MAX_NAMES", 20)
    book, started = AddressBook(60), []

    def start(_host: str, _port: int) -> LookUp:
        started.append(LookUp())
        return started[-1]

    monkeypatch.setattr(book._resolver, "start", start)
    for number in range(100):
        with pytest.raises(TimeoutError):
            book.find(f"dead{number}.test", 443, limit=0)
        started[-1].done.set()

    assert len(book._under_way) <= 21
