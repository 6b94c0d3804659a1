"""What servers of Chat Completions send, read by clients of every dialect and by those of their own."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.asking import CLIENTS, UPSTREAMS, body_of
from tests.field.grammar import check, read_events
from tests.field.pairs import CHAT_HEAD, chat_events, chat_reply, delta
from tests.field.vectors import Vector, misread
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

ROLE, TEXT, END = delta({"role": "assistant", "content": ""}), delta({"content": "t"}), delta({}, "stop")
DONE = "[DONE]"
HI = {"role": "assistant", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
FLAT = {"id": "c1", "type": "function", "name": "f", "arguments": '{"x":1}'}
ONE = (("f", {"x": 1}),)


def last(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish, **more}]}


def changed(old: str, new: str, *payloads: dict[str, Any]) -> Reply:
    """A stream with its later chunks changed."""
    lines = [f"data: {json.dumps(CHAT_HEAD | payload)}\n\n" for payload in payloads]
    return sse(lines[0].encode(), *(line.replace(old, new).encode() for line in lines[1:]), b"data: [DONE]\n\n")


AT_THE_END = [
    Vector("all in the last message", chat_events(ROLE, last(HI), DONE), "hi"),
    Vector("all in a last message without a reason", chat_events(ROLE, last(HI, None), DONE), "hi"),
    Vector("an empty delta beside it", chat_events(ROLE, last(HI, delta={}), DONE), "hi"),
    Vector(
        "empty deltas before it",
        chat_events(ROLE, delta({"content": ""}), delta({"content": None}), last(HI), DONE),
        "hi",
    ),
    Vector(
        "thoughts in deltas before it",
        chat_events(ROLE, delta({"reasoning_content": "r"}), last({**HI, "reasoning_content": "r"}), DONE),
        "hi",
        "r",
    ),
    Vector(
        "all of it said before",
        chat_events(ROLE, delta({"content": "h"}), delta({"content": "i"}), last(HI), DONE),
        "hi",
    ),
    Vector(
        "text said before, a call in it",
        chat_events(ROLE, delta({"content": "hi"}), last({**HI, "tool_calls": [CALL]}, "tool_calls"), DONE),
        "hi",
        calls=ONE,
        finish="tool_calls",
    ),
]
SHAPES = [
    Vector("a role of another vendor", chat_events(delta({"role": "model", "content": "t"}), delta({"role": "model", "content": "u"}), END, DONE), "tu"),
    Vector("a flat call", chat_events(ROLE, delta({"tool_calls": [{"index": 0, **FLAT}]}, "tool_calls"), DONE), calls=ONE, finish="tool_calls"),
    Vector("a flat call with parameters", json_reply(chat_reply({"content": None, "tool_calls": [{"id": "c1", "type": "function", "name": "f", "parameters": {"x": 1}}]}, "tool_calls")), calls=ONE, finish="tool_calls"),
    Vector("a list of calls with nothing in it", chat_events(ROLE, delta({"content": "t", "tool_calls": [None]}), END, DONE), "t"),
    Vector("nothing before a call", json_reply(chat_reply({"content": None, "tool_calls": [None, CALL]}, "tool_calls")), calls=ONE, finish="tool_calls"),
    Vector("a call without a name", json_reply(chat_reply({"content": None, "tool_calls": [{**CALL, "function": {"name": "", "arguments": '{"x":1}'}}]}, "tool_calls")), error="without naming it"),
    Vector("no id in later chunks", changed('"id": "x", ', "", ROLE, TEXT, END), "t"),
    Vector("no time in later chunks", changed('"created": 1, ', "", ROLE, TEXT, END), "t"),
    Vector("null for the id in later chunks", changed('"id": "x"', '"id": null', ROLE, TEXT, END), "t"),
    Vector("an error that is none", chat_events(delta({"role": "assistant", "content": "t"}) | {"error": None}, delta({"content": "u"}) | {"error": None}, END, DONE), "tu"),
    Vector("an error of MiniMax beside an answer", json_reply({**chat_reply({"content": "t"}), "base_resp": {"status_code": 1004, "status_msg": "boom"}}), error="boom"),
]  # fmt: skip


@pytest.mark.parametrize("vectors", [AT_THE_END, SHAPES], ids=["at the end", "shapes"])
def test_what_chat_servers_send_is_read_for_every_client(
    every: Client, upstream: FakeUpstream, vectors: list[Vector]
) -> None:
    assert misread(every, upstream, "C", vectors) == {}


def test_citations_and_images_that_only_the_last_message_has_are_kept(every: Client, upstream: FakeUpstream) -> None:
    cited = {
        "type": "url_citation",
        "url_citation": {"url": "https://e.x/", "title": "e", "start_index": 0, "end_index": 1},
    }
    upstream.script(chat_events(ROLE, TEXT, last({**HI, "content": "t", "annotations": [cited]}), DONE))

    answer = every.chat(stream=True).text

    assert "https://e.x/" in answer
    assert answer.count('"content": "t"') + answer.count('"content":"t"') == 1


COUNTS: dict[str, tuple[Any, tuple[int, int] | None]] = {
    "as they should be": ({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}, (5, 3)),
    "in words": ({"prompt_tokens": "5", "completion_tokens": "3"}, (5, 3)),
    "with a point": ({"prompt_tokens": 5.0, "completion_tokens": 3.0, "total_tokens": 8.0}, (5, 3)),
    "under other names": ({"input_tokens": 5, "output_tokens": 3}, (5, 3)),
    "without a sum": ({"prompt_tokens": 5, "completion_tokens": 3}, (5, 3)),
    "beside a number that JSON lacks": ({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8, "speed": float("nan")}, (5, 3)),
    "of the answer alone": ({"completion_tokens": 3}, (0, 3)),
    "of nothing": ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None),
    "none": (None, None),
    "an empty object": ({}, None),
    "a list": ([{"prompt_tokens": 5}], None),
}  # fmt: skip
# A stream that is passed, one that is written anew from its first chunk, and one from its last.
STREAMS = {
    "clean": [ROLE, TEXT, END],
    "of parts": [delta({"role": "assistant", "content": [{"type": "text", "text": "t"}]}), END],
    "with a message": [ROLE, last({"role": "assistant", "content": "t"})],
}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("reader", CLIENTS)
@pytest.mark.parametrize("sent", COUNTS)
def test_counts_have_the_names_and_types_of_the_contract_and_are_estimated_where_there_are_none(
    every: Client, upstream: FakeUpstream, sent: str, reader: str, stream: str
) -> None:
    usage, meant = COUNTS[sent]
    tail = [] if usage is None else [{"choices": [], "usage": usage}]
    upstream.script(chat_events(*STREAMS[stream], *tail, DONE))
    path, body = body_of(reader)
    wish = {"stream_options": {"include_usage": True}} if reader == "C" else {}

    events = read_events(every.ask(path, body | wish | {"model": UPSTREAMS["C"], "stream": True}).text)

    check(reader, events)
    told = [event.get("response", event) for _, event in events if event != DONE]
    counts = [event["usage"] for event in told if event.get("usage")][-1]
    asked, said = (
        counts.get(f"{one}_tokens", counts.get(f"{other}_tokens"))
        for one, other in (("prompt", "input"), ("completion", "output"))
    )
    assert type(asked) is type(said) is int
    if meant is None:
        assert 0 < asked < 100
        assert 0 < said < 100
    else:
        assert (asked, said) == (meant[0] or asked, meant[1])
        assert asked > 0


@pytest.mark.parametrize("sent", [sent for sent, (usage, meant) in COUNTS.items() if meant and meant[0]])
def test_counts_of_a_whole_answer_have_the_names_and_types_of_the_contract(
    every: Client, upstream: FakeUpstream, sent: str
) -> None:
    usage, _ = COUNTS[sent]
    upstream.script(json_reply({**chat_reply({"content": "t"}), "usage": usage}))

    told = every.chat().json["usage"]

    assert (told["prompt_tokens"], told["completion_tokens"], told["total_tokens"]) == (5, 3, 8)
    assert all(type(told[f"{name}_tokens"]) is int for name in ("prompt", "completion", "total"))


def test_the_estimate_of_a_request_leaves_its_images_out(every: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_events(ROLE, TEXT, END, DONE))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}

    answer = every.chat(
        stream=True,
        stream_options={"include_usage": True},
        messages=[{"role": "user", "content": [{"type": "text", "text": "what is it?"}, image]}],
    )

    counts = [event["usage"] for _, event in read_events(answer.text) if event != DONE and event.get("usage")]
    assert [0 < count["prompt_tokens"] < 200 for count in counts] == [True]


@pytest.mark.parametrize("tail", [[delta({}, "tool_calls"), DONE], [delta({}, "tool_calls")], [DONE]], ids=str)
def test_a_call_that_nobody_names_ends_a_stream_with_an_error(
    every: Client, upstream: FakeUpstream, tail: list[Any]
) -> None:
    nameless = {"index": 0, "id": "c1", "type": "function", "function": {"arguments": '{"x":1}'}}
    sent = chat_events(ROLE, TEXT, delta({"tool_calls": [nameless]}), *tail)

    assert misread(every, upstream, "C", [Vector("nameless", sent, error="without naming it")]) == {}
