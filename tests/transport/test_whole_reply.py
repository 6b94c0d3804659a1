"""Specifies the short way to read a reply: it says what ReplyDecoder says, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import DragomanError
from app.transport.reply import MAX_HEAD, ReplyDecoder
from app.transport.whole_reply import WholeReply, WholeReplyReader
from tests.transport.test_reply import CASES

WHOLE = b"HTTP/1.1 200 OK\r\nDate: Mon\r\nX-Request-Id: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
LINES = [
    b"HTTP/1.1 200 OK", b"HTTP/1.1 429 Too Many", b"HTTP/1.1 204 None", b"HTTP/1.0 200 OK", b"HTTP/1.1 100 Continue",
    b"HTTP/1.1  200 OK", b"HTTP/1.1 200", b"HTTP/1.1 2000 OK", b"HTTP/2 200",
]  # fmt: skip
FIELDS = [
    b"content-length: 5", b"Content-Length:5 ", b"content-length: 4", b"content-length: +5", b"content-length: 5, 5",
    b"content-length : 5", b"transfer-encoding: chunked", b"transfer-encoding: gzip, chunked", b"connection: close",
    b"Connection: Keep-Alive", b"connection: upgrade", b"upgrade: x", b"content-encoding: gzip", b"x: \xe9", b"x: a\tb",
    b"x:\ty", b"x: \x00", b"x: a\nb: c", b"x: a\rb", b" folded", b"no colon", b"nocolon", b": x", b"x_y: 1",
    b"proxy-connection: close", b"x-request-id: a", b"x-request-id: b", b"x:", b"x: \x7f",
]  # fmt: skip
BODIES = [b"hello", b"hell", b"5\r\nhello\r\n0\r\n\r\n", b"5;a\r\nhello\r\n0\r\n\r\n", b"6\r\nhello\r\n0\r\n\r\n",
          b"5\r\nhello\r\n0\r\nA: b\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\nHTTP", b"0\r\n\r\n", b""]  # fmt: skip


def read_whole(data: bytes, max_head: int = MAX_HEAD, *before: bytes) -> WholeReply | None:
    """What is read after replies `before`."""
    reader = WholeReplyReader(max_head)
    return [reader.read(each) for each in (*before, data)][-1]


def said_by_decoder(data: bytes) -> WholeReply | None:
    """What the slow way says of a reply that is complete, and whose connection may serve another call."""
    decoder = ReplyDecoder("POST")
    try:
        body = decoder.feed(data)
    except DragomanError:
        return None
    return WholeReply(decoder.status, decoder.headers, body) if decoder.complete and decoder.reusable else None


@pytest.mark.parametrize("data", [WHOLE, CHUNKED], ids=["with its length", "in chunks"])
def test_what_came_whole_is_read(data: bytes) -> None:
    read = read_whole(data)

    assert read is not None
    assert read.body == b"hello"
    assert read == said_by_decoder(data)


@pytest.mark.parametrize("data", [WHOLE, CHUNKED])
def test_what_is_not_all_or_more_is_left(data: bytes) -> None:
    assert [read_whole(data[:cut]) for cut in range(len(data))] == [None] * len(data)
    assert read_whole(data + b"x") is None
    assert read_whole(data, 20) is None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_it_never_says_what_the_decoder_does_not(case) -> None:  # type: ignore[no-untyped-def]
    read = read_whole(case.wire)

    assert read is None or read == said_by_decoder(case.wire)


@given(st.sampled_from(LINES), st.lists(st.sampled_from(FIELDS), max_size=5), st.sampled_from(BODIES))
def test_odd_heads_are_read_alike_or_left(line: bytes, fields: list[bytes], body: bytes) -> None:
    data = b"\r\n".join([line, *fields, b"", b""]) + body
    read = read_whole(data)

    assert read is None or read == said_by_decoder(data)


REPLIES = st.tuples(st.sampled_from(LINES), st.lists(st.sampled_from(FIELDS), max_size=5), st.sampled_from(BODIES))


@given(st.lists(REPLIES))
def test_a_head_is_read_as_if_it_were_the_first(replies: list[tuple[bytes, list[bytes], bytes]]) -> None:
    reader = WholeReplyReader(MAX_HEAD)

    for line, fields, body in replies:
        data = b"\r\n".join([line, *fields, b"", b""]) + body

        assert reader.read(data) == read_whole(data)


FIRST = b"\r\n".join([b"HTTP/1.1 200 OK", b"Date: Mon", b"X-Request-Id:a", b"Content-Length: 5", b"", b"hello"])
NEXT = {
    "another value": FIRST.replace(b"Mon", b"Tue"),
    "spaces around it": FIRST.replace(b"Id:a", b"Id:   b "),
    "none": FIRST.replace(b"Id:a", b"Id:"),
    "another status": FIRST.replace(b"200 OK", b"500 No"),
    "another length": FIRST.replace(b"5\r\n\r\nhello", b"6\r\n\r\nhello!"),
    "a longer name": FIRST.replace(b"X-Request-Id:", b"X-Request-Id-2:"),
    "another name": FIRST.replace(b"Date", b"Data"),
    "another order": FIRST.replace(b"Date: Mon\r\nX-Request-Id:a", b"X-Request-Id:a\r\nDate: Mon"),
    "one more": FIRST.replace(b"Date: Mon", b"Date: Mon\r\nA: b"),
    "one less": FIRST.replace(b"Date: Mon\r\n", b""),
    "a name twice": FIRST.replace(b"X-Request-Id:a", b"Date: Tue"),
}
ODD = {
    "a length twice": FIRST.replace(b"Date: Mon", b"Content-Length: 5"),
    "a line end": FIRST.replace(b"Mon", b"M\nA: b"),
    "a control character": FIRST.replace(b"Mon", b"M\x00"),
    "an end of the connection": FIRST.replace(b"Date: Mon", b"Connection: close"),
}


@pytest.mark.parametrize("data", NEXT.values(), ids=NEXT)
def test_only_what_differs_from_the_last_head_is_read_anew(data: bytes) -> None:
    reader = WholeReplyReader(MAX_HEAD)
    first, read = reader.read(FIRST), reader.read(data)

    assert read is not None
    assert read == said_by_decoder(data)
    assert first == said_by_decoder(FIRST)  # another request has it


def test_names_that_are_there_several_times_are_joined_each_time() -> None:
    two = FIRST.replace(b"Date: Mon", b"Set-Cookie: a=1 \r\nDate: Mon\r\nset-cookie:b=2")
    reader = WholeReplyReader(MAX_HEAD)

    for first, second in ((b"a=1", b"b=2"), (b"a=3", b"b=2"), (b"a=3", b"b=4"), (b"", b"b=4")):
        data = two.replace(b"a=1", first).replace(b"b=2", second)
        read = reader.read(data)
        assert read is not None
        assert read == said_by_decoder(data)


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_what_is_odd_is_left_after_a_good_head_too(data: bytes) -> None:
    assert read_whole(data, MAX_HEAD, FIRST) is None
    assert read_whole(FIRST, MAX_HEAD, FIRST, data) == said_by_decoder(FIRST)
