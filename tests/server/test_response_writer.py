"""Specifies how a response is cut into writes, and when it is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import gevent.socket
import pytest

from app.server.connections.client_connection import ClientConnection
from app.server.connections.response_writer import ResponseWriter
from app.transport.connections.outbox import MAX_BYTES

HEAD = b"HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: today\r\nConnection: keep-alive\r\n"


class Client:
    def __init__(self) -> None:
        self.writes: list[bytes] = []


def make_writer(client: Client, *headers: tuple[str, str], status: str = "200 OK") -> ResponseWriter:
    writer = ResponseWriter(client.writes.append, "today", keep_alive=True)
    writer.start(status, list(headers))
    return writer


def test_a_whole_response_is_one_write() -> None:
    client = Client()

    make_writer(client, ("content-length", "6")).write_all([b"one", b"two"])

    assert client.writes == [HEAD + b"content-length: 6\r\n\r\nonetwo"]


def test_a_whole_response_without_a_length_is_one_write() -> None:
    client = Client()

    make_writer(client).write_all([b"one", b"two"])

    assert client.writes == [HEAD + b"Transfer-Encoding: chunked\r\n\r\n6\r\nonetwo\r\n0\r\n\r\n"]


def test_each_piece_of_a_stream_is_a_write_and_the_head_goes_with_the_first() -> None:
    client = Client()

    make_writer(client).write_all(iter([b"one", b"", b"x" * 26]))

    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    assert client.writes == [head + b"3\r\none\r\n", b"1A\r\n" + b"x" * 26 + b"\r\n", b"0\r\n\r\n"]


def test_nothing_that_was_written_is_kept_while_the_next_piece_is_waited_for() -> None:
    kept = []

    def pieces() -> Iterator[bytes]:
        for piece in (b"one", b"two", b"three"):
            yield piece
            writer = sys._getframe(1).f_locals
            kept.extend(
                value for value in (*writer.values(), writer["self"]._head) if isinstance(value, bytes) and value
            )

    make_writer(Client()).write_all(pieces())

    assert kept == []


class PartsThatCame:
    came_whole = True

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"one", b"", b"two"])


def test_a_stream_that_came_whole_is_one_write() -> None:
    client = Client()

    make_writer(client).write_all(PartsThatCame())

    assert client.writes == [HEAD + b"Transfer-Encoding: chunked\r\n\r\n6\r\nonetwo\r\n0\r\n\r\n"]


def test_an_empty_first_piece_sends_the_head() -> None:
    client = Client()

    make_writer(client).write_all(iter([b"", b"one"]))

    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    assert client.writes == [head, b"3\r\none\r\n", b"0\r\n\r\n"]


@pytest.mark.parametrize("pieces", [[], iter([])])
def test_an_empty_stream_is_a_response(pieces: Any) -> None:
    client = Client()

    make_writer(client).write_all(pieces)

    assert client.writes == [HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]


def test_a_stream_with_a_length_has_no_chunks() -> None:
    client = Client()

    make_writer(client, ("Content-Length", "6")).write_all(iter([b"one", b"two and more"]))

    assert client.writes == [HEAD + b"Content-Length: 6\r\n\r\none", b"two"]


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_status_without_a_body_sends_none(status: str) -> None:
    client = Client()

    make_writer(client, ("content-length", "3"), status=status).write_all(iter([b"one"]))

    assert client.writes == [HEAD.replace(b"200 OK", status.encode()) + b"\r\n"]


def test_headers_between_neighbours_are_not_the_applications() -> None:
    client = Client()

    make_writer(client, ("Connection", "close"), ("Transfer-Encoding", "gzip"), ("Date", "never"), ("a", "b")).write(
        b""
    )

    assert client.writes == [HEAD + b"a: b\r\nTransfer-Encoding: chunked\r\n\r\n"]


@pytest.mark.parametrize("header", [("a", "b\r\nc: d"), ("a\nb", "c"), ("a", "b\rc")])
def test_a_line_break_in_a_header_is_refused(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="line break"):
        make_writer(Client(), header)


def test_a_response_that_ends_before_its_length_is_an_error() -> None:
    writer = make_writer(Client(), ("content-length", "6"))

    with pytest.raises(ValueError, match="3 bytes before"):
        writer.write_all([b"one"])


def test_a_body_without_a_head_is_an_error() -> None:
    writer = ResponseWriter(Client().writes.append, "today", keep_alive=True)

    with pytest.raises(ValueError, match="before start_response"):
        writer.write_all([b"one"])


def test_an_error_may_replace_the_head_until_it_is_sent() -> None:
    client = Client()
    writer = make_writer(client)
    error = (ValueError, ValueError("planted"), None)

    writer.start("200 OK", [("content-length", "1")], error)
    writer.write_all([b"1"])

    assert client.writes == [HEAD + b"content-length: 1\r\n\r\n1"]
    with pytest.raises(ValueError, match="planted"):
        writer.start("500 Oops", [], error)


def test_a_head_can_be_given_once() -> None:
    writer = make_writer(Client())

    with pytest.raises(ValueError, match="twice"):
        writer.start("200 OK", [])


def test_a_client_that_is_gone_ends_the_greenlet() -> None:
    ours, theirs = gevent.socket.socketpair()
    theirs.close()
    connection = ClientConnection(SimpleNamespace(wsgi=None), ours, None)  # type: ignore[arg-type]

    with pytest.raises(gevent.GreenletExit):
        connection._transmit(b"x" * (MAX_BYTES + 1))
    ours.close()
