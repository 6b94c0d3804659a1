"""Streams of Messages and of Responses whose events are out of shape, and what is whole in them nevertheless."""

from __future__ import annotations

from typing import Any

import pytest

from tests.field.asking import CLIENTS, UPSTREAMS, body_of, both_modes
from tests.field.grammar import check, read_events
from tests.field.pairs import tell_stream, tell_whole, whole_reply
from tests.gateway.conftest import Client, events_of
from tests.support import answers
from tests.support.answers import added, closed, named, unnamed
from tests.support.fake_upstream import CUT, STALL, FakeUpstream, Piece, sse

Event = dict[str, Any]

START = {"type": "message_start", "message": whole_reply("A", "") | {"content": [], "stop_reason": None}}
END = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 2},
}
STOP = {"type": "message_stop"}
ITEM = whole_reply("R", "hello")["output"][0]
RESPONSE = whole_reply("R", "hello")
CREATED = {"type": "response.created", "response": RESPONSE | {"status": "in_progress", "output": []}}
COMPLETED = {"type": "response.completed", "response": RESPONSE}


def block(index: object) -> tuple[Event, ...]:
    return answers.block(index, {"type": "text", "text": ""}), added(index, "text_delta", text="hello"), closed(index)


def item(said: object = "hello", **place: object) -> tuple[Event, ...]:
    """The events of one message; `place` changes where they say that they belong."""
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0} | place
    of_item = {"output_index": at["output_index"]}
    return (
        {"type": "response.output_item.added", **of_item, "item": ITEM | {"status": "in_progress", "content": []}},
        {"type": "response.content_part.added", **at, "part": {"type": "output_text", "text": "", "annotations": []}},
        {"type": "response.output_text.delta", **at, "delta": said},
        {"type": "response.output_text.done", **at, "text": "hello"},
        {"type": "response.content_part.done", **at, "part": ITEM["content"][0]},
        {"type": "response.output_item.done", **of_item, "item": ITEM},
    )


def pieces(*events: Event | Piece) -> list[Piece]:
    numbered = [e if not isinstance(e, dict) else {"sequence_number": n} | e for n, e in enumerate(events)]
    return [named(each)[0] if isinstance(each, dict) else each for each in numbered]


ODD: list[tuple[str, str, tuple[Event | Piece, ...]]] = [
    ("A", "an index that is a text", (START, *block("0"), END, STOP)),
    ("A", "an index of null", (START, *block(None), END, STOP)),
    ("A", "an index with a point", (START, *block(0.0), END, STOP)),
    ("A", "half of the last event", (START, *block(0), END, b'event: message_stop\ndata: {"type":"mess')),
    ("A", "all in the beginning", ({**START, "message": whole_reply("A", "hello")}, END, STOP)),
    ("A", "a whole answer as an event", unnamed(whole_reply("A", "hello"))),
    ("A", "reset after the end", (START, *block(0), END, STOP, CUT)),
    ("R", "an index that is a text", (CREATED, *item(output_index="0"), COMPLETED)),
    ("R", "an index of null", (CREATED, *item(output_index=None), COMPLETED)),
    ("R", "a part's index of null", (CREATED, *item(content_index=None), COMPLETED)),
    ("R", "a delta of null", (CREATED, *item(None), COMPLETED)),
    ("R", "a delta in an object", (CREATED, *item({"text": "hello"}), COMPLETED)),
    ("R", "a beginning without a response", ({"type": "response.created"}, *item(), COMPLETED)),
    ("R", "a beginning without an id", ({**CREATED, "response": RESPONSE | {"id": None}}, *item(), COMPLETED)),
    ("R", "a whole answer as an event", unnamed(RESPONSE)),
    ("R", "reset after the end", (CREATED, *item(), COMPLETED, CUT)),
]  # fmt: skip


@both_modes
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(("server", "events"), [(s, e) for s, _, e in ODD], ids=[f"{s}: {name}" for s, name, _ in ODD])
def test_what_a_stream_says_arrives(
    every: Client, upstream: FakeUpstream, client: str, server: str, events: tuple[Event | Piece, ...], stream: bool
) -> None:
    upstream.script(sse(*pieces(*events)))
    path, body = body_of(client)

    response = every.ask(path, body | {"model": UPSTREAMS[server], "stream": stream})

    assert response.status_code == 200, response.text
    if stream:
        check(client, read_events(response.text))
        told = tell_stream(client, [event for event in events_of(response) if event != "[DONE]"])
    else:
        told = tell_whole(client, response)
    assert (told.text, told.finish, told.error) == ("hello", "stop", "")


@pytest.mark.parametrize(
    ("server", "end"), [("A", (START, *block(0), END, STOP)), ("R", (CREATED, *item(), COMPLETED))]
)
def test_a_whole_answer_does_not_wait_for_a_server_that_never_hangs_up(
    every: Client, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, server: str, end: tuple[Event, ...]
) -> None:
    monkeypatch.setattr("app.gateway.delivery.GRACE", 0.01)
    upstream.script(sse(*pieces(*end), STALL))
    path, body = body_of(server)

    assert tell_whole(server, every.ask(path, body | {"model": UPSTREAMS[server]})).text == "hello"


@pytest.mark.parametrize("client", CLIENTS)
def test_arguments_of_a_call_that_never_gets_a_name_are_an_error(
    every: Client, upstream: FakeUpstream, client: str
) -> None:
    place = {"item_id": "fc_1", "output_index": 0}
    delta = {"type": "response.function_call_arguments.delta", **place, "delta": '{"x":1}'}
    upstream.script(sse(*pieces(CREATED, delta, {**COMPLETED, "response": RESPONSE | {"output": []}})))
    path, body = body_of(client)

    assert "a call without a name" in every.ask(path, body | {"model": "responses/m"}).text


def test_arguments_that_come_twice_count_once(every: Client, upstream: FakeUpstream) -> None:
    call = {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": '{"x":1}'}
    place = {"item_id": "fc_1", "output_index": 0}
    delta = {"type": "response.function_call_arguments.delta", **place, "delta": '{"x":1}'}
    added = {"type": "response.output_item.added", "output_index": 0, "item": call | {"arguments": ""}}
    done = {"type": "response.output_item.done", "output_index": 0, "item": call}
    end = {**COMPLETED, "response": RESPONSE | {"output": [call]}}
    upstream.script(sse(*pieces(CREATED, added, delta, delta, done, end)))
    path, body = body_of("R")

    check("R", read_events(every.ask(path, body | {"model": "responses/m", "stream": True}).text))


def test_a_response_that_is_incomplete_says_why(every: Client, upstream: FakeUpstream) -> None:
    end = {"type": "response.incomplete", "response": RESPONSE | {"status": "incomplete", "incomplete_details": None}}
    upstream.script(sse(*pieces(CREATED, *item(), end)))
    path, body = body_of("R")

    events = read_events(every.ask(path, body | {"model": "responses/m", "stream": True}).text)

    ends = [event for kind, event in events if kind == "response.incomplete"]
    assert ends[0]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
