"""Streams that no server should send: what a client gets is UTF-8, whole events of JSON, and an end or an error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from app.sse import SseDecoder
from tests.hardening.gateway import PATHS, PROVIDERS, Attacked, error_of, question
from tests.hardening.upstreams import BEGINNINGS, CALLS, ENDINGS, SSE, stream_of
from tests.support.fake_upstream import CLOSE, FakeUpstream, raw

Spoil = Callable[[bytes], bytes]


def swap(old: bytes, new: bytes, count: int = -1) -> Spoil:
    return lambda stream: stream.replace(old, new, count)


def before(start: bytes) -> Spoil:
    return lambda stream: start + stream


def behind(end: bytes) -> Spoil:
    return lambda stream: stream + end


def counted(said: bytes) -> Spoil:
    return swap(b'_tokens":1', b'_tokens":' + said)


def indexed(said: bytes) -> Spoil:
    return swap(b'index":0', b'index":' + said)


# What is done to a good stream whose texts are SAID and MORE.
SPOILED: dict[str, Spoil] = {
    "bytes that are no UTF-8": swap(b"SAID", b"\xff\xfe"),
    "halves of a character": swap(b"SAID", b"\xe2\x82"),
    "an encoded surrogate": swap(b"MORE", b"\xed\xa0\x80"),
    "an overlong slash": swap(b"MORE", b"\xc0\xaf"),
    "Latin-1": swap(b"SAID", "naïve café".encode("latin-1")),
    "no UTF-8 in a comment": swap(b"\n\n", b"\n\n: \xff\xfe\n\n", 3),
    "no UTF-8 in a name": swap(b"event: ", b"event: \xff", 1),
    "a byte order mark": before(b"\xef\xbb\xbf"),
    "byte order marks between events": swap(b"\n\n", b"\n\n\xef\xbb\xbf", 3),
    "bare carriage returns": swap(b"\n", b"\r"),
    "mixed line ends": swap(b"\n\n", b"\r\n\n"),
    "NULs between events": swap(b"\n\n", b"\n\n\0", 2),
    "NULs behind the end": behind(b"\0\xff" * 500),
    "ids and retries": before(b"id: \0\nid: " + b"9" * 100_000 + b"\nretry: -1\nretry: 99999999999999\n\n"),
    "an id in each event": swap(b"data: ", b"id: 7\nretry: 1\ndata: "),
    "a name of two megabytes": before(b"event: " + b"e" * (2 << 20) + b"\n"),
    "a name of 17 megabytes": before(b"event: " + b"e" * (17 << 20) + b"\ndata: {}\n\n"),
    "long comments": before((b": " + b"c" * 100_000 + b"\n\n") * 20),
    "unknown lines": before(b"foo\nbar: x\n:::\ndata\n\n" * 200),
    "empty data": before(b"data:\n\n" * 5000),
    "payloads of two lines": swap(b"data: {", b"data: {\ndata: "),
    "doubled names": swap(b'"type":', b'"type":"x","type":'),
    "doubled choices": swap(b'"choices":', b'"choices":[],"choices":'),
    "a list as type": swap(b'"type":"', b'"type":["x"],"y":"'),
    "null deltas": swap(b'"delta":{', b'"delta":null,"x":{'),
    "a reason that is an object": lambda stream: swap(b'"stop"', b"{}")(swap(b'"end_turn"', b"[7]")(stream)),
    "a model of escapes": swap(b'"m"', b'"\\u001b[31m\\u202e\\r\\n"'),
    "long ids": swap(b'"id":"', b'"id":"' + b"z" * 200_000),
    "an early end": swap(b"\n\n", b"\n\ndata: [DONE]\n\n", 3),
    "a second stream behind the end": lambda stream: stream * 2,
    "an error behind the end": behind(b'data: {"error":{"message":"x"}}\n\n'),
    "deep fields": swap(b'index":', b'index":0,"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"y":'),
    "20,000 choices": swap(b'"choices":[{', b'"choices":[' + b'{"index":9,"delta":{"content":"x"}},' * 20_000 + b"{"),
    "20,000 annotations": swap(b'"annotations":[]', b'"annotations":[' + b",".join(
        [b'{"type":"url_citation","url":"https://e.test","title":"t","start_index":0,"end_index":1}'] * 20_000) + b"]"),
    **{f"counts of {said[:12]!r}": counted(said) for said in (
        b"NaN", b"Infinity", b"1e999", b"-5", b'"many"', b"1.5", b"9" * 60, b"null", b"[]", b"{}", b"true")},
    **{f"indexes of {said[:12]!r}": indexed(said) for said in (
        b"-1", b"99999999", b"9223372036854775807", b"1.5", b'"0"', b"null", b"1e400", b"[]", b"9" * 50, b"true")},
}  # fmt: skip
LAST_WORDS = {
    "openai_chat": ("[DONE]", '"error"'),
    "anthropic_messages": ('"message_stop"', '"error"'),
    "openai_responses": ("[DONE]", '"response.completed"', '"response.failed"', '"error"'),
}


@pytest.fixture(scope="module")
def gateway(lasting_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with Attacked(tmp_path_factory.mktemp("streams"), lasting_upstream.url, max_attempts=1) as process:
        yield process


def no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def check_answer(client: str, stream: bool, status: int, answer: bytes) -> None:
    text = answer.decode()  # as the vendors' SDKs do, which end with an exception of their own otherwise
    if status >= 400:
        assert status in (502, 503, 529)
        error_of(answer, client)
        return
    assert status == 200
    if not stream:
        json.loads(text, parse_constant=no_constant)
        return
    decoder = SseDecoder()
    payloads = [data.decode() for data in [*decoder.feed(answer), *decoder.close()]]
    for payload in payloads:
        assert payload == "[DONE]" or json.loads(payload, parse_constant=no_constant)
    assert any(word in payloads[-1] for word in LAST_WORDS[client]), payloads[-1][-300:]


def ask_all(gateway: Attacked, upstream: FakeUpstream, make: Callable[[str], bytes]) -> None:
    """Each client asks each upstream for a stream and for a whole answer, and reads strictly what it gets."""
    logged = len(gateway.log.read_text())
    for speaks, provider in PROVIDERS.items():
        upstream.script(raw(SSE, make(speaks), CLOSE))
        for client, path in PATHS.items():
            for stream in (True, False):
                asked = question(client, model=f"{provider}/m", stream=stream)
                status, answer = gateway.ask(path, asked, seconds=30.0)

                try:
                    check_answer(client, stream, status, answer)
                except (AssertionError, ValueError, IndexError) as error:
                    pytest.fail(f"{client} asks {speaks}, stream {stream}: {status}, {error!r}, {answer[-300:]!r}")
    said = gateway.log.read_text()[logged:]
    assert "Traceback" not in said, said[-3000:]


@pytest.mark.parametrize("name", SPOILED)
def test_a_client_can_read_whatever_a_spoiled_stream_becomes(
    name: str, gateway: Attacked, upstream: FakeUpstream, figure: Callable[..., None]
) -> None:
    ask_all(gateway, upstream, lambda dialect: SPOILED[name](stream_of(dialect, b"SAID", b"MORE", b"SAID")))

    figure("spoiled streams tried, each for nine pairs, streamed and whole", len(SPOILED), len(SPOILED))


@pytest.mark.parametrize("count", [1000, 1100, 10_000])
def test_a_stream_with_too_many_calls_ends_with_an_error_and_never_bare(
    count: int, gateway: Attacked, upstream: FakeUpstream
) -> None:
    def make(dialect: str) -> bytes:
        calls = b"".join(CALLS[dialect](number) for number in range(1, count))
        return BEGINNINGS[dialect] + calls + ENDINGS[dialect]

    ask_all(gateway, upstream, make)
