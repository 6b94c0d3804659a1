"""Specifies how HTTP replies are read, without a socket: every cut of the bytes gives the same reply."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from app.errors import UpstreamCut, UpstreamMalformed
from app.transport.reply import ReplyDecoder


@dataclass(frozen=True)
class Case:
    id: str
    wire: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"hello"
    method: str = "POST"
    is_reusable: bool = True
    ends_with_connection: bool = False


CASES = [
    Case("length", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", headers={"content-length": "5"}),
    Case(
        "chunks with an extension and a trailer",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n",
        headers={"transfer-encoding": "chunked"},
    ),
    Case(
        "until the connection ends",
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nhello",
        headers={"x-a": "1"},
        is_reusable=False,
        ends_with_connection=True,
    ),
    Case("HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\nhello", is_reusable=False, ends_with_connection=True),
    Case(
        "connection close with a length",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        headers={"connection": "close", "content-length": "5"},
        is_reusable=False,
    ),
    Case("no content", b"HTTP/1.1 204 No Content\r\n\r\n", status=204, body=b""),
    Case(
        "not modified with the length of what was not sent",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
        status=304,
        headers={"content-length": "99"},
        body=b"",
    ),
    Case(
        "empty body",
        b"HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n",
        status=500,
        headers={"content-length": "0"},
        body=b"",
    ),
    Case(
        "answer to HEAD",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",
        headers={"content-length": "99"},
        body=b"",
        method="HEAD",
        is_reusable=False,
    ),
    Case(
        "informational replies first",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        headers={"content-length": "5"},
    ),
    Case(
        "repeated header, spaces around values, bytes beyond ASCII",
        b"HTTP/1.1 200 OK\r\nVia: a\r\nX-N:  \xe9 \r\nvia: b\r\nContent-Length: 5\r\n\r\nhello",
        headers={"via": "a, b", "x-n": "é", "content-length": "5"},
    ),
]


def read(decoder: ReplyDecoder, parts: list[bytes]) -> bytes:
    return b"".join(decoder.feed(part) for part in parts)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_any_cut_gives_the_same_reply(case: Case) -> None:
    single_bytes = [case.wire[i : i + 1] for i in range(len(case.wire))]
    halves = [[case.wire[:cut], case.wire[cut:]] for cut in range(1, len(case.wire))]

    for parts in ([case.wire], single_bytes, *halves):
        decoder = ReplyDecoder(case.method)
        body = read(decoder, parts)
        if case.ends_with_connection:
            assert not decoder.complete
            decoder.end()

        assert (decoder.status, decoder.headers, body) == (case.status, case.headers, case.body)
        assert (decoder.complete, decoder.reusable) == (True, case.is_reusable)


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.ends_with_connection and case.body], ids=lambda case: case.id
)
def test_a_reply_that_ends_too_early_is_cut(case: Case) -> None:
    for cut in range(len(case.wire)):
        decoder = ReplyDecoder(case.method)
        decoder.feed(case.wire[:cut])

        with pytest.raises(UpstreamCut) as caught:
            decoder.end()

        assert caught.value.began is (cut > 0)


@pytest.mark.parametrize(
    "wire",
    [
        b"hello\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,
        b"HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 99 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 103 Hints\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ],
    ids=[
        "no HTTP",
        "no status",
        "two framings",
        "two framings, the last not of chunks",
        "two lengths",
        "no length",
        "no header name",
        "no chunk size",
        "another protocol",
        "endless head",
        "status 0",
        "status 99",
        "a body of hints",
        "chunks before the head",
    ],
)
def test_a_reply_that_breaks_the_rules_is_malformed(wire: bytes) -> None:
    decoder = ReplyDecoder("POST")

    with pytest.raises(UpstreamMalformed):
        decoder.feed(wire)


HEADS = {
    "equal lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\ncontent-length:5\r\n\r\n",
    "equal lengths in one line": b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5,5\r\nX: y\r\n\r\n",
    "line feeds": b"HTTP/1.1 200 OK\nContent-Length: 5\nX: y\n\n",
    "one line feed": b"HTTP/1.1 200 OK\r\nContent-Length: 5\nX: y\r\n\r\n",
    "a line feed at the end": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\n",
    "a blank behind a name": b"HTTP/1.1 200 OK\r\nContent-Length\t : 5\r\nX : y\r\n\r\n",
    "both": b"HTTP/1.1 200 OK\nContent-Length: 5\nX: y\nContent-Length: 5, 5\n\n",
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_has_one_meaning_all_the_same_is_read_and_its_connection_is_not_kept(name: str) -> None:
    wire = HEADS[name] + b"hello"
    halves = [[wire[:cut], wire[cut:]] for cut in range(1, len(wire))]

    for parts in ([wire], [wire[i : i + 1] for i in range(len(wire))], *halves):
        decoder = ReplyDecoder("POST")
        body = read(decoder, parts)

        assert (decoder.status, decoder.headers, body) == (200, {"content-length": "5", "x": "y"}, b"hello")
        assert (decoder.complete, decoder.reusable) == (True, False)


@pytest.mark.parametrize("length", [b"Content-Length: 3", b"content-length:99\r\nContent-Length: 3"])
def test_chunks_count_more_than_a_length_beside_them(length: bytes) -> None:
    """RFC 9112 section 6.3."""
    wire = b"HTTP/1.1 200 OK\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" % length

    for parts in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
        decoder = ReplyDecoder("POST")

        assert read(decoder, parts) == b"hello"
        assert (decoder.complete, decoder.reusable) == (True, False)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 6\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5, 5 6\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 5\nTransfer-Encoding: gzip\n\n",
        b"HTTP/1.1 200 OK\nX: a\rContent-Length: 5\n\n",
        b"HTTP/1.1 200 OK\nX: a\0\n\n",
        b"HTTP/1.1 200 OK\nX y\n\n",
        b"HTTP/1.1 200 OK\n" + b"x: y\n" * 30_000,
    ],
)
def test_what_has_two_meanings_or_none_is_malformed_with_line_feeds_too(head: bytes) -> None:
    for size in (len(head), 1, 97):
        decoder = ReplyDecoder("POST")

        with pytest.raises(UpstreamMalformed):
            read(decoder, [head[start : start + size] for start in range(0, len(head), size)])


@pytest.mark.parametrize("surplus", [b"x", b"\r\nx", b"HTTP/1.1 200 OK\r\nX-Other: 1\r\n\r\n"])
def test_bytes_after_the_reply_spoil_the_connection_only(surplus: bytes) -> None:
    wire = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    together, apart = ReplyDecoder("POST"), ReplyDecoder("POST")

    bodies = [together.feed(wire + surplus), apart.feed(wire) + apart.feed(surplus)]

    assert bodies == [b"hello", b"hello"]
    assert together.headers == {"content-length": "5"}
    assert (together.complete, together.reusable, apart.reusable) == (True, False, False)
