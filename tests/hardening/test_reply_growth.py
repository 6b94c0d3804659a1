"""Twice the reply takes twice the time, whole or as a stream, whatever it is made of and whoever asked for it."""

# ruff: noqa: E501

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from app.conversation.capabilities import Capabilities
from app.dialects.openai_chat import StreamPassthrough
from app.errors import DragomanError
from app.gateway.replies.pieces import in_pieces
from app.gateway.replies.translation import StreamCollector, StreamTranslation, stream_whole
from app.sse import encode_event
from tests.hardening.test_time import ALLOWED, growth
from tests.hardening.upstreams import ANSWERS
from tests.laws.cases import CONTEXT, DIALECTS

Figure = Callable[[str, object, object], None]
Maker = Callable[[int], bytes]

LONGEST = 128 * 1024
TEXTS = (
    "x",
    "\\u00e9",
    "\\ud83d\\ude00",
    "\\n",
    "<think>",
    "</think>",
    '{\\"a\\":',
    "<tool_call>",
    "```json",
    "\\ud83d",
)


def filled(pattern: Any, mark: str = "FILL") -> Callable[[str, str], Maker]:
    """JSON with a text, or a list, that is as long as wanted."""
    text = json.dumps(pattern)

    def repeat(piece: str, between: str = "") -> Maker:
        def make(length: int) -> bytes:
            count = max(1, length // len(piece + between))
            filling = between.join([piece] * count)
            return text.replace(f'"{mark}"', filling if between else f'"{filling}"').encode()

        return make

    return repeat


def changed(dialect: str, **changes: Any) -> dict[str, Any]:
    return {**ANSWERS[dialect], **changes}


def message(**parts: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": "a", **parts}
    return changed("openai_chat", choices=[{"index": 0, "finish_reason": "stop", "message": said}])


CALL_CHAT = '{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}'
CALL_RESPONSES = '{"type":"function_call","id":"i","call_id":"c","name":"f","arguments":"{}","status":"completed"}'
ITEM = '{"type":"message","id":"i","status":"completed","role":"assistant","content":[{"type":"output_text","text":"x","annotations":[]}]}'

WHOLE: dict[str, dict[str, Maker]] = {
    "openai_chat": {
        **{f"text of {text}": filled(message(content="FILL"))(text, "") for text in TEXTS},
        **{f"thought of {text}": filled(message(reasoning_content="FILL"))(text, "") for text in TEXTS},
        "parts": filled(message(content=["FILL"]))('{"type":"text","text":"x"}', ","),
        "parts without a type": filled(message(content=["FILL"]))('{"text":"x"}', ","),
        "calls": filled(message(tool_calls=["FILL"]))(CALL_CHAT, ","),
        "choices": filled(changed("openai_chat", choices=["FILL"]))(
            '{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}', ","),
        "details": filled(message(reasoning_details=["FILL"]))('{"type":"reasoning.text","text":"x","index":0}', ","),
        "annotations": filled(message(annotations=["FILL"]))(
            '{"type":"url_citation","url_citation":{"url":"https://e.test","title":"t","start_index":0,"end_index":1}}', ","),
        "pieces of a call": filled(message(tool_calls=[{"id": "c", "type": "function", "function": {
            "name": "f", "arguments": "{"}}, "FILL"]))('{"function":{"arguments":"' + "x" * 80 + '"}}', ","),
        "arguments": filled(message(tool_calls=[{"id": "c", "type": "function",
                                                 "function": {"name": "f", "arguments": "FILL"}}]))("{", ""),
        "arguments of strings without an end": filled(message(tool_calls=[{"id": "c", "type": "function",
                                                 "function": {"name": "f", "arguments": "FILL"}}]))('\\\\\\"', ""),
    },
    "anthropic_messages": {
        **{f"text of {text}": filled(changed("anthropic_messages", content=[{"type": "text", "text": "FILL"}]))(text, "")
           for text in TEXTS},
        "blocks": filled(changed("anthropic_messages", content=["FILL"]))('{"type":"text","text":"x"}', ","),
        "calls": filled(changed("anthropic_messages", content=["FILL"], stop_reason="tool_use"))(
            '{"type":"tool_use","id":"t","name":"f","input":{}}', ","),
        "thoughts": filled(changed("anthropic_messages", content=["FILL"]))(
            '{"type":"thinking","thinking":"x","signature":"s"}', ","),
        "blocks without a type": filled(changed("anthropic_messages", content=["FILL"]))('{"text":"x"}', ","),
        "unknown blocks": filled(changed("anthropic_messages", content=["FILL"]))('{"type":"odd","x":1}', ","),
        "citations": filled(changed("anthropic_messages", content=[{"type": "text", "text": "x", "citations": ["FILL"]}]))(
            '{"type":"char_location","cited_text":"x","document_index":0,"start_char_index":0,"end_char_index":1}', ","),
    },
    "openai_responses": {
        "items": filled(changed("openai_responses", output=["FILL"]))(ITEM, ","),
        "calls": filled(changed("openai_responses", output=["FILL"]))(CALL_RESPONSES, ","),
        "thoughts": filled(changed("openai_responses", output=["FILL"]))(
            '{"type":"reasoning","id":"r","summary":[{"type":"summary_text","text":"x"}]}', ","),
        "unknown items": filled(changed("openai_responses", output=["FILL"]))('{"type":"odd","id":"x"}', ","),
        "parts": filled(changed("openai_responses", output=[{**json.loads(ITEM), "content": ["FILL"]}]))(
            '{"type":"output_text","text":"x","annotations":[]}', ","),
    },
}  # fmt: skip


def event(**fields: Any) -> bytes:
    return f"data: {json.dumps(fields)}\n\n".encode()


def named(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\n".encode() + event(type=kind, **fields)


def chunk(**delta: Any) -> bytes:
    return event(id="c", object="chat.completion.chunk", created=1, model="m",
                 choices=[{"index": 0, "delta": delta, "finish_reason": None}])  # fmt: skip


def piece(arguments: str, index: int = 0, **more: Any) -> bytes:
    return chunk(tool_calls=[{"index": index, "function": {"arguments": arguments}, **more}])


NAMED = piece('{"a":"', id="c", type="function").replace(b'"arguments"', b'"name": "f", "arguments"')
# A dictionary takes all multiples of this number to the same place.
COLLIDING = sys.hash_info.modulus


def named_piece(arguments: str, **more: Any) -> bytes:
    return chunk(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": arguments}, **more}])


def numbered(make: Callable[[int], bytes]) -> Maker:
    """Events of which each has a number of its own."""

    def fill(length: int) -> bytes:
        return b"".join(make(number) for number in range(max(1, length // len(make(1000)))))

    return fill


def repeated(*beginning: bytes, each: bytes) -> Maker:
    return lambda length: b"".join([*beginning, each * max(1, length // len(each))])


def in_halves(*beginning: bytes, first: bytes, then: bytes) -> Maker:
    return lambda length: b"".join(
        [*beginning, first * max(1, length // 2 // len(first)), then * max(1, length // 2 // len(then))]
    )


START = named("message_start", message={**ANSWERS["anthropic_messages"], "content": [], "stop_reason": None})
OPEN = named("content_block_start", index=0, content_block={"type": "text", "text": ""})
OPEN_CALL = named("content_block_start", index=0,
                  content_block={"type": "tool_use", "id": "t", "name": "f", "input": {}})  # fmt: skip
CREATED = named("response.created", sequence_number=0, response={**ANSWERS["openai_responses"], "output": []})
ADDED = named("response.output_item.added", output_index=0, item={**json.loads(ITEM), "content": []})
ADDED_CALL = named("response.output_item.added", output_index=0, item={**json.loads(CALL_RESPONSES), "arguments": ""})
PART = named("response.content_part.added", item_id="i", output_index=0, content_index=0,
             part={"type": "output_text", "text": "", "annotations": []})  # fmt: skip
WORD = named("response.output_text.delta", item_id="i", output_index=0, content_index=0, delta="x")


def text_done(**fields: Any) -> bytes:
    return named("response.output_text.done", item_id="i", output_index=0, **fields)


def block(number: int) -> bytes:
    return (
        named("content_block_start", index=number, content_block={"type": "text", "text": ""})
        + named("content_block_delta", index=number, delta={"type": "text_delta", "text": "x"})
        + named("content_block_stop", index=number)
    )


def item(number: int) -> bytes:
    made = {**json.loads(ITEM), "id": f"i{number}"}
    added = named("response.output_item.added", output_index=number, item={**made, "content": []})
    return added + named("response.output_item.done", output_index=number, item=made)


def two_words(number: int) -> bytes:
    place = {"output_index": number, "content_index": 0}
    return b"".join(named("response.output_text.delta", **place, delta=word) for word in ("The", " sky"))


def item_done(number: int) -> bytes:
    return named("response.output_item.done", output_index=number, item={**json.loads(ITEM), "id": f"i{number}"})


STREAMS: dict[str, dict[str, Maker]] = {
    "openai_chat": {
        "words": repeated(each=chunk(content="x")),
        "tags": repeated(each=chunk(content="<think>")),
        "calls as text": repeated(each=chunk(content='<tool_call>{"name":')),
        "thoughts": repeated(each=chunk(reasoning_content="x")),
        "arguments": repeated(piece("", id="c", type="function"), each=piece("x")),
        "braces": repeated(piece("", id="c", type="function"), each=piece("{")),
        "calls": numbered(lambda n: piece("{}", n, id=f"c{n}", type="function")),
        "calls of one place": numbered(lambda n: piece("{}", 0, id=f"c{n}", type="function")),
        "names": repeated(each=named_piece("{")),
        "names and ids": numbered(lambda n: named_piece("{" if n == 0 else "x", id=f"c{n}")),
        "names and ids of nothing": numbered(lambda n: named_piece("{" if n == 0 else "", id=f"c{n}")),
        "events in one": repeated(b"data: ", each=chunk(content="x")[len(b"data: ") : -2]),
        "prefixes": repeated(each=b"data: "),
        "empty chunks": repeated(each=event(id="c", choices=[])),
        "counts": repeated(each=event(id="c", choices=[], usage={"prompt_tokens": 1, "completion_tokens": 1})),
        "ends": repeated(each=event(id="c", choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])),
        "choices": numbered(lambda n: event(id="c", choices=[{"index": n, "delta": {"content": "x"}}])),
        "arguments under numbers of their own": numbered(lambda n: piece("x", n) if n else NAMED),
        "arguments with the name each": repeated(NAMED, each=chunk(
            tool_calls=[{"index": 0, "function": {"name": "f", "arguments": "{"}}])),
        "choices whose numbers collide": numbered(lambda n: event(
            id="c", choices=[{"index": n * COLLIDING, "delta": {"content": "x"}, "finish_reason": "stop"}])),
        "nothing": repeated(each=b"data: {}\n\n"),
        "comments": repeated(each=b": x\n\n"),
    },
    "anthropic_messages": {
        "words": repeated(START, OPEN, each=named("content_block_delta", index=0, delta={"type": "text_delta", "text": "x"})),
        "blocks": numbered(lambda n: (START if n == 0 else b"") + block(n)),
        "blocks whose numbers collide": numbered(lambda n: (START if n == 0 else b"") + named(
            "content_block_start", index=n * COLLIDING, content_block={"type": "text", "text": ""})),
        "blocks of one number": repeated(START, each=block(0)),
        "starts": repeated(each=START),
        "open blocks": repeated(START, each=OPEN),
        "pings": repeated(START, each=named("ping")),
        "unknown events": repeated(START, each=named("odd", x=1)),
        "ends": repeated(START, each=named("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1})),
        "arguments in a fence": repeated(START, OPEN_CALL, each=named(
            "content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": "`"})),
        "deltas of no block": repeated(START, each=named("content_block_delta", index=7, delta={"type": "text_delta", "text": "x"})),
    },
    "openai_responses": {
        "words": repeated(CREATED, ADDED, each=WORD),
        "ends of a text": repeated(CREATED, ADDED, PART, WORD, each=text_done(content_index=0, text="x")),
        "ends of another text": in_halves(CREATED, ADDED, PART, first=WORD, then=text_done(content_index=7, text="x")),
        "ends without a text": in_halves(CREATED, ADDED, PART, first=WORD, then=text_done(content_index=0)),
        "wrong ends": in_halves(CREATED, ADDED, PART, first=WORD, then=text_done(content_index=0, text="y")),
        "items": numbered(lambda n: (CREATED if n == 0 else b"") + item(n)),
        "items whose numbers collide": numbered(lambda n: (CREATED if n == 0 else b"") + item(n * COLLIDING)),
        "items of one number": repeated(CREATED, each=item(0)),
        "starts": repeated(each=CREATED),
        "added": repeated(CREATED, each=ADDED),
        "unknown events": repeated(CREATED, each=named("response.odd", x=1)),
        "texts that end in turn": lambda length: b"".join(
            [*map(two_words, range(length // 600)), *map(item_done, range(length // 600))]),
        "arguments in a fence": repeated(CREATED, ADDED_CALL, each=named(
            "response.function_call_arguments.delta", item_id="i", output_index=0, delta="`")),
        "calls that were not announced": numbered(lambda n: named("response.output_item.done", output_index=n, item={
            **json.loads(CALL_RESPONSES), "id": f"i{n}", "call_id": f"c{n}"})),
        "parts": numbered(lambda n: (CREATED + ADDED if n == 0 else b"") + named(
            "response.content_part.added", item_id="i", output_index=0, content_index=n,
            part={"type": "output_text", "text": "", "annotations": []})),
    },
}  # fmt: skip


def read_whole(speaks: ModuleType) -> Iterator[tuple[str, Callable[[bytes], object]]]:
    yield "passed", lambda body: speaks.pass_response(body, CONTEXT, Capabilities(dialect=speaks.NAME))
    for client in DIALECTS:
        yield f"for {client.NAME}", lambda body, c=client: c.render_response(speaks.parse_response(body), CONTEXT)
        yield (
            f"as a stream for {client.NAME}",
            lambda body, c=client: stream_whole(speaks.parse_response(body), c, CONTEXT),
        )


def feed(machine: Any, stream: bytes) -> None:
    for start in range(0, len(stream), 1500):
        for piece in in_pieces(stream[start : start + 1500]):
            machine.feed(piece)
    machine.close()


def read_stream(speaks: ModuleType) -> Iterator[tuple[str, Callable[[bytes], object]]]:
    yield "passing", lambda stream: feed(speaks.StreamPassthrough(CONTEXT, Capabilities(dialect=speaks.NAME)), stream)
    yield "collected", lambda stream: feed(StreamCollector(speaks.StreamParser(), CONTEXT), stream)
    for client in DIALECTS:
        yield (
            f"for {client.NAME}",
            lambda stream, c=client: feed(StreamTranslation(speaks.StreamParser(), c, (), CONTEXT), stream),
        )


def quietly(work: Callable[[bytes], object]) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        with contextlib.suppress(DragomanError, ValueError):
            work(data)

    return read


@pytest.mark.parametrize("kind", ["whole", "streamed"])
@pytest.mark.parametrize("speaks", DIALECTS, ids=lambda dialect: dialect.NAME)
def test_twice_the_reply_takes_twice_the_time(speaks: ModuleType, kind: str, figure: Figure) -> None:
    readers = [*(read_whole(speaks) if kind == "whole" else read_stream(speaks))]
    makers = (WHOLE if kind == "whole" else STREAMS)[speaks.NAME]
    worst = (1.0, "")

    cases = [(name, make, reader, work) for name, make in makers.items() for reader, work in readers]
    for name, make, reader, work in cases if os.environ.get("HARDENING_CASES") else cases[::5]:
        # A busy machine may make one step of the length dear; what grows faster does so each time.
        ratio = next((each for _ in range(3) if (each := growth(quietly(work), make, LONGEST)) <= ALLOWED), 9.0)
        worst = max(worst, (ratio, f"{name}, {reader}"))

    figure(f"growth of replies of {speaks.NAME}, {kind}", f"{worst[0]:.2f} x", f"{ALLOWED} x")
    assert worst[0] <= ALLOWED, worst


# Events of a few bytes that are no part of an answer, so that each is asked whether it is an error.
TINY = ("{}", '{"a":1}', '{"id":"x","object":"y"}', '{"choices":[]}', "[]", "[{}]", '""', '{"message":""}', '{"code":0}',
        '{"usage":{}}', '{"data":{}}', '{"type":1}', '{"status":0}', '{"detail":""}', '{"error":null}', '{"err":0}',
        '{"result":{}}', '{"success":true}', '{"errors":[]}', '{"header":{}}', '{"base_resp":{}}', "", " ")  # fmt: skip
READ = 64 * 1024
MAX_PER_READ = 0.1


@pytest.mark.parametrize("between", ["data: {}\n\n", "data:{}\n\n", "event: e\ndata: {}\n\n", "data: {}\r\n\r\n"])
def test_no_read_of_tiny_events_takes_long(between: str, figure: Figure) -> None:
    first = encode_event(json.dumps({"id": "a", "choices": [{"index": 0, "delta": {"content": "a"}}]}).encode())
    worst = (0.0, "")
    for payload in TINY:
        event = between.replace("{}", payload).encode()
        least = float("inf")
        for _ in range(8):  # what else the machine does only makes it longer
            passing = StreamPassthrough(CONTEXT, Capabilities(dialect="openai_chat"))
            passing.feed(first)
            began = time.thread_time()
            passing.feed(event * (READ // len(event)))
            least = min(least, time.thread_time() - began)
            if least <= MAX_PER_READ:
                break
        worst = max(worst, (least, payload))

    figure("CPU of 64 KB of tiny events", f"{worst[0] * 1000:.0f} ms", f"{MAX_PER_READ * 1000:.0f} ms")
    assert worst[0] <= MAX_PER_READ, worst
