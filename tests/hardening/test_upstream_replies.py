"""Replies that no server should send: each becomes an error in the client's dialect, never a fault of ours."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import msgspec
import pytest
import zstandard

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.response import MAX_TOKENS
from app.dialects.registry import DIALECTS
from app.gateway.replies.reply_headers import relayed_headers
from tests.hardening.gateway import PATHS, PROVIDERS, Attacked, error_of, post, question
from tests.hardening.upstreams import ANSWERS, chunked, wire
from tests.support.fake_upstream import CLOSE, CUT, STALL, FakeUpstream, Piece, raw

BAD_GATEWAY = frozenset({502})
READ = frozenset({200})
# Where something of an answer is left it may be given on; an answer without anything asks for another try.
READ_OR_NOT = frozenset({200, 502, 503, 529})


@dataclass(frozen=True)
class Case:
    """A reply as it goes over the wire; `make` gets a good body of the upstream's dialect."""

    id: str
    make: Callable[[bytes], tuple[Piece, ...]]
    statuses: frozenset[int] = BAD_GATEWAY


def body(id: str, text: bytes, statuses: frozenset[int] = BAD_GATEWAY) -> Case:  # noqa: A002
    return Case(id, lambda _: (wire(text),), statuses)


def changed(name: str, **changes: Any) -> Case:
    """A good answer with other values at its top; where they say nothing of importance, it may be read."""

    def make(good: bytes) -> tuple[Piece, ...]:
        return (wire(json.dumps({**json.loads(good), **changes}).encode()),)

    return Case(name, make, READ_OR_NOT)


def swapped(id: str, old: bytes, new: bytes, statuses: frozenset[int] = READ_OR_NOT) -> Case:  # noqa: A002
    return Case(id, lambda good: (wire(good.replace(old, new)),), statuses)


REFUSED = frozenset(range(400, 600))
REFUSALS = {
    "in another family's words": b'{"error":{"message":"x","type":"y"}}',
    "in the other family's words": b'{"type":"error","error":{"message":"x","type":"y"}}',
    "of a type that is none": b'{"type":["error"],"error":{"message":"x","type":"y"}}',
    "without a type": b'{"error":{"message":"x"}}',
    "in lists": b'{"error":{"message":["a"],"type":{},"code":[]}}',
    "with halves": b'{"type":"error","error":{"message":"\\ud800","type":"y"}}',
    "with controls": b'{"error":{"message":"\\u001b[31m\\u0000\\r\\nx","type":"a\\r\\nb"}}',
}
HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>please</body></html>"
CASES = [
    # bodies
    body("nothing at all", b""),
    body("white space", b" \r\n\t" * 3000),
    body("half an object", b'{"id": "x", "choi'),
    body("a list", b"[]"),
    body("a number", b"17"),
    body("null", b"null"),
    body("an empty object", b"{}"),
    body("deep lists", b"[" * 200_000),
    body("deep objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    Case("deep inside an answer", lambda good: (wire(good.replace(b'"SAID"', b"[" * 50_000 + b"]" * 50_000)),)),
    swapped("a deep unknown field", b'"id"', b'"x":' + b"[" * 900 + b"]" * 900 + b',"id"'),
    swapped("a number out of range", b": 1,", b": 1e999,"),
    swapped("a number with 5,000 digits", b": 1,", b": " + b"9" * 5000 + b","),
    swapped("a negative count", b": 1,", b": -7,"),
    swapped("a count in words", b": 1,", b': "one",'),
    swapped("a count that no database holds", b": 1,", b": 9223372036854775807,"),
    swapped("a count with 30 digits", b": 1", b": 123456789012345678901234567890"),
    swapped("NaN", b": 1,", b": NaN,"),
    swapped("half a surrogate pair", b"SAID", b"\\ud83d"),
    Case("half of a UTF-8 character", lambda good: (wire(good.replace(b"SAID", b"\xe2\x82")),)),
    Case("UTF-16", lambda good: (wire(good.decode().encode("utf-16")),)),
    swapped("a NUL", b"SAID", b"\\u0000"),
    Case("a byte order mark", lambda good: (wire(b"\xef\xbb\xbf" + good),), frozenset({200})),
    Case("two answers", lambda good: (wire(good + good),)),
    Case("garbage behind the answer", lambda good: (wire(good + b"<!-- served by x -->"),)),
    body("HTML", HTML),
    Case("HTML that says so", lambda _: (wire(HTML, kind="text/html"),)),
    Case("a wrong type", lambda good: (wire(good, kind="image/png"),), frozenset({200})),
    Case("no type", lambda good: (wire(good, kind=""),), frozenset({200})),
    changed("no output", choices=None, content=None, output=None),
    changed("an output that is text", choices="x", content="x", output="x"),
    changed("an output of nulls", choices=[None], content=[None], output=[None]),
    changed("an output of numbers", choices=[1], content=[1], output=[1]),
    changed("an output of empty objects", choices=[{}], content=[{}], output=[{}]),
    changed("counts that are a list", usage=[1, 2]),
    changed("a list as id", id=["x"]),
    body("a huge code", b'{"error":{"message":"no","code":' + b"9" * 4000 + b"}}", frozenset({400, 500, 502})),
    body("a foreign digit as code", '{"error":{"message":"no","code":"²"}}'.encode(), frozenset({400, 500, 502})),
    # errors
    Case("status 600", lambda good: (wire(good, status="600 Odd"), CLOSE)),
    *(
        Case(f"{status}, {name}", lambda _, status=status, text=text: (wire(text, status=f"{status} No"),), REFUSED)
        for status in (400, 404, 409, 413, 422, 500, 520, 598)
        for name, text in REFUSALS.items()
    ),
    # framing
    Case("nothing", lambda _: (CLOSE,)),
    Case("a reset", lambda _: (CUT,)),
    Case("no HTTP", lambda _: (b"SSH-2.0-OpenSSH_9.2\r\n", CLOSE)),
    Case("TLS", lambda _: (b"\x15\x03\x03\x00\x02\x02\x28", CLOSE)),
    Case("HTTP/2", lambda _: (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18, CLOSE)),
    Case("HTTP/0.9", lambda good: (good, CLOSE)),
    Case("half a head", lambda _: (b"HTTP/1.1 200 OK\r\ncontent-ty", CLOSE)),
    Case("a status of letters", lambda good: (wire(good, status="abc OK"), CLOSE)),
    Case("a status of 5 digits", lambda good: (wire(good, status="20000 OK"), CLOSE)),
    Case("status 0", lambda good: (wire(good, status="000 OK"), CLOSE)),
    Case("status 999", lambda good: (wire(good, status="999 Odd"), CLOSE), BAD_GATEWAY),
    Case("status 101", lambda good: (wire(good, "upgrade: x", "connection: upgrade", status="101 Switch"), CLOSE)),
    Case("a redirect", lambda _: (wire(b"", "location: https://login.example/", status="302 Found"),)),
    Case("status 204", lambda _: (b"HTTP/1.1 204 No Content\r\n\r\n",)),
    Case("status 304", lambda _: (b"HTTP/1.1 304 Not Modified\r\n\r\n",)),
    Case("only interim heads", lambda _: (b"HTTP/1.1 100 Continue\r\n\r\n" * 50, CLOSE)),
    Case("endless interim heads", lambda _: (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 9000, CLOSE)),
    Case("an endless head", lambda _: (b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 40_000, CLOSE)),
    Case("one endless header", lambda _: (b"HTTP/1.1 200 OK\r\nx-a: " + b"b" * 500_000, CLOSE)),
    Case("a header without a colon", lambda good: (wire(good, "nonsense"), CLOSE)),
    Case("a NUL in a header", lambda good: (wire(good, "x-a: \0"), CLOSE)),
    Case("a bare CR in a header", lambda good: (wire(good, "x-a: b\rc: d"), CLOSE)),
    Case("lengths that differ", lambda good: (wire(good, f"content-length: {len(good)}", "content-length: 1"), CLOSE)),
    Case("equal lengths", lambda good: (wire(good, *[f"content-length: {len(good)}"] * 2),), READ),
    Case("equal lengths in a line", lambda good: (wire(good, f"content-length: {len(good)}, {len(good)}"),), READ),
    Case("bare line feeds", lambda good: (wire(good).replace(b"\r", b""),), READ),
    Case("a length of letters", lambda good: (wire(good, "content-length: many"), CLOSE)),
    Case("a negative length", lambda good: (wire(good, "content-length: -1"), CLOSE)),
    Case("a length out of range", lambda good: (wire(good, "content-length: " + "9" * 40), CLOSE)),
    Case("a length that is too long", lambda good: (wire(good, f"content-length: {len(good) + 9}"), CLOSE)),
    Case("a length beyond any reply", lambda _: (wire(b"{", "content-length: 999999999999"), STALL)),
    Case("a length and chunks", lambda good: (wire(good, "content-length: 4", "transfer-encoding: chunked"), CLOSE)),
    Case("a chunk size of letters", lambda _: (chunked(b"xyz\r\nabc\r\n"), CLOSE)),
    Case("a negative chunk size", lambda _: (chunked(b"-5\r\nabc\r\n"), CLOSE)),
    Case("a chunk size out of range", lambda _: (chunked(b"f" * 30 + b"\r\nabc\r\n"), CLOSE)),
    Case("an endless chunk size", lambda _: (chunked(b"0" * 400_000), CLOSE)),
    Case("an endless chunk extension", lambda _: (chunked(b"5;" + b"x" * 400_000), CLOSE)),
    Case("a chunk that is too long", lambda good: (chunked(b"2\r\n" + good), CLOSE)),
    Case("an endless trailer", lambda good: (chunked(b"%x\r\n%b\r\n" % (len(good), good), end=b"0\r\nx: " + b"y" * 400_000), CLOSE)),  # noqa: E501
    Case("a broken trailer", lambda good: (chunked(b"%x\r\n%b\r\n" % (len(good), good), end=b"0\r\n: \0\r\n\r\n"), CLOSE)),  # noqa: E501
    # encodings
    Case("no gzip", lambda good: (wire(good, "content-encoding: gzip"),)),
    Case("half a gzip", lambda good: (wire(gzip.compress(good)[:-12], "content-encoding: gzip"),)),
    Case("a false gzip sum", lambda good: (wire(gzip.compress(good)[:-8] + bytes(8), "content-encoding: gzip"),)),
    Case("half a zstandard", lambda good: (wire(zstandard.compress(good)[:-3], "content-encoding: zstd"),)),
    Case("no brotli", lambda good: (wire(good, "content-encoding: br"),)),
    Case("deflate without its head", lambda good: (wire(zlib.compress(good)[2:-4], "content-encoding: deflate"),), frozenset({200})),  # noqa: E501
    Case("an unknown encoding", lambda good: (wire(b"\x00\x01" + good, "content-encoding: rot13"),)),
    Case("ten encodings", lambda good: (wire(good, "content-encoding: " + ", ".join(["gzip"] * 10)),), READ_OR_NOT),
]  # fmt: skip


@pytest.fixture(scope="module")
def gateway(lasting_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with Attacked(tmp_path_factory.mktemp("replies"), lasting_upstream.url, max_attempts=1) as process:
        yield process


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_malformed_reply_is_an_error_in_every_dialect(
    case: Case, gateway: Attacked, upstream: FakeUpstream, figure: Callable[..., None]
) -> None:
    logged = len(gateway.log.read_text())
    figure("malformed replies tried, each for nine pairs, whole and streamed", len(CASES), len(CASES))
    for speaks, provider in PROVIDERS.items():
        for client, path in PATHS.items():
            for stream in (False, True):
                asked = question(client, model=f"{provider}/m", stream=stream)
                upstream.script(raw(*case.make(json.dumps(ANSWERS[speaks]).encode())))

                status, answer = gateway.ask(path, asked)

                told = f"{client} asks {speaks}, stream {stream}: {status} {answer[:400]!r}"
                assert status in case.statuses, told
                assert not any(word in answer.lower() for word in (b"traceback", b"<html")), told
                if status >= 400:
                    assert error_of(answer, client), told
                elif stream:
                    assert b"data: " in answer, told
    said = gateway.log.read_text()[logged:]
    assert "Traceback" not in said, said[-3000:]


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b" \r\n", b"\xef\xbb\xbf\n\t"])
def test_what_stands_before_an_answer_is_no_part_of_it_however_often_it_comes(
    mark: bytes, gateway: Attacked, upstream: FakeUpstream
) -> None:
    for speaks, provider in PROVIDERS.items():
        for client, path in PATHS.items():
            asked = question(client, model=f"{provider}/m")
            upstream.script(raw(wire(mark + json.dumps(ANSWERS[speaks]).encode())))

            answers = [gateway.ask(path, asked) for _ in range(4)]  # later ones by a plan of the first

            assert {status for status, _ in answers} == {200}, (client, speaks, answers)


@pytest.mark.parametrize("dialect", list(DIALECTS.values()), ids=list(DIALECTS))
@pytest.mark.parametrize("said", [b"-7", b"9223372036854775807", b"1e18", b"9" * 30])
def test_a_count_is_one_that_sums_and_databases_hold(dialect: ModuleType, said: bytes) -> None:
    good = json.dumps(ANSWERS[dialect.NAME], separators=(",", ":")).encode()

    odd = good.replace(b'_tokens":1', b'_tokens":' + said)
    _, usage = dialect.pass_response(
        odd, RenderContext(model="m", id="i", created=1), Capabilities(dialect=dialect.NAME)
    )

    assert usage is None or all(
        0 <= count <= MAX_TOKENS for count in msgspec.structs.astuple(usage) if not isinstance(count, str)
    )


SOUND = ["0", "5", "120", "3456000", "Fri, 31 Dec 1999 23:59:59 GMT"]
UNSOUND = ["1e309", "-1", "nan", "inf", "", " ", "9" * 20, "4000000000", "1, 2", "1e-9", "0x10", "1_0", "5s", "\u0665",
           "\x1b[31m", "5" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 99 Foo 99999",
           "Wed, 21 Oct 2015 07:28:00 +9999", "never", "5;x", "+5", "5\t6", "\xff"]  # fmt: skip


@pytest.mark.parametrize("same", [False, True])
def test_a_client_is_told_to_wait_in_a_way_that_it_can_keep_to(same: bool) -> None:
    for text in SOUND:
        assert relayed_headers({"retry-after": text}, same_dialect=same) == {"retry-after": text}
    for text in UNSOUND:
        told = relayed_headers({"retry-after": text, "retry-after-ms": text}, same_dialect=same)
        assert all(each.isascii() and each.isdigit() and int(each) <= 40 * 86400 for each in told.values()), text
    exact = {"retry-after-ms": "1500", "retry-after": "2"}
    assert relayed_headers({"retry-after-ms": "1500"}, same_dialect=same) == exact


CROWDS = {
    "many": {f"x-ratelimit-{number}": "7" for number in range(900)},
    "long": {f"x-ratelimit-{number}": "a" * 9000 for number in range(20)},
    "one": {"x-ratelimit-limit-tokens": "9" * 100_000},
    "many of the vendor's": {f"anthropic-ratelimit-{number}-remaining": "9" * 90 for number in range(300)},
}


@pytest.mark.parametrize("name", CROWDS)
def test_a_head_for_a_client_is_one_that_clients_read(name: str) -> None:
    for same in (True, False):
        told = relayed_headers({**CROWDS[name], "retry-after": "5"}, same_dialect=same)

        # Python's own client reads no more than 100 lines, Node's no more than 16 KB.
        assert len(told) <= 50
        assert sum(len(name) + len(value) for name, value in told.items()) < 10_000
        assert told["retry-after"] == "5"


@pytest.mark.parametrize("status", [429, 503, 529])
def test_no_wait_that_nobody_can_keep_to_reaches_a_client(
    status: int, gateway: Attacked, upstream: FakeUpstream
) -> None:
    error = b'{"type":"error","error":{"type":"rate_limit_error","message":"x"}}'
    for client, path in PATHS.items():
        for number, text in enumerate(UNSOUND):
            if not text.isprintable() or not text.isascii():
                continue
            asked = question(client, model=f"messages/{client}{number}")
            upstream.script(raw(wire(error, f"retry-after: {text}", f"retry-after-ms: {text}", status=f"{status} No")))

            answer = gateway.exchange(post(path, asked))

            fields = dict(line.split(b": ", 1) for line in answer.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")[1:])
            told = {name: value for name, value in fields.items() if name.startswith(b"retry-after")}
            assert all(value.isdigit() and int(value) <= 40 * 86400 for value in told.values()), (text, told)
