"""A few bytes that unpack to very many, or hold very many values, cost as much as they are long; from either side."""

from __future__ import annotations

import gzip
import itertools
import os
import zlib
from collections.abc import Callable, Iterator

import brotli
import pytest
import zstandard

from app.dialects.json_bodies import repair_surrogates
from app.json_values import MAX_VALUES, SMALL, has_too_many_values
from app.transport.content import content_decoder
from tests.hardening.gateway import PATHS, PROVIDERS, Attacked, error_of
from tests.hardening.test_memory import Peak
from tests.hardening.upstreams import ANSWERS, chunked, wire
from tests.support.fake_upstream import FakeUpstream, raw

Figure = Callable[[str, object, object], None]

MIB = 1 << 20
# Seconds that another client may wait: 100 ms on a core that has nothing else to do.
MAX_STALL = 0.1 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
TRIES = 6
# MiB that a refused request may add: what it may unpack to, two and a half times.
MAX_ADDED = 8 * 2.5 + 12

QUESTION = '{"model":"MODEL","max_tokens":9,"messages":[{"role":"user","content":"q"}],"input":"q"'


def zlib_of(bits: int) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, bits)
        return packer.compress(data) + packer.flush()

    return pack


PACK: dict[str, Callable[[bytes], bytes]] = {
    "identity": lambda data: data,
    "gzip": zlib_of(31),
    "x-gzip": zlib_of(31),
    "deflate": zlib_of(15),
    "br": lambda data: brotli.compress(data, quality=4),
    "zstd": lambda data: zstandard.ZstdCompressor(3).compress(data),
}
NAMES = {**{name: name for name in PACK}, "raw deflate": "deflate"}
PACK["raw deflate"] = zlib_of(-15)


def pack(data: bytes, codings: str) -> bytes:
    for name in codings.split(", "):
        data = PACK[name](data)
    return data


def header_of(codings: str) -> str:
    return ", ".join(NAMES[name] for name in codings.split(", "))


def fill(beginning: str, piece: str, end: str) -> Callable[[int], bytes]:
    return lambda size: (beginning + piece * (size // len(piece)) + end).encode()


KINDS: dict[str, Callable[[int], bytes]] = {
    "blanks before it": fill("", " ", QUESTION + "}"),
    "blanks within it": fill(QUESTION, "\n", "}"),
    "a long text": fill(QUESTION + ',"pad":"', "x", '"}'),
    "a long text of escapes": fill(QUESTION + ',"pad":"', "\\n", '"}'),
    "halves of surrogate pairs": fill(QUESTION + ',"pad":"', "\\ud83d", '"}'),
    "numbers": fill(QUESTION + ',"pad":[', "1,", "1]}"),
    "a long number": fill(QUESTION + ',"pad":', "9", "}"),
    "empty objects": fill(QUESTION + ',"metadata":[', "{},", "{}]}"),
    "empty texts": fill(QUESTION + ',"pad":[', '"",', '""]}'),
    "short keys": fill(QUESTION + ',"pad":{', '"a":1,', '"a":1}}'),
    "turns": fill('{"model":"MODEL","max_tokens":9,"messages":[', '{"role":"user","content":"x"},', '{"role":"user","content":"x"}]}'),  # noqa: E501
    "items": fill('{"model":"MODEL","input":[', '{"role":"user","content":"x"},', '{"role":"user","content":"x"}]}'),
    "open lists": fill('{"model":"MODEL","messages":', "[", ""),
    "open objects": fill('{"model":"MODEL","messages":', '{"a":', ""),
    "commas": fill(QUESTION + ',"pad":[', ",", "]}"),
    "open texts": fill(QUESTION + ',"pad":[', '"a",', '"'),
    "no JSON": fill("", "a,", ""),
    "zeros": fill("", "\0", ""),
}  # fmt: skip
# Beyond what a packed body may be, and just within.
SIZES = (40_000_000, 7_900_000)
CODINGS = ("gzip", "deflate", "raw deflate", "br", "zstd", "x-gzip", "gzip, zstd", "zstd, br, gzip", "br, br, br")
ROUTES = (*PATHS.values(), "/v1/messages/count_tokens", "/v1/completions", "/v1/embeddings", "/v1/responses/compact",
          "/v1/responses/input_tokens", "/v1/conversations")  # fmt: skip
PLAN = [
    *((kind, "zstd", size) for kind in KINDS for size in SIZES),
    *(("numbers", coding, size) for coding in CODINGS for size in SIZES),
    *(("blanks before it", coding, SIZES[0]) for coding in CODINGS),
]


@pytest.fixture(scope="module")
def gateway(lasting_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("bombs")
    with Attacked(folder, lasting_upstream.url, max_attempts=1, client_timeout=30) as process:
        yield process
        assert "Traceback" not in process.log.read_text()


def test_a_packed_request_costs_what_it_weighs(gateway: Attacked, upstream: FakeUpstream, figure: Figure) -> None:
    worst, maximum = (0.0, ""), (0.0, "")
    cases = PLAN if os.environ.get("HARDENING_CASES") else PLAN[::6]

    for (kind, codings, size), route in zip(cases, itertools.cycle(ROUTES), strict=False):
        body = pack(KINDS[kind](size).replace(b"MODEL", b"up/m"), codings)
        name = f"{kind}, {codings} of {len(body) >> 10} KB, {route}"
        stalls = []
        with Peak(gateway) as peak:
            for _ in range(TRIES):
                stall, status = gateway.stall_during(route, body, f"content-encoding: {header_of(codings)}")
                stalls.append(stall)
                # The upstream's answer is one of a Chat server for all.
                assert status in (200, 400, 404, 413, 415, 502), name
                if stall <= MAX_STALL:
                    break
        worst = max(worst, (min(stalls), name))
        maximum = max(maximum, (peak.maximum - peak.before, name))

    figure("worst stall by a packed request", f"{worst[0] * 1000:.0f} ms", f"{MAX_STALL * 1000:.0f} ms")
    figure("memory added by a packed request", f"{maximum[0]:.0f} MiB", f"{MAX_ADDED:.0f} MiB")
    assert worst[0] <= MAX_STALL, worst
    assert maximum[0] <= MAX_ADDED, maximum


@pytest.mark.parametrize("dialect", PATHS)
def test_what_unpacks_too_far_or_holds_too_much_is_told_in_dialect(gateway: Attacked, dialect: str) -> None:
    for kind, coding, told in (("a long text", "gzip", "unpacks to more than 8 MB"), ("turns", "zstd", "500,000")):
        size = SIZES[0] if coding == "gzip" else SIZES[1]
        body = pack(KINDS[kind](size).replace(b"MODEL", b"up/m"), coding)

        status, answer = gateway.ask(PATHS[dialect], body, f"content-encoding: {coding}")

        assert status == 413
        assert told in error_of(answer, dialect)["message"]


def test_what_packs_badly_may_be_as_large_as_any_other(gateway: Attacked) -> None:
    import base64

    picture = base64.b64encode(os.urandom(9 * MIB)).decode()
    body = QUESTION.replace("MODEL", "up/m") + f',"pad":"{picture}"}}'

    status, _ = gateway.ask(PATHS["openai_chat"], zstandard.compress(body.encode()), "content-encoding: zstd")

    assert status == 200


REPLIES: dict[str, Callable[[bytes], bytes]] = {
    "blanks": lambda good: b" " * (60 * MIB) + good,
    "numbers": lambda good: good[:-1] + b',"pad":[' + b"1," * (30 * MIB) + b"1]}",
    "fewer numbers": lambda good: good[:-1] + b',"pad":[' + b"1," * (MIB * 3 // 2) + b"1]}",
    "objects": lambda good: good[:-1] + b',"pad":[' + b"{}," * MIB + b"{}]}",
    "a text": lambda good: good.replace(b"SAID", b"x" * (60 * MIB)),
    "halves of surrogate pairs": lambda good: good.replace(b"SAID", b"\\ud83d" * 100_000),
    "blocks": lambda good: good.replace(b'"content": [', b'"content": [' + b'{"type":"text","text":"x"},' * 30_000),
}
EVENTS: dict[str, bytes] = {
    "numbers": b'data: {"a":[' + b"1," * (MIB * 3 // 2) + b"1]}\n\n",
    "no numbers": b'data: {"a":' + b"[" * (3 * MIB) + b"\n\n",
    "lines": b"data: 1,\n" * MIB + b"\n",
    "small events": b"data: {}\n\n" * 50_000,
    "smaller events": b"data:1\n\n" * 50_000,
    "comments": b": x\n\n" * 100_000,
    "carriage returns": b"data: {}\r\r" * 50_000,
    "names": b"event: error\n\n" * 50_000,
}


@pytest.mark.parametrize("speaks", PATHS)
def test_a_packed_reply_costs_what_it_weighs(
    speaks: str, gateway: Attacked, upstream: FakeUpstream, figure: Figure
) -> None:
    good = str(ANSWERS[speaks]).replace("'", '"').replace("None", "null").encode()
    worst = (0.0, "")
    plan = [(name, make(good), "application/json") for name, make in REPLIES.items()]
    plan += [(name, made, "text/event-stream") for name, made in EVENTS.items()]
    clients = itertools.cycle(PATHS)

    for (name, plain, kind), coding in zip(plan, itertools.cycle(("gzip", "zstd", "br", "gzip, zstd")), strict=False):
        packed, client = pack(plain, coding), next(clients)
        upstream.script(raw(wire(packed, f"content-encoding: {coding}", kind=kind)))
        asked = QUESTION.replace("MODEL", f"{PROVIDERS[speaks]}/m")
        stream = "true" if kind == "text/event-stream" else "false"
        stalls = []
        for _ in range(TRIES):
            stall, status = gateway.stall_during(PATHS[client], f'{asked},"stream":{stream}}}'.encode())
            stalls.append(stall)
            assert status in (200, 502, 503, 529), (name, client)
            if stall <= MAX_STALL:
                break
        worst = max(worst, (min(stalls), f"{name}, {coding} of {len(packed) >> 10} KB, to {client}"))

    figure(f"worst stall by a packed reply of {speaks}", f"{worst[0] * 1000:.0f} ms", f"{MAX_STALL * 1000:.0f} ms")
    assert worst[0] <= MAX_STALL, worst


@pytest.mark.parametrize("client", PATHS)
def test_a_reply_that_unpacks_too_far_is_a_502(client: str, gateway: Attacked, upstream: FakeUpstream) -> None:
    upstream.script(raw(wire(gzip.compress(b" " * (60 * MIB)), "content-encoding: gzip")))

    status, answer = gateway.ask(PATHS[client], QUESTION.replace("MODEL", "up/m").encode() + b"}")

    assert status == 502
    assert "unpacks to more than 4 MiB" in error_of(answer, client)["message"]


SKIPPED = b"\x50\x2a\x4d\x18" + bytes(4)
# Parts of a body with nothing, or next to nothing, in them, each in its coding.
CROWDS = {
    "skipped frames": ("zstd", SKIPPED),
    "empty frames": ("zstd", zstandard.compress(b"")),
    "empty members": ("gzip", gzip.compress(b"")),
    "empty blocks of zlib": ("deflate", zlib.compress(b"")),
    "members of a blank": ("gzip", gzip.compress(b" ")),
    "frames of a blank": ("zstd", zstandard.compress(b" ")),
}


@pytest.mark.parametrize("name", CROWDS)
def test_a_crowd_of_empty_parts_is_refused_and_parts_with_content_are_not(
    name: str, gateway: Attacked, upstream: FakeUpstream
) -> None:
    coding, empty = CROWDS[name]
    body = QUESTION.replace("MODEL", "up/m").encode() + b"}"
    coded = pack(body, coding)

    status, answer = gateway.ask(PATHS["openai_chat"], empty * 20_000 + coded, f"content-encoding: {coding}")
    assert (status, "too many parts" in error_of(answer, "openai_chat")["message"]) == (400, True)
    upstream.script(raw(wire(empty * 20_000 + coded, f"content-encoding: {coding}")))
    status, answer = gateway.ask(PATHS["openai_chat"], body)
    assert (status, "too many parts" in error_of(answer, "openai_chat")["message"]) == (502, True)

    events = [
        b'data: {"choices":[{"index":0,"delta":{"content":"%d"},"finish_reason":null}]}\n\n' % n for n in range(5000)
    ]
    decoder = content_decoder([coding])
    assert decoder is not None
    packed = b"".join(pack(event, coding) for event in events)
    assert b"".join(decoder.decode(packed)) == b"".join(events)


def test_values_are_counted_outside_of_texts() -> None:
    text = b'{"a":"' + b'a, \\" b,' * SMALL + b'"}'
    many = b"[" + b'"a,b",' * MAX_VALUES + b'"a"]'
    late = b" " * SMALL + b"1," * MAX_VALUES

    assert len(many) > SMALL
    assert [has_too_many_values(each) for each in (text, many, late, b"[" + b"1," * (SMALL // 2 - 1))] == [False] * 4
    assert has_too_many_values(many + b",")
    assert has_too_many_values(late + b"1,")


def test_halves_of_surrogate_pairs_are_replaced_in_their_places() -> None:
    text = rb'{"a":"\ud83d\ude00 \ud83d x \\ud83d \ude00","b":"\uDBFF"}'

    assert repair_surrogates(text) == rb'{"a":"\ud83d\ude00 \ufffd x \\ud83d \ufffd","b":"\ufffd"}'
    assert repair_surrogates(b"{}") == b"{}"


def test_chunked_and_packed_is_the_same(gateway: Attacked, upstream: FakeUpstream) -> None:
    packed = gzip.compress(b" " * (60 * MIB))
    lines = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (packed[:1000], packed[1000:])]
    upstream.script(
        raw(chunked(*lines).replace(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n"))
    )

    status, _ = gateway.ask(PATHS["openai_chat"], QUESTION.replace("MODEL", "up/m").encode() + b"}")

    assert status == 502
