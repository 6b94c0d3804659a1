"""Streams that repeat the text so far, items that nobody begins or ends, texts in unusual places, and JSON that is none.

Sources: MiniMax API documentation, "OpenAI compatible", streaming (deltas that hold all the text so far);
SaladDay/cc-switch-cli#387 (items without a beginning or an end); OpenAI SDKs (`output_text`); OpenAI API reference,
"Audio" (`transcript`).
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.pairs import CHAT_HEAD, chat_events, chat_reply, delta, whole_reply
from tests.field.vectors import Vector, misread
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

HEAD = {"id": "resp_1", "object": "response", "model": "m", "created_at": 1}
USAGE = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
CREATED = {"type": "response.created", "response": {**HEAD, "status": "in_progress", "output": []}}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant"}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "f"}
REASONING = {"id": "rs_1", "type": "reasoning", "summary": []}
IN_SUMMARY = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
TEXTS = ("Hello", "Hello, wor", "Hello, world", "Hello, world.")
ARGUMENTS = ('{"x"', '{"x": 12', '{"x": 123', '{"x": 123}')
CALLED = (("f", {"x": 123}),)


def numbered(*events: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def stream(*events: dict[str, Any], swap: bytes = b"Z") -> Reply:
    """A Responses stream; every Z is sent as `swap`."""
    encoded = [(event["type"].encode(), json.dumps(event).encode()) for event in numbered(*events)]
    return sse(*(b"event: %b\ndata: %b\n\n" % (name, data.replace(b"Z", swap)) for name, data in encoded))


def message(text: str) -> dict[str, Any]:
    return {**MESSAGE, "status": "completed", "content": [{"type": "output_text", "text": text, "annotations": []}]}


def place(index: int = 0) -> dict[str, Any]:
    return {"item_id": "msg_1", "output_index": index, "content_index": 0}


def begun(item: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": {**item, "status": "in_progress"}}


def ended(item: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def completed(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "response.completed",
        "response": {**HEAD, "status": "completed", "output": items, "usage": USAGE, **more},
    }


def spoken(index: int = 0, *texts: str) -> list[dict[str, Any]]:
    """A message without its end."""
    part = {"type": "output_text", "text": "", "annotations": []}
    deltas = [{"type": "response.output_text.delta", **place(index), "delta": text} for text in texts]
    opened = {"type": "response.content_part.added", **place(index), "part": part}
    return [begun({**MESSAGE, "content": []}, index), opened, *deltas]


def whole_end(text: str, index: int = 0) -> list[dict[str, Any]]:
    item = message(text)
    done = {"type": "response.output_text.done", **place(index), "text": text}
    return [
        done,
        {"type": "response.content_part.done", **place(index), "part": item["content"][0]},
        ended(item, index),
    ]


def called(*pieces: str) -> list[dict[str, Any]]:
    kind = "response.function_call_arguments.delta"
    deltas = [{"type": kind, "item_id": "fc_1", "output_index": 0, "delta": piece} for piece in pieces]
    return [CREATED, begun({**CALL, "arguments": ""}), *deltas]


def call_end(arguments: str) -> list[dict[str, Any]]:
    item = {**CALL, "status": "completed", "arguments": arguments}
    done = {
        "type": "response.function_call_arguments.done",
        "item_id": "fc_1",
        "output_index": 0,
        "arguments": arguments,
    }
    return [done, ended(item), completed(item)]


def bare(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "response.output_text.delta", "delta": text} for text in texts]


def summary(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": f"response.reasoning_summary_{kind}", **IN_SUMMARY, **more}


def without_part(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if not event["type"].endswith("part.added")]


WHY = {"type": "summary_text", "text": "why"}
HELLO = [*spoken(1, "hi"), *whole_end("hi", 1)]
ANSWER = json.dumps({**HEAD, "status": "completed", "output": [message("aZb")], "usage": USAGE}).encode()


def damaged(body: bytes, swap: bytes) -> Reply:
    return Reply((body.replace(b"Z", swap),), headers={"content-type": "application/json"})


def json_lines(events: list[dict[str, Any]], gap: bytes) -> Reply:
    return sse(*(json.dumps(event).encode() + gap for event in events))


PLAIN = numbered(CREATED, *spoken(0, "one ", "two"), *whole_end("one two"), completed(message("one two")))
RESPONSES = [
    Vector("texts so far", stream(CREATED, *spoken(0, *TEXTS), *whole_end(TEXTS[-1]), completed()), TEXTS[-1]),
    Vector("texts so far, without an end", stream(CREATED, *spoken(0, *TEXTS), completed()), TEXTS[-1]),
    Vector("two texts so far", stream(CREATED, *spoken(0, *TEXTS[:2]), *whole_end(TEXTS[1]), completed()), TEXTS[1]),
    Vector("the same twice", stream(CREATED, *spoken(0, "aa", "aa"), *whole_end("aaaa"), completed()), "aaaa"),
    Vector("a text that begins like the last", stream(CREATED, *spoken(0, "ha", "ha!", " ok"), completed()), "haha! ok"),
    Vector("arguments so far", stream(*called(*ARGUMENTS), *call_end(ARGUMENTS[-1])), calls=CALLED, finish="tool_calls"),
    Vector("arguments so far, without an end", stream(*called(*ARGUMENTS), completed()), calls=CALLED, finish="tool_calls"),
    Vector("an item without a beginning", stream(CREATED, *spoken(0, "one ", "two")[2:], completed()), "one two"),
    Vector("texts without an item", stream(CREATED, *bare("one ", "two"), completed()), "one two"),
    Vector("texts alone", stream(*bare("one ", "two"), completed()), "one two"),
    Vector("an item without an end", stream(CREATED, *spoken(0, "one ", "two"), completed()), "one two"),
    Vector("an item and a response without an end", stream(CREATED, *spoken(0, "hi"), completed(output=None)), "hi"),
    Vector("a thought that is only ended", stream(CREATED, begun(REASONING), summary("text.done", text="why"), ended(REASONING), *HELLO, completed()), "hi", "why"),
    Vector("a thought without deltas or end", stream(CREATED, begun(REASONING), summary("text.done", text="why"), *HELLO, completed()), "hi", "why"),
    Vector("a thought in a part", stream(CREATED, begun(REASONING), summary("part.done", part=WHY), ended(REASONING), *HELLO, completed()), "hi", "why"),
    Vector("a thought in its item", stream(CREATED, begun(REASONING), ended({**REASONING, "summary": [WHY]}), *HELLO, completed()), "hi", "why"),
    Vector("a text in a part", stream(CREATED, *spoken(), *whole_end("hi")[1:2], completed()), "hi"),
    Vector("a text whose part nobody announces", stream(CREATED, *without_part(spoken(0, "one ", "two")), *whole_end("one two"), completed(message("one two"))), "one two"),
    Vector("a text without its part and its end", stream(CREATED, *without_part(spoken(0, "one ", "two")), completed()), "one two"),
    Vector("a thought whose part nobody announces", stream(CREATED, begun(REASONING), summary("text.delta", delta="why"), summary("text.done", text="why"), ended({**REASONING, "summary": [WHY]}), *HELLO, completed()), "hi", "why"),
    Vector("an end that says more than the deltas", stream(CREATED, *spoken(0, "one ", "two"), *whole_end("one two three"), completed()), "one two three"),
    Vector("an item that says more than the deltas", stream(CREATED, *spoken(0, "one ", "two"), *whole_end("one two three")[2:], completed()), "one two three"),
    Vector("a thought that says more at its end", stream(CREATED, begun(REASONING), summary("part.added", part={**WHY, "text": ""}), summary("text.delta", delta="w"), summary("text.done", text="why"), ended({**REASONING, "summary": [WHY]}), *HELLO, completed()), "hi", "why"),
    Vector("arguments that go on at their end", stream(*called('{"x"', ": 12"), *call_end('{"x": 123}')), calls=CALLED, finish="tool_calls"),
    Vector("arguments only at their end", stream(*called(), *call_end('{"x": 123}')), calls=CALLED, finish="tool_calls"),
    Vector("arguments only in their item", stream(*called(), *call_end('{"x": 123}')[1:]), calls=CALLED, finish="tool_calls"),
    Vector("arguments only in the response", stream(*called('{"x"'), *call_end('{"x": 123}')[2:]), calls=CALLED, finish="tool_calls"),
    Vector("a text beside no items", json_reply({**HEAD, "status": "completed", "output": [], "output_text": "hi", "usage": USAGE}), "hi"),
    Vector("a text instead of items", json_reply({**HEAD, "status": "completed", "output_text": "hi", "usage": USAGE}), "hi"),
    Vector("a text at the end of a stream", stream(CREATED, completed(output_text="hi")), "hi"),
    Vector("lines of JSON", json_lines(PLAIN, b"\n"), "one two"),
    Vector("spaced lines of JSON", json_lines(PLAIN, b"\n\n"), "one two"),
    Vector("a raw NUL", damaged(ANSWER, b"\x00"), "a\x00b"),
    Vector("a raw control in a stream", stream(CREATED, *spoken(0, "aZ", "b"), completed(message("aZb")), swap=b"\x01"), "a\x01b"),
    Vector("an escape of another language", damaged(ANSWER, b"\\x41"), "aAb"),
    Vector("one in a stream", stream(CREATED, *spoken(0, "aZ", "b"), completed(message("aZb")), swap=b"\\x41"), "aAb"),
]  # fmt: skip


def chunks(*texts: str, field: str = "content") -> list[dict[str, Any]]:
    return [delta({"role": "assistant", field: text}) for text in texts]


def pieces(*arguments: str) -> list[dict[str, Any]]:
    first = {"id": "c1", "type": "function", "index": 0, "function": {"name": "f", "arguments": arguments[0]}}
    rest = [{"index": 0, "function": {"arguments": piece}} for piece in arguments[1:]]
    return [delta({"tool_calls": [fragment]}) for fragment in (first, *rest)]


def chat(*events: dict[str, Any], finish: str = "stop") -> Reply:
    return chat_events(*events, delta({}, finish), "[DONE]")


def raw_chat(swap: bytes) -> Reply:
    events = [CHAT_HEAD | event for event in (*chunks("aZ", "b"), delta({}, "stop"))]
    return sse(
        *(b"data: %b\n\n" % json.dumps(event).encode().replace(b"Z", swap) for event in events), b"data: [DONE]\n\n"
    )


def detail(text: str) -> dict[str, Any]:
    return delta({"reasoning_details": [{"type": "reasoning.text", "id": "r1", "index": 0, "text": text}]})


THOUGHTS = ("I", "I think", "I think so")
CHAT = [
    Vector("texts so far", chat(*chunks(*TEXTS)), TEXTS[-1]),
    Vector("texts so far after nothing", chat(*chunks("", *TEXTS)), TEXTS[-1]),
    Vector("texts so far, the last twice", chat(*chunks(*TEXTS, TEXTS[-1])), TEXTS[-1]),
    Vector("thoughts and texts so far", chat(*chunks(*THOUGHTS, field="reasoning_content"), *chunks(*TEXTS)), TEXTS[-1], THOUGHTS[-1]),
    Vector("thoughts so far in details", chat(*map(detail, THOUGHTS), *chunks("Yes", ".")), "Yes.", THOUGHTS[-1], but=("C",)),
    Vector("the same twice", chat(*chunks("aa", "aa")), "aaaa"),
    Vector("a text that begins like the last", chat(*chunks("ha", "ha!", " ok")), "haha! ok"),
    Vector("an end that begins like the last", chat(*chunks("ha", "ha!")), "haha!"),
    Vector("rows of one character", chat(*chunks("*", "**", "***")), "******"),
    Vector("a thought that an answer begins like", chat(*chunks("So", field="reasoning"), *chunks("So it", " is")), "So it is", "So"),
    Vector("arguments so far", chat(*pieces(*ARGUMENTS), finish="tool_calls"), calls=CALLED, finish="tool_calls"),
    Vector("messages so far", chat(*({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]} for text in TEXTS)), TEXTS[-1]),
    Vector("a spoken answer", json_reply(chat_reply({"content": None, "audio": {"id": "audio_1", "data": "UklGRg==", "transcript": "spoken"}})), "spoken", but=("C",)),
    Vector("a spoken stream", chat(delta({"audio": {"id": "audio_1", "transcript": "spo"}}), delta({"audio": {"data": "UklGRg==", "transcript": "ken"}})), "spoken", but=("C",)),
    Vector("lines of JSON", json_lines([CHAT_HEAD | event for event in (*chunks("one ", "two"), delta({}, "stop"))], b"\n"), "one two"),
    Vector("a raw NUL", damaged(json.dumps(chat_reply({"content": "aZb"})).encode(), b"\x00"), "a\x00b"),
    Vector("a raw control in a stream", raw_chat(b"\x01"), "a\x01b"),
    Vector("an escape of another language", raw_chat(b"\\x41"), "aAb"),
    Vector("an escaped apostrophe", raw_chat(b"\\'"), "a'b"),
]  # fmt: skip
MESSAGES = [
    Vector("a raw NUL", damaged(json.dumps(whole_reply("A", "aZb")).encode(), b"\x00"), "a\x00b"),
    Vector("an escape of another language", damaged(json.dumps(whole_reply("A", "aZb")).encode(), b"\\x41"), "aAb"),
]
_ALL = {"R": RESPONSES, "C": CHAT, "A": MESSAGES}


@pytest.mark.parametrize("dialect", _ALL)
def test_a_text_reaches_every_client_once_however_it_is_sent(
    every: Client, upstream: FakeUpstream, dialect: str
) -> None:
    assert not misread(every, upstream, dialect, _ALL[dialect])
