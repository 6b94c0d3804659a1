"""Whatever a client sends instead of HTTP or JSON: a 4xx in its own dialect, and no answer to what stands behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.hardening.gateway import KEY, PATHS, Attacked, error_of, post, question, read_reply, split_replies
from tests.support.fake_upstream import FakeUpstream

Figure = Callable[[str, object, object], None]

NEXT = b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def gateway(lasting_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with Attacked(
        tmp_path_factory.mktemp("framing"), lasting_upstream.url, max_body_mb=4, client_timeout=1.0
    ) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log.read_text()


def request(path: str, *fields: str, body: bytes = b"", version: str = "HTTP/1.1", method: str = "POST") -> bytes:
    head = [f"{method} {path} {version}", "Host: localhost", f"x-api-key: {KEY}", *fields, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def bad_framings(path: str) -> dict[str, bytes]:
    """Requests that no server may take, each with its name."""
    body = question("openai_chat")
    size, one = f"{len(body):x}".encode(), f"Content-Length: {len(body)}"

    def chunks(framed: bytes) -> bytes:
        return request(path, CHUNKED, body=framed)

    whole = size + b"\r\n" + body + b"\r\n"
    return {
        "two lengths": request(path, one, "Content-Length: 3", body=body),
        "two equal lengths": request(path, one, one, body=body),
        "list of lengths": request(path, f"Content-Length: {len(body)}, {len(body)}", body=body),
        "length and chunked": request(path, one, CHUNKED, body=whole + b"0\r\n\r\n"),
        "negative length": request(path, "Content-Length: -1", body=body),
        "plus length": request(path, f"Content-Length: +{len(body)}", body=body),
        "hex length": request(path, f"Content-Length: 0x{len(body):x}", body=body),
        "float length": request(path, f"Content-Length: {len(body)}.0", body=body),
        "underscored length": request(path, "Content-Length: 1_0", body=body),
        "empty length": request(path, "Content-Length:", body=body),
        "length of words": request(path, "Content-Length: all", body=body),
        "length of other digits": request(path, "Content-Length: \xb2", body=body),
        "length of 5000 digits": request(path, "Content-Length: " + "9" * 5000, body=body),
        "length of 25 digits": request(path, "Content-Length: " + "9" * 25, body=body),
        "unknown coding": request(path, "Transfer-Encoding: xchunked", body=whole),
        "gzip, then chunked": request(path, "Transfer-Encoding: gzip, chunked", body=whole + b"0\r\n\r\n"),
        "gzip and chunked in two lines": request(path, "Transfer-Encoding: gzip", CHUNKED, body=whole + b"0\r\n\r\n"),
        "coding in quotes": request(path, 'Transfer-Encoding: "chunked"', body=whole + b"0\r\n\r\n"),
        "coding with a parameter": request(path, "Transfer-Encoding: chunked;q=1", body=whole + b"0\r\n\r\n"),
        "empty coding": request(path, "Transfer-Encoding:", one, body=body),
        "identity and a length": request(path, "Transfer-Encoding: identity", one, body=body),
        "chunked in two lines": request(path, CHUNKED, CHUNKED, body=whole + b"0\r\n\r\n"),
        "length with a space": request(path, f"Content-Length: {len(body) // 10} {len(body) % 10}", body=body),
        "length with a foreign space": request(path, f"Content-Length: {len(body)}\xa0", body=body),
        "chunk size with a plus": chunks(b"+" + whole + b"0\r\n\r\n"),
        "chunk size with an underscore": chunks(size[:1] + b"_" + size[1:] + whole[len(size) :] + b"0\r\n\r\n"),
        "chunk size with a zero": chunks(size + b"\0" + whole[len(size) :] + b"0\r\n\r\n"),
        "chunk extension with a quoted line end": chunks(size + b';a="\r\n"' + whole[len(size) :] + b"0\r\n\r\n"),
        "last chunk with bare line feeds": chunks(whole + b"0\n\n"),
        "trailer that is folded": chunks(whole + b"0\r\nA: b\r\n c\r\n\r\n"),
        "trailer with a host": chunks(whole + b"0\r\nHost: evil\r\n\r\n"),
        "trailer with a zero": chunks(whole + b"0\r\nA: b\0\r\n\r\n"),
        "line end before it": b"\n" + request(path, one, body=body),
        "space before it": b" " + request(path, one, body=body),
        "tabs in the line": request(path, one, body=body).replace(b" ", b"\t", 2),
        "space behind the version": request(path, one, body=body, version="HTTP/1.1 "),
        "HTTP/1.01": request(path, one, body=body, version="HTTP/1.01"),
        "path with a backslash": request("\\" + path[1:], one, body=body),
        "value with an escape": request(path, "A: \x1b[31m", one, body=body),
        "name of other letters": request(path, "\xe9: a", one, body=body),
        "gzip coding": request(path, "Transfer-Encoding: gzip", body=whole),
        "chunked twice": request(path, "Transfer-Encoding: chunked, chunked", body=whole + b"0\r\n\r\n"),
        "chunked not last": request(path, "Transfer-Encoding: chunked, gzip", body=whole + b"0\r\n\r\n"),
        "coding with a tab": request(path, "Transfer-Encoding: \x0bchunked", body=whole + b"0\r\n\r\n"),
        "chunked in HTTP/1.0": request(path, CHUNKED, body=whole + b"0\r\n\r\n", version="HTTP/1.0"),
        "chunk size of words": chunks(b"zz\r\n" + body + b"\r\n0\r\n\r\n"),
        "chunk size empty": chunks(b"\r\n" + body + b"\r\n0\r\n\r\n"),
        "chunk size negative": chunks(b"-5\r\n" + body + b"\r\n0\r\n\r\n"),
        "chunk size with 0x": chunks(b"0x" + whole + b"0\r\n\r\n"),
        "chunk size with a space": chunks(size + b" \r\n" + body + b"\r\n0\r\n\r\n"),
        "chunk size huge": chunks(b"f" * 30 + b"\r\n" + body + b"\r\n0\r\n\r\n"),
        "chunk size without an end": chunks(b"1" * 70_000),
        "chunk size with a bare line feed": chunks(size + b"\n" + body + b"\r\n0\r\n\r\n"),
        "chunk extension without an end": chunks(size + b";" + b"a" * 70_000),
        "chunk extension with a bare return": chunks(size + b";a\rb\r\n" + body + b"\r\n0\r\n\r\n"),
        "chunk longer than its size": chunks(b"2\r\n" + body + b"\r\n0\r\n\r\n"),
        "chunk without its line end": chunks(size + b"\r\n" + body + b"0\r\n\r\n"),
        "trailer that is none": chunks(whole + b"0\r\nno colon\r\n\r\n"),
        "trailer with a length": chunks(whole + b"0\r\nContent-Length: 5\r\n\r\n"),
        "trailer with a bare line feed": chunks(whole + b"0\r\nA: b\n\r\n\r\n"),
        "trailer with a coding": chunks(whole + b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        "trailers without an end": chunks(whole + b"0\r\nA: " + b"b" * 4_000_000),
        "bare line feeds": request(path, one, body=body).replace(b"\r\n", b"\n"),
        "one bare line feed": request(path, f"A: b\nContent-Length: {len(body)}", body=body),
        "bare carriage return": request(path, f"A: b\rContent-Length: {len(body)}", body=body),
        "folded line": request(path, "A: b\r\n c", one, body=body),
        "no colon": request(path, "AAAA", one, body=body),
        "space before the colon": request(path, f"Content-Length : {len(body)}", body=body),
        "empty name": request(path, ": b", one, body=body),
        "name with a space": request(path, "A B: c", one, body=body),
        "name with a control character": request(path, "A\x01: c", one, body=body),
        "value with a zero": request(path, "A: b\x00c", one, body=body),
        "two hosts": request(path, "Host: other", one, body=body),
        "HTTP/9.9": request(path, one, body=body, version="HTTP/9.9"),
        "HTTP/2.0": request(path, one, body=body, version="HTTP/2.0"),
        "http/1.1": request(path, one, body=body, version="http/1.1"),
        "no version": f"POST {path}\r\n\r\n".encode(),
        "four words": f"POST {path} x HTTP/1.1\r\n\r\n".encode(),
        "lower-case method": request(path, one, body=body, method="post"),
        "method of controls": request(path, one, body=body, method="PO\x01ST"),
        "long method": request(path, one, body=body, method="P" * 300),
        "path with a control character": request(path + "\x01", one, body=body),
        "path with bytes": request(path + "\xff", one, body=body),
        "long path": request(path + "?" + "a" * 20_000, one, body=body),
        "long header": request(path, "A: " + "b" * 40_000, one, body=body),
        "many headers": request(path, *(f"A{n}: b" for n in range(500)), one, body=body),
        "head of a megabyte": request(path, "A: " + "b" * 1_000_000, one, body=body),
        "expectation of something": request(path, "Expect: the worst", one, body=body),
        "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "nothing but line ends": b"\r\n\r\n\r\n\r\n",
        "binary": bytes(range(256)) * 4 + b"\r\n\r\n",
        "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x0a" * 40,
    }


@pytest.mark.parametrize("dialect", list(PATHS))
def test_a_bad_framing_is_refused_in_dialect_and_ends_its_connection(
    gateway: Attacked, upstream: FakeUpstream, figure: Figure, dialect: str
) -> None:
    cases = bad_framings(PATHS[dialect])
    desynced, wrong = [], {}

    for name, sent in cases.items():
        answer = gateway.exchange(sent + NEXT)
        replies = split_replies(answer)
        if len(replies) > 1 or b'"ok"' in answer:
            desynced.append(name)
        elif not replies or not 400 <= replies[0][0] < 500 or not replies[0][1].startswith(b"{"):
            wrong[name] = answer[:200]
        elif PATHS[dialect].encode() in sent[:40]:
            error_of(replies[0][1], dialect)

    figure(f"framings that desync, {dialect}", f"{len(desynced)} of {len(cases)}", 0)
    assert desynced == []
    assert wrong == {}
    assert upstream.seen == []


def deep(opening: bytes, closing: bytes, depth: int) -> bytes:
    return opening * depth + b"1" + closing * depth


BODIES = {
    "nothing": b"",
    "no JSON": b"{" * 10,
    "a list": b"[]",
    "a number": b"1" * 5000,
    "two objects": b'{"model":"up/m","messages":[]}{}',
    "bytes": b"\xff\xfe\x00",
    "cut text": b'{"model":"up/m","messages":"\xf0\x9f',
    "half a character": b'{"model":"up/m","messages":[{"role":"user","content":"\xc3\x28"}]}',
    "deep lists": b'{"model":"up/m","messages":' + deep(b"[", b"]", 100_000) + b"}",
    "deep objects": b'{"model":"up/m","messages":' + deep(b'{"a":', b"}", 100_000) + b"}",
    "open lists": b'{"model":"up/m","messages":' + b"[" * 100_000,
    "deep schema": b'{"model":"up/m","messages":[],"tools":[{"type":"function","function":{"name":"f","parameters":'
    + deep(b'{"type":"object","properties":{"a":', b"}}", 5_000)
    + b"}}]}",
    "model of 5,000 letters": question("openai_chat", model="m" * 5000),
    "model of a megabyte": question("openai_chat", model="eyJ" * 350_000),
    "model of lists": b'{"model":[[[]]],"messages":[]}',
    "model of a huge number": b'{"model":' + b"9" * 5000 + b',"messages":[]}',
    "stream of a number": b'{"model":"up/m","stream":1e999,"messages":[]}',
    "session's name": b"",
}


@pytest.mark.parametrize("dialect", list(PATHS))
@pytest.mark.parametrize("name", list(BODIES))
def test_a_body_that_is_no_request_is_refused_in_dialect(gateway: Attacked, dialect: str, name: str) -> None:
    fields = ("x-session-id: " + "s" * 1000,) if name == "session's name" else ()
    body = question(dialect) if fields else BODIES[name]

    status, answer = gateway.ask(PATHS[dialect], body, *fields)

    assert 400 <= status < 500, answer[:300]
    error_of(answer, dialect)


NUMBERS = [
    *("1e999", "-1e999", "1" + "0" * 5000, "-" + "9" * 400, "1e-999", "0." + "1" * 5000),
    *("NaN", "Infinity", "01", "-0"),
]
FIELDS = {
    "anthropic_messages": ("max_tokens", "temperature", "top_p", "top_k"),
    "openai_chat": ("max_tokens", "temperature", "top_p", "seed", "n", "frequency_penalty", "max_completion_tokens"),
    "openai_responses": ("max_output_tokens", "temperature", "top_p"),
}


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:9])
@pytest.mark.parametrize("dialect", list(PATHS))
def test_a_number_out_of_range_is_no_fault_of_the_gateway(gateway: Attacked, dialect: str, number: str) -> None:
    for field in FIELDS[dialect]:
        body = question(dialect)[:-1] + f', "{field}": {number}}}'.encode()
        if dialect == "anthropic_messages" and field == "max_tokens":
            body = body.replace(b'"max_tokens": 9, ', b"")

        status, answer = gateway.ask(PATHS[dialect], body)

        assert 200 <= status < 500, (field, answer[:300])
        if status >= 400:
            error_of(answer, dialect)


@pytest.mark.parametrize(
    ("name", "fields", "sent"),
    [
        ("cut", ("Content-Length: 100",), b"{"),
        ("not its encoding", ("Content-Encoding: gzip", "Content-Length: 2"), b"{}"),
        ("unknown encoding", ("Content-Encoding: " + "x" * 5000, "Content-Length: 2"), b"{}"),
        ("too many encodings", ("Content-Encoding: gzip, gzip, gzip, gzip", "Content-Length: 2"), b"{}"),
        ("beyond the limit", (f"Content-Length: {5 * 1024 * 1024}",), b"{"),
        ("cut chunk", (CHUNKED,), b"5\r\nab"),
        ("no last chunk", (CHUNKED,), b"2\r\n{}\r\n"),
        ("nothing", (CHUNKED,), b""),
    ],
)
@pytest.mark.parametrize("dialect", list(PATHS))
def test_a_body_that_does_not_come_as_announced_is_refused(
    gateway: Attacked, dialect: str, name: str, fields: tuple[str, ...], sent: bytes
) -> None:
    with gateway.connect() as client:
        client.sendall(request(PATHS[dialect], *fields, body=sent))
        answer = b""
        while data := client.recv(65536):
            answer += data
    status, body = split_replies(answer)[0]

    assert 400 <= status < 500
    error_of(body, dialect)


@pytest.mark.parametrize("size", [b"6400001", b"7fffffff", b"F" * 16, b"1" + b"0" * 16, b"0" * 300 + b"f" * 300])
@pytest.mark.parametrize("dialect", list(PATHS))
def test_a_chunk_larger_than_any_body_is_refused_before_it_comes(gateway: Attacked, dialect: str, size: bytes) -> None:
    with gateway.connect(0.7) as client:  # less than the limit for progress
        client.sendall(request(PATHS[dialect], CHUNKED, body=b"2\r\n{}\r\n" + size + b"\r\n{"))
        answer = read_reply(client)
    status, body = split_replies(answer)[0]

    assert status == 413
    assert "MB" in error_of(body, dialect)["message"]


@pytest.mark.parametrize("size", [7_000, 15_000, 32 * 1024])
@pytest.mark.parametrize("name", ["authorization", "cookie", "x-forwarded-client-cert"])
def test_headers_as_single_sign_on_makes_them_work(gateway: Attacked, name: str, size: int) -> None:
    status, _ = gateway.ask(PATHS["openai_chat"], question("openai_chat"), f"{name}: " + "a" * size)

    assert status == 200


@pytest.mark.parametrize("dialect", list(PATHS))
def test_more_headers_get_a_431_in_dialect(gateway: Attacked, dialect: str) -> None:
    status, answer = gateway.ask(PATHS[dialect], question(dialect), "cookie: " + "a" * 36_000)

    assert status == 431
    error_of(answer, dialect)


TARGETS = [
    *("/", "/%", "/%00", "/..%2f", "/v1/responses/..", "//", "/\\", "/v1/messages/%ff", "*"),
    *("/v1/models/" + "a" * 3000, "/v1/responses/" + "r" * 3000, "/login?provider=" + "p" * 3000),
    "http://localhost/v1/nothing",
]
METHODS = ["GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD", "TRACE", "CONNECT", "BREW"]


@pytest.mark.parametrize("path", TARGETS)
@pytest.mark.parametrize("method", METHODS)
def test_no_path_and_no_method_makes_a_fault(gateway: Attacked, method: str, path: str) -> None:
    answer = gateway.exchange(request(path, "Content-Length: 0", "Connection: close", method=method))

    assert answer.startswith(b"HTTP/1.1 ")
    assert int(answer[9:12]) < 500 or int(answer[9:12]) in (501, 505)
    assert b"Traceback" not in answer


FOREIGN_TARGETS = ["http://evil.test", "HTTP://evil.test:80", "https://localhost@evil.test", "http://evil.test?x=",
                   "http://localhost.evil.test", "http://evil.test#@localhost", "http://"]  # fmt: skip


@pytest.mark.parametrize("target", FOREIGN_TARGETS)
def test_a_target_with_a_foreign_host_is_refused_whatever_the_host_header_says(
    gateway: Attacked, upstream: FakeUpstream, target: str
) -> None:
    body = question("openai_chat")

    answer = gateway.exchange(request(target + PATHS["openai_chat"], f"Content-Length: {len(body)}", body=body), 3)

    assert 400 <= int(answer[9:12]) < 500
    assert upstream.seen == []


def test_a_request_that_is_only_out_of_the_ordinary_is_answered(gateway: Attacked) -> None:
    body = question("openai_chat")
    chunked = b"%x;name=value\r\n%b\r\n0\r\nX-Trailer: a\r\n\r\n" % (len(body), body)
    usual = [
        request(PATHS["openai_chat"], CHUNKED, body=chunked),
        request(PATHS["openai_chat"], f"Content-Length: {len(body)}", body=body, version="HTTP/1.0"),
        request(PATHS["openai_chat"], "Expect: 100-continue", f"Content-Length: {len(body)}", body=body),
        request("http://localhost" + PATHS["openai_chat"], f"Content-Length: {len(body)}", body=body),
    ]

    for sent in usual:
        answer = gateway.exchange(sent, 3)
        assert b" 200 " in answer
        assert json.loads(answer[answer.index(b"{") :].split(b"\r\n")[0])["choices"]


def test_several_requests_on_a_connection_keep_their_order(gateway: Attacked, upstream: FakeUpstream) -> None:
    sent = b"".join(post(PATHS["openai_chat"], question("openai_chat", str(n)), close=n == 4) for n in range(5))

    replies = split_replies(gateway.exchange(sent))

    assert [status for status, _ in replies] == [200] * 5
    assert [seen.json()["messages"][0]["content"] for seen in upstream.seen] == list("01234")
