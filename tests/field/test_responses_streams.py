"""Streams of Responses servers that tell less than the vendor does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.asking import body_of, every_client
from tests.field.grammar import check, read_events
from tests.field.pairs import ask, tell_stream, whole_reply
from tests.gateway.conftest import Client, events_of
from tests.support.answers import named, unnamed
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

HEAD = {"id": "resp_1", "object": "response", "model": "m"}
MESSAGE = {"id": "msg_1", "type": "message", "status": "completed"}
PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
CREATED = {"type": "response.created", "response": {**HEAD, "status": "in_progress"}}


def completed(*items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.completed", "response": {**HEAD, "status": "completed", "output": items, "usage": None}}


def stream(*events: dict[str, Any]) -> Reply:
    return sse(*named(*events, numbered=True))


@every_client
def test_text_of_items_that_nobody_announced_is_told_once(every: Client, upstream: FakeUpstream, dialect: str) -> None:
    """SaladDay/cc-switch-cli#387: Codex says "OutputTextDelta without active item" and throws the text away."""
    item = whole_reply("R", "one two")["output"][0]
    upstream.script(
        stream(
            CREATED,
            {"type": "response.output_text.delta", **PLACE, "delta": "one "},
            {"type": "response.output_text.delta", **PLACE, "delta": "two"},
            completed(item),
        )
    )

    assert ask(every, dialect, "responses/m", stream=True).text == "one two"


def test_a_rewritten_stream_keeps_the_order_and_the_id_that_it_began_with(
    every: Client, upstream: FakeUpstream
) -> None:
    item = whole_reply("R", "one two")["output"][0]
    upstream.script(
        stream(CREATED, {"type": "response.output_text.delta", **PLACE, "delta": "one two"}, completed(item))
    )

    events = [
        e
        for e in events_of(every.ask("/v1/responses", {"model": "responses/m", "input": "q", "stream": True}))
        if e != "[DONE]"
    ]

    kinds = [event["type"] for event in events]
    assert kinds.index("response.output_item.added") < kinds.index("response.output_text.delta")
    assert kinds.count("response.created") == 1
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert {event["response"]["id"] for event in events if "response" in event} == {"resp_1"}


def test_an_unannounced_stream_that_is_cut_ends_with_an_error(every: Client, upstream: FakeUpstream) -> None:
    upstream.script(stream(CREATED, {"type": "response.output_text.delta", **PLACE, "delta": "one"}))

    assert ask(every, "R", "responses/m", stream=True).error


def test_items_without_the_fields_that_clients_read_get_them(every: Client, upstream: FakeUpstream) -> None:
    """lidge-jun/opencodex#893."""
    done = {**MESSAGE, "content": [{"type": "output_text", "text": "hello"}]}
    upstream.script(
        stream(
            CREATED,
            {"type": "response.output_item.added", "output_index": 0, "item": {**MESSAGE, "status": "in_progress"}},
            {"type": "response.content_part.added", **PLACE, "part": {"type": "output_text", "text": ""}},
            {"type": "response.output_text.delta", **PLACE, "delta": "hello"},
            {"type": "response.output_item.done", "output_index": 0, "item": done},
            {"type": "response.completed", "response": {**HEAD, "status": "completed"}},
        ),
        json_reply({**HEAD, "status": "completed", "output": [{"id": "rs_1", "type": "reasoning"}, done]}),
    )
    body = {"model": "responses/m", "input": "q"}

    events = [event for event in events_of(every.ask("/v1/responses", {**body, "stream": True})) if event != "[DONE]"]
    whole = every.ask("/v1/responses", body).json

    items = [event["item"] for event in events if "item" in event]
    assert [(item["role"], item["content"]) for item in items] == [
        ("assistant", []),
        ("assistant", [{"type": "output_text", "text": "hello", "annotations": []}]),
    ]
    assert events[-1]["response"]["output"] == [items[-1]]
    assert whole["output"] == [{"id": "rs_1", "type": "reasoning", "summary": []}, items[-1]]


@every_client
def test_an_error_beside_a_failed_response_is_told(every: Client, upstream: FakeUpstream, dialect: str) -> None:
    """openai/codex#24973."""
    error = {"message": "Upstream provider error", "type": "server_error", "code": "upstream_error"}
    failed = {"type": "response.failed", "response": {**HEAD, "status": "failed", "error": None}, "error": error}
    upstream.script(*[stream(CREATED, failed)] * 4)

    told = ask(every, dialect, "responses/m", stream=True)

    assert "Upstream provider error" in told.error


@every_client
def test_an_event_about_limits_ends_no_stream(every: Client, upstream: FakeUpstream, dialect: str) -> None:
    """router-for-me/CLIProxyAPI#3798."""
    limits = {"type": "codex.rate_limits", "limit_reached": True, "primary": {"used_percent": 100}}
    item = whole_reply("R", "fine")["output"][0]
    ended = completed(item)
    upstream.script(stream(limits, CREATED, ended))

    assert ask(every, dialect, "responses/m", stream=True).text == "fine"


def test_a_response_has_one_id_in_all_events(every: Client, upstream: FakeUpstream) -> None:
    """BerriAI/litellm#37956."""
    item = whole_reply("R", "t")["output"][0]
    ended = {**HEAD, "id": "resp_2", "status": "completed", "output": [item], "usage": None}
    upstream.script(stream(CREATED, *passed_item(item), {"type": "response.completed", "response": ended}))

    told = every.ask("/v1/responses", {"model": "responses/m", "input": "q", "stream": True})

    ids = {event["response"]["id"] for event in events_of(told) if event != "[DONE]" and "response" in event}
    assert ids == {"resp_1"}


def test_a_cancelled_response_ends_with_the_event_that_clients_know(every: Client, upstream: FakeUpstream) -> None:
    ended = {**HEAD, "status": "cancelled", "output": [], "usage": None}
    upstream.script(
        stream(CREATED, *passed_item(whole_reply("R", "t")["output"][0]),
               {"type": "response.cancelled", "response": ended})
    )  # fmt: skip

    told = every.ask("/v1/responses", {"model": "responses/m", "input": "q", "stream": True})

    last = [event for event in events_of(told) if event != "[DONE]"][-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert "cancelled" in last["response"]["error"]["message"]


NAMED_ERRORS = [
    ({"type": "server_error", "message": "Boom happened"}, "server_error"),
    ({"type": "server_error", "message": "Boom happened"}, "error"),
    ({"type": "rate_limit_exceeded", "message": "Boom happened"}, "rate_limit_exceeded"),
    ({"type": "tokens", "code": "rate_limit_exceeded", "message": "Boom happened"}, "error"),
    ({"type": "overloaded_error", "message": "Boom happened"}, "error"),
]


@every_client
@pytest.mark.parametrize(("error", "name"), NAMED_ERRORS)
@pytest.mark.parametrize("before", [0, 1, 3])
def test_an_event_that_is_the_error_itself_is_that_error(
    every: Client, upstream: FakeUpstream, dialect: str, error: dict[str, Any], name: str, before: int
) -> None:
    passed = stream(*[CREATED, *passed_item(whole_reply("R", "t")["output"][0])][:before]).pieces
    upstream.script(*[sse(*passed, b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps(error).encode()))] * 4)

    assert "Boom happened" in ask(every, dialect, "responses/m", stream=True).error


@every_client
@pytest.mark.parametrize("data", ["90125", '"nonsense"', "[90125]"])
@pytest.mark.parametrize("before", [0, 1, 3])
def test_data_that_is_no_object_is_quoted_in_an_error(
    every: Client, upstream: FakeUpstream, dialect: str, data: str, before: int
) -> None:
    passed = stream(*[CREATED, *passed_item(whole_reply("R", "t")["output"][0])][:before]).pieces
    upstream.script(*[sse(*passed, *unnamed(data))] * 4)

    assert data.strip('"') in ask(every, dialect, "responses/m", stream=True).error


@every_client
@pytest.mark.parametrize("call_id", [{}, {"call_id": ""}, {"call_id": None}])
def test_a_call_without_a_call_id_has_one_throughout(
    every: Client, upstream: FakeUpstream, dialect: str, call_id: dict[str, Any]
) -> None:
    call = {"id": "fc_1", "type": "function_call", "name": "f", **call_id}
    place = {"output_index": 0}
    item = {**call, "status": "completed", "arguments": '{"x": 1}'}
    ended = {**HEAD, "status": "completed", "output": [item], "usage": None}
    upstream.script(
        stream(
            CREATED,
            {"type": "response.output_item.added", **place, "item": {**call, "arguments": ""}},
            {"type": "response.function_call_arguments.delta", **place, "item_id": "fc_1", "delta": '{"x": 1}'},
            {"type": "response.output_item.done", **place, "item": item},
            {"type": "response.completed", "response": ended},
        ),
        json_reply(ended),
    )

    assert ask(every, dialect, "responses/m", stream=True).calls == [("f", {"x": 1})]
    assert ask(every, dialect, "responses/m").calls == [("f", {"x": 1})]


def test_a_client_of_the_same_dialect_gets_the_call_id_in_every_form(every: Client, upstream: FakeUpstream) -> None:
    call = {"id": "fc_1", "type": "function_call", "name": "f", "status": "completed", "arguments": "{}"}
    ended = {**HEAD, "status": "completed", "output": [call], "usage": None}
    added = {"type": "response.output_item.added", "output_index": 0, "item": {**call, "arguments": ""}}
    done = {"type": "response.output_item.done", "output_index": 0, "item": call}
    upstream.script(stream(CREATED, added, done, {"type": "response.completed", "response": ended}), json_reply(ended))
    body = {"model": "responses/m", "input": "q"}

    events = [event for event in events_of(every.ask("/v1/responses", {**body, "stream": True})) if event != "[DONE]"]
    whole = every.ask("/v1/responses", body).json

    items = [event["item"] for event in events if "item" in event] + events[-1]["response"]["output"] + whole["output"]
    assert [item["call_id"] for item in items] == ["fc_1"] * 4


BARE = {"id": "fc_1", "type": "function_call", "name": "f", "call_id": "call_1", "arguments": ""}
ARGUMENTS_OF_BARE = {"item_id": "fc_1", "output_index": 0}
BARE_ENDS: dict[str, list[dict[str, Any]]] = {
    "done": [],
    "after an empty end": [{"type": "response.function_call_arguments.done", **ARGUMENTS_OF_BARE, "arguments": ""}],
    "after an empty delta": [{"type": "response.function_call_arguments.delta", **ARGUMENTS_OF_BARE, "delta": ""}],
}


@every_client
@pytest.mark.parametrize("before", BARE_ENDS)
@pytest.mark.parametrize("followed", [False, True])
def test_arguments_may_come_with_the_terminal_response_alone(
    every: Client, upstream: FakeUpstream, dialect: str, before: str, followed: bool
) -> None:
    """anomalyco/opencode#44893, NVIDIA-NeMo/Switchyard#777."""
    whole = [{**BARE, "arguments": '{"x": 1}', "status": "completed"}]
    said: list[dict[str, Any]] = []
    if followed:
        whole.append(BARE | {"id": "fc_2", "call_id": "call_2", "arguments": '{"x": 2}', "status": "completed"})
        said = [
            {"type": "response.output_item.added", "output_index": 1, "item": whole[1] | {"arguments": ""}},
            {"type": "response.output_item.done", "output_index": 1, "item": whole[1]},
        ]
    upstream.script(
        stream(
            CREATED,
            {"type": "response.output_item.added", "output_index": 0, "item": BARE},
            *BARE_ENDS[before],
            {"type": "response.output_item.done", "output_index": 0, "item": BARE},
            *said,
            completed(*whole),
        )
    )
    path, body = body_of(dialect)

    events = read_events(every.ask(path, body | {"model": "responses/m", "stream": True}).text)

    check(dialect, events)
    calls = [("f", {"x": 1}), ("f", {"x": 2})]
    assert tell_stream(dialect, [event for _, event in events if event != "[DONE]"]).calls == calls[: len(whole)]


@every_client
def test_a_call_without_arguments_has_an_empty_object(every: Client, upstream: FakeUpstream, dialect: str) -> None:
    upstream.script(
        stream(
            CREATED,
            {"type": "response.output_item.added", "output_index": 0, "item": BARE},
            {"type": "response.output_item.done", "output_index": 0, "item": BARE},
            completed(BARE),
        )
    )
    path, body = body_of(dialect)

    response = every.ask(path, body | {"model": "responses/m", "stream": True})

    check(dialect, read_events(response.text))
    assert "{}" in response.text
    assert tell_stream(dialect, [event for event in events_of(response) if event != "[DONE]"]).calls == [("f", {})]


def passed_item(item: dict[str, Any]) -> list[dict[str, Any]]:
    place = {"output_index": 0}
    return [
        {"type": "response.output_item.added", **place, "item": item | {"status": "in_progress", "content": []}},
        {"type": "response.output_text.delta", **PLACE, "delta": "t"},
        {"type": "response.output_item.done", **place, "item": item},
    ]
