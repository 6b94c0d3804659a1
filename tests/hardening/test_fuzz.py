"""Whatever bytes arrive, each reader answers with one of our errors or not at all.

HARDENING_CASES says how many inputs are tried in all: a few by default, 100,000 in `make hardening`. Inputs begin with
the recorded ones of tests/wire and are spoiled in many places at once: values, names, nesting, bytes.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.conversation.capabilities import Capabilities
from app.conversation.tokens.document_pages import count_pages
from app.conversation.tokens.image_sizes import image_size
from app.dialects import openai_chat, openai_completions
from app.dialects.error_bodies import read_error_body
from app.dialects.openai_responses.state.conversation import read_items, read_metadata
from app.errors import DragomanError, Failure, UpstreamRefused
from app.gateway.failures.policy import cool_down, wait_before_retry
from app.gateway.failures.repairs.own_words import own_words
from app.gateway.failures.repairs.repair import find_repair
from app.gateway.replies.translation import StreamCollector, StreamTranslation
from app.known_secrets import known_secrets
from app.logs import clean_line
from app.routing.mounts import strip_mount
from app.sse import SseDecoder
from tests.laws.cases import CONTEXT, DIALECTS, WIRE

Figure = Callable[[str, object, object], None]
Target = Callable[[bytes], object]

CASES = int(os.environ.get("HARDENING_CASES", "600"))
ODD: list[Any] = [
    None, True, False, 0, -1, 1.5, -0.0, 10**20, 10**400, 1e308, "", "x", "\ud83d", "\x00", "\u2028", "gw1.x", "data:,",
    "http://[", [], {}, [None], [[]], [{}], {"": ""}, {"type": "x"}, {"type": None}, {"type": []}, "x" * 5000,
    {"$ref": "#"}, {"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}},
]  # fmt: skip
ODD_BYTES = [b"", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b'"', b"\\", b"\\ud800", b"{",
             b"}", b"[" * 2000, b"]", b'{"a":' * 1500, b":", b",", b"data: ", b"event: x\n", b"data: [DONE]\n\n",
             b"null", b"9" * 5000, b"1e999", b"-", b"<html>", b"\x1b[31m"]  # fmt: skip


def spoil(value: Any, places: list[tuple[int, Any]]) -> Any:
    """JSON with some of its values, chosen by number, replaced, doubled or taken away."""
    for number, odd in places:
        spots: list[tuple[Any, Any]] = []
        pending = [value]
        while pending:
            here = pending.pop()
            if isinstance(here, dict | list):
                spots += [(here, key) for key in (here if isinstance(here, dict) else range(len(here)))]
                pending += here.values() if isinstance(here, dict) else here
        if not spots:
            return odd
        holder, key = spots[number % len(spots)]
        kind = number // 7 % 4
        if kind == 0 and isinstance(holder, dict):
            holder[str(odd)[:40]] = holder.pop(key)
        elif kind == 1:
            del holder[key]
        elif kind == 2 and isinstance(holder, list):
            holder.append(json.loads(json.dumps(holder[key])))
        else:
            holder[key] = json.loads(json.dumps(odd)) if isinstance(odd, dict | list) else odd
    return value


def spoil_bytes(data: bytes, cuts: list[tuple[int, bytes, int]]) -> bytes:
    for number, odd, length in cuts:
        place = number % (len(data) + 1)
        data = data[:place] + odd + data[place + length :]
    return data


NUMBERS = st.integers(0, 2**20)
PLACES = st.lists(st.tuples(NUMBERS, st.sampled_from(ODD)), max_size=4)
CUTS = st.lists(st.tuples(NUMBERS, st.sampled_from(ODD_BYTES) | st.binary(max_size=12), st.integers(0, 40)), max_size=3)


def seeds(dialect: ModuleType, kind: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((WIRE / dialect.NAME / kind).glob("*.*"))]


def spoil_seed(seed: bytes, places: list[tuple[int, Any]], cuts: list[tuple[int, bytes, int]]) -> bytes:
    """A recorded body, or a recorded stream with one of its events, with faults in it."""
    if seed[:1] in b"{[":
        return spoil_bytes(json.dumps(spoil(json.loads(seed), places)).encode(), cuts)
    events = seed.split(b"\n\n")
    number = places[0][0] % len(events) if places else 0
    head, mark, payload = events[number].partition(b"data: ")
    if mark and payload[:1] == b"{" and b"\n" not in payload and b"\r" not in payload:
        events[number] = head + mark + json.dumps(spoil(json.loads(payload), places)).encode()
    return spoil_bytes(b"\n\n".join(events), cuts)


def in_pieces(data: bytes) -> list[bytes]:
    size = 1 + len(data) % 97
    return [data[start : start + size] for start in range(0, len(data), size)]


def read_request(dialect: ModuleType) -> Target:
    def read(body: bytes) -> None:
        request = dialect.parse_request(body, {"anthropic-beta": "x", "anthropic-version": "y"})
        for other in DIALECTS:
            other.render_request(request, Capabilities(dialect=other.NAME))
        passed = dialect.pass_request(body, Capabilities(dialect=dialect.NAME))
        assert passed is None or json.loads(passed)

    return read


def read_response(dialect: ModuleType) -> Target:
    def read(body: bytes) -> None:
        with contextlib.suppress(DragomanError):
            dialect.pass_response(body, CONTEXT, Capabilities(dialect=dialect.NAME))
        response = dialect.parse_response(body)
        for other in DIALECTS:
            json.loads(other.render_response(response, CONTEXT))

    return read


def read_stream(dialect: ModuleType) -> Target:
    def read(stream: bytes) -> None:
        for client in DIALECTS:
            machine = StreamTranslation(dialect.StreamParser(), client, (), CONTEXT)
            try:
                said = b"".join([*map(machine.feed, in_pieces(stream)), machine.close()])
                assert said.decode() is not None, "what is translated is UTF-8, whatever came"
            except DragomanError:
                pass
        passing = dialect.StreamPassthrough(CONTEXT, Capabilities(dialect=dialect.NAME))
        try:
            for piece in in_pieces(stream):
                passing.feed(piece)
            passing.close()
        except DragomanError as error:
            passing.fail(error.failure)
        collector = StreamCollector(dialect.StreamParser(), CONTEXT)
        collector.feed(stream)
        collector.close()

    return read


def read_error(dialect: ModuleType) -> Target:
    def read(body: bytes) -> None:
        for status in (400, 401, 404, 413, 429, 500, 529, 599):
            failure = dialect.parse_error(status, {"retry-after": "x"}, body)
            for other in DIALECTS:
                json.loads(other.render_error(failure, "id"))
                assert 400 <= other.error_status(failure) < 600

    return read


def judge(body: bytes) -> None:
    failure = openai_chat.parse_error(400, {}, body)
    find_repair(failure, Capabilities(dialect="openai_chat"), body)
    own_words(failure.message, body)
    headers = {"retry-after": body[:40].decode("latin-1"), "retry-after-ms": body[40:50].decode("latin-1")}
    error = UpstreamRefused(Failure(kind="rate_limit", message="x", status=429), headers)
    wait_before_retry(error, 1)
    cool_down(error)


def decode_events(stream: bytes) -> None:
    whole, pieced = SseDecoder(), SseDecoder()
    together = [*whole.feed(stream), *whole.close()]
    apart = [data for piece in in_pieces(stream) for data in pieced.feed(piece)]
    assert together == [*apart, *pieced.close()]


def read_words(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    assert "\n" not in clean_line(text)
    known_secrets.mask_bytes(data)
    read_error_body(500, {"opc-request-id": text[:99]}, data)
    strip_mount("/" + text[:300], {"up": "openai", "chat": "openai"})
    image_size(base64.b64encode(data).decode())
    count_pages(base64.b64encode(data).decode())


ERROR = b'{"error":{"message":"a","type":"b","code":1}}'
ALL = [seed for dialect in DIALECTS for kind in ("requests", "responses", "streams") for seed in seeds(dialect, kind)]
TARGETS: dict[str, tuple[Target, list[bytes]]] = {
    **{f"{d.NAME} request": (read_request(d), seeds(d, "requests")) for d in DIALECTS},
    **{f"{d.NAME} response": (read_response(d), seeds(d, "responses")) for d in DIALECTS},
    **{f"{d.NAME} stream": (read_stream(d), seeds(d, "streams")) for d in DIALECTS},
    **{f"{d.NAME} error": (read_error(d), [ERROR, *ALL[:20]]) for d in DIALECTS},
    "completions request": (
        lambda body: openai_completions.parse_request(body, {}), [b'{"model":"m","prompt":["a","b"],"logprobs":1}']
    ),
    "judgement of errors": (judge, [b'{"error":{"message":"Unsupported parameter: \'max_tokens\'","code":"x"}}', *ALL]),
    "events": (decode_events, [seed for seed in ALL if seed[:1] not in b"{["]),
    "words": (read_words, ALL),
    "items": (read_items, [b'{"items":[{"type":"message","role":"user","content":"a"}]}']),
    "metadata": (read_metadata, [b'{"metadata":{"a":"b"}}']),
}  # fmt: skip


# What such runs have found, and what it became.
END = b'data: {"type":"response.completed","response":{"id":"r","status":"completed","output":[%b]}}\n\n'
CHAT = b'{"object":"chat.completion","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant",%b}}]}'
ASKED = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}],%b}'
BEGUN = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","role":"assistant","content":[],'
    b'"usage":{"input_tokens":1,"output_tokens":1}}}\n\ndata: %b\n\ndata: {"type":"content_block_stop","index":7}\n\n'
)
# Names that look like places within a known field.
DOTTED = [b"stream.x", b"model.a.b", b"messages.x", b"input.x", b"tools.", b"max_tokens..", b".model", b".",
          b"metadata.x", b"thinking.", b"thinking.x.y", b"reasoning.", b"output_config.format", b"system.0",
          b"include.x"]  # fmt: skip
FOUND = [
    ("openai_responses stream", END % b'{"id":"x","typ\xd3\xce":"y"}'),
    ("openai_responses stream", END % b'{"type":["x"],"content":[{"type":{}}],"summary":[1,null]}'),
    ("openai_responses stream", END % b'{"type":"function_call","arguments":[1]},{"content":[{"type":"refusal"}]},7'),
    ("openai_responses response", b'{"object":"response","\\ud83d":1,"output":[{"type":"reasoning","id":"r"}]}'),
    ("openai_responses response", b'{"object":"response","output":[{"type":["message"],"content":"output_text"}]}'),
    ("openai_responses response", b'{"object":"response","output":[{"type":"message","content":["output_text",1]}]}'),
    ("openai_chat stream", b'data: {"choices":[{"index":0,"delta":{"content":"\xd3","x":{"\xd3":1}}}]}\n\n'),
    ("anthropic_messages stream", b'data: {"type":"content_block_start","content_block":{"type":"\xd3"}}\n\n'),
    ("openai_chat response", CHAT % b'"content":"a","annotations":["x",1,null,{}]'),
    ("openai_chat response", CHAT % b'"content":"a"},"logprobs":{"content":[3,"x",{}]},"x":{"y":1'),
    ("openai_chat response", b'{"object":"x","[]":1741e9999952}'),
    ("openai_chat response", CHAT % b'"content":"a","x":1e9999'),
    ("openai_chat stream", b'data: {"object":"x","[]":1741e9999952}\n\n'),
    ("openai_chat stream", b'data: {"choices":[{"index":0,"delta":{"content":"a"},"x":1e9999}]}\n\n'),
    ("openai_chat stream", b'data: {"choices":[{"delta":{"content":"a","annotations":[1,"x",{}]}}]}\n\n'),
    ("anthropic_messages stream", BEGUN % b'{"type":"content_block_start","index":0,"block":{}}'),
    ("anthropic_messages stream", BEGUN % b'{"type":"content_block_start","index":0,"content_block":{"type":[]}}'),
    ("anthropic_messages stream", BEGUN % b'{"type":"content_block_start","index":0,"content_block":false}'),
    (
        "anthropic_messages stream",
        BEGUN % b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"","id":[]}}',
    ),
    ("anthropic_messages stream", BEGUN % (b'{"type":"content_block_stop","index":' + b"[" * 3000)),
    *(
        (
            "anthropic_messages stream",
            BEGUN % b'{"type":"content_block_delta","index":%b,"delta":{"text":"\\ud83d"}}' % odd,
        )
        for odd in (b"[]", b'"x"', b"null", b"{}", b"1.5")
    ),
    ("anthropic_messages stream", BEGUN % b'{"type":[],"index":0,"delta":{"text":"\\ud83d"}}'),
    ("anthropic_messages request", ASKED % b'"thinking":{"type":"enabled","":8000}'),
    *(("anthropic_messages request", ASKED % b'"%b":1,"stream":true' % name) for name in DOTTED),
    *(("openai_responses request", b'{"model":"m","input":"a","tools":[],"%b":1}' % name) for name in DOTTED),
    *(("anthropic_messages request", ASKED % b'"tools":[{"type":%b}]' % odd) for odd in (b"[]", b"{}", b"7")),
]


# What a client may have sent that an upstream refuses, and how.
ODD_SENT = [
    b'{"model":"m","zz":1e999}', b'{"model":"m","x":"\xff\x9f","zz":1}',
    b'{"model":"m","max_tokens":' + b"9" * 6000 + b"}",
    b'{"model":"m","zz":' + b"[" * 900 + b"]" * 900 + b"}", b'{"model":"m","tools":[{"\x93":1}],"zz":"\\ud800"}',
    b'{"model":"m","tools":{},"messages":5,"zz":1}', b'{"model":"m","tools":[[]],"messages":[[]],"stop":{}}',
    b'{"model":"m","tools":[1e999],"response_format":{"type":"json_schema","x":1e999}}',
]  # fmt: skip
SAID = ["Unknown parameter: 'zz'", "zz: Extra inputs are not permitted",
        "Unsupported value: 'tools[0].function.parameters'", "max_tokens must be at most 4096",
        "tools: too many tools, at most 5", "Invalid schema for response_format",
        "at most 4 stop sequences", "messages must not be empty", "tool use is not supported", "x\ud800y"]  # fmt: skip


@pytest.mark.parametrize("sent", ODD_SENT, ids=lambda sent: repr(sent[:30]))
def test_no_complaint_about_an_odd_request_is_a_fault_of_ours(sent: bytes) -> None:
    for said in SAID:
        for status in (400, 422):
            for param in (None, "zz", "tools", "max_tokens"):
                failure = Failure(kind="invalid_request", message=said, status=status, param=param)
                for dialect in DIALECTS:
                    capabilities = Capabilities(dialect=dialect.NAME)
                    repair = find_repair(failure, capabilities, sent)
                    assert repair is None or repair.change(capabilities) != capabilities
                own_words(failure.message, sent)


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_is_found_no_more(name: str, data: bytes) -> None:
    with contextlib.suppress(DragomanError):
        TARGETS[name][0](data)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.NAME)
@pytest.mark.parametrize("odd", [b"\x84", b"\xed\xa0\x80", b"\xc0\xaf", b"\xe2\x82"])
def test_what_is_no_utf_8_reaches_no_client(dialect: ModuleType, odd: bytes) -> None:
    for seed in seeds(dialect, "responses"):
        for place in [found.end() for found in re.finditer(rb'"[a-z]', seed)][:80]:
            body = seed[:place] + odd + seed[place:]
            with contextlib.suppress(DragomanError):
                dialect.pass_response(body, CONTEXT, Capabilities(dialect=dialect.NAME))[0].decode()
            with contextlib.suppress(DragomanError):
                response = dialect.parse_response(body)
                for other in DIALECTS:
                    other.render_response(response, CONTEXT).decode()


@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_takes_any_bytes_or_refuses_them(name: str, figure: Figure) -> None:
    target, recorded = TARGETS[name]
    tried = 0

    @settings(
        max_examples=max(20, CASES // len(TARGETS)),
        deadline=None,
        database=None,
        derandomize=CASES < 10_000,
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.sampled_from(recorded), places=PLACES, cuts=CUTS)
    def try_one(seed: bytes, places: list[tuple[int, Any]], cuts: list[tuple[int, bytes, int]]) -> None:
        nonlocal tried
        tried += 1
        with contextlib.suppress(DragomanError):
            target(spoil_seed(seed, places, cuts))

    try_one()

    figure(f"spoiled inputs: {name}", f"{tried} tried", "no foreign exception")
