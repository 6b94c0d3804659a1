"""Streams of Messages servers whose blocks are not in order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.asking import body_of, every_client
from tests.field.pairs import ask, whole_reply
from tests.gateway.conftest import Client, events_of
from tests.support.answers import added, block, closed, named
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

USAGE = {"input_tokens": 1, "output_tokens": 1}
START = {
    "type": "message_start",
    "message": {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": USAGE},
}
END = (
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": USAGE},
    {"type": "message_stop"},
)


def stream(*events: dict[str, Any]) -> Reply:
    return sse(*named(START, *events, *END))


def begin(index: int, kind: str) -> dict[str, Any]:
    empty = {"type": kind, "thinking": "", "signature": ""} if kind == "thinking" else {"type": kind, "text": ""}
    return block(index, empty)


def say(index: int, kind: str, said: str) -> dict[str, Any]:
    return added(index, f"{kind}_delta", **{kind: said})


ANSWER = (begin(1, "text"), say(1, "text", "done"), closed(1))


@every_client
@pytest.mark.parametrize(
    "thought",
    [
        (say(0, "thinking", "hm"), say(0, "signature", "c2ln"), closed(0)),
        (say(0, "thinking", "hm"),),
        (begin(0, "thinking"), say(2, "thinking", "h"), say(2, "thinking", "m"), closed(0)),
    ],
    ids=["not begun", "neither begun nor ended", "another index"],
)
def test_a_delta_finds_its_block(
    every: Client, upstream: FakeUpstream, dialect: str, thought: tuple[dict[str, Any], ...]
) -> None:
    """Kilo-Org/kilocode#11993, anomalyco/opencode#40939: "reasoning part 0 not found"."""
    upstream.script(stream(*thought, *ANSWER))

    told = ask(every, dialect, "messages/m", stream=True)

    assert (told.text, told.thought, told.error) == ("done", "hm", "")


def test_blocks_of_a_stream_that_was_out_of_order_are_counted_anew(every: Client, upstream: FakeUpstream) -> None:
    upstream.script(stream(begin(0, "thinking"), say(2, "thinking", "hm"), closed(0), *ANSWER))
    body = {"model": "messages/m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "q"}]}

    events = events_of(every.ask("/v1/messages", body))

    assert [event["index"] for event in events if event["type"] == "content_block_start"] == [0, 1]
    assert {event["index"] for event in events if event["type"] == "content_block_delta"} == {0, 1}


@every_client
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("content", "text"), [("done", "done"), ([{"type": "text", "text": "done"}], "done")])
def test_a_content_that_is_a_text_is_one(
    every: Client, upstream: FakeUpstream, dialect: str, content: Any, text: str, streamed: bool
) -> None:
    """Servers of Messages that were made out of servers of Chat."""
    head = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": content}
    upstream.script(json_reply({**head, "stop_reason": "end_turn", "stop_sequence": None, "usage": USAGE}))

    told = ask(every, dialect, "messages/m", stream=streamed)

    assert (told.text, told.finish, told.error) == (text, "stop", "")


@every_client
def test_arguments_of_a_call_that_was_not_begun_are_an_error(
    every: Client, upstream: FakeUpstream, dialect: str
) -> None:
    delta = {"type": "input_json_delta", "partial_json": '{"x":1}'}
    upstream.script(stream({"type": "content_block_delta", "index": 0, "delta": delta}, *ANSWER))

    assert "not open" in ask(every, dialect, "messages/m", stream=True).error


def test_an_end_that_is_told_twice_is_one_event(every: Client, upstream: FakeUpstream) -> None:
    upstream.script(stream(begin(0, "text"), say(0, "text", "t"), closed(0), END[0]))

    told = every.ask(
        "/v1/messages",
        {"model": "messages/m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}], "stream": True},
    )

    kinds = [event["type"] for event in events_of(told)]
    assert [kinds.count(kind) for kind in ("message_delta", "message_stop")] == [1, 1]


def test_events_under_the_default_name_get_their_own(every: Client, upstream: FakeUpstream) -> None:
    """The vendor's SDK goes by the names, and ignores an event called `message`."""
    events = (START, begin(0, "text"), say(0, "text", "t"), closed(0), *END)
    upstream.script(sse(*(b"event: message\ndata: %b\n\n" % json.dumps(event).encode() for event in events)))
    path, body = body_of("A")

    told = every.ask(path, body | {"model": "messages/m", "stream": True})

    names = [line.removeprefix("event: ") for line in told.text.splitlines() if line.startswith("event: ")]
    assert names == [event["type"] for event in events]


@pytest.mark.parametrize("lacking", ["id", "type", "role"])
def test_a_whole_message_says_what_it_is(every: Client, upstream: FakeUpstream, lacking: str) -> None:
    reply = whole_reply("A", "t")
    del reply[lacking]
    upstream.script(json_reply(reply))
    path, body = body_of("A")

    told = every.ask(path, body | {"model": "messages/m"}).json

    assert told["id"]
    assert (told["type"], told["role"], told["content"][0]["text"]) == ("message", "assistant", "t")
