"""Answers within one dialect that say nothing, at which agents stop for good, and calls whose arguments stand in a
fence, which agents cannot read."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from typing import Any

import pytest

from app.settings import RouteSettings
from tests.field.pairs import ask, chat_events, chat_reply, delta
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

USED = {"input_tokens": 1, "output_tokens": 0, "total_tokens": 1}
RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed", "usage": USED}
SILENT = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
          "content": [{"type": "output_text", "text": "", "annotations": []}]}  # fmt: skip


def uncounted(reply: dict[str, Any], **usage: int) -> Reply:
    return json_reply({**reply, "usage": {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1} | usage})


def named(*events: dict[str, Any]) -> Reply:
    lines = [
        f"event: {event['type']}\ndata: {json.dumps(event | {'sequence_number': n})}\n\n"
        for n, event in enumerate(events)
    ]
    return sse(*(line.encode() for line in lines))


def responded(*output: dict[str, Any]) -> Reply:
    begun = {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": []}}
    return named(begun, {"type": "response.completed", "response": {**RESPONSE, "output": list(output)}})


NOTHING: dict[str, tuple[str, bool, Reply]] = {
    "an empty text": ("C", False, uncounted(chat_reply({"content": ""}))),
    "null": ("C", False, uncounted(chat_reply({"content": None}))),
    "a stream of its ends": (
        "C",
        True,
        chat_events(delta({"role": "assistant", "content": ""}), delta({}, "stop"), "[DONE]"),
    ),
    "a stream without a reason": ("C", True, chat_events(delta({"role": "assistant", "content": ""}), "[DONE]")),
    "no item": ("R", False, json_reply({**RESPONSE, "output": []})),
    "an item of nothing": ("R", False, json_reply({**RESPONSE, "output": [SILENT]})),
    "a stream without items": ("R", True, responded()),
    "a stream whose item says nothing": ("R", True, responded(SILENT)),
}
MODELS = {"C": "chat/m", "R": "responses/m"}


@pytest.mark.parametrize("case", NOTHING)
def test_an_empty_answer_is_a_failure_within_one_dialect_too(every: Client, upstream: FakeUpstream, case: str) -> None:
    dialect, stream, reply = NOTHING[case]
    upstream.script(reply)

    told = ask(every, dialect, MODELS[dialect], stream=stream)

    assert (told.status, told.error) == (503, "the model gave an empty answer")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_another_upstream_answers_instead(make_client: MakeClient, upstream: FakeUpstream, stream: bool) -> None:
    client = make_client(models={"routes": {"route": RouteSettings(targets=("chat/a", "chat/b"))}})
    said = chat_events(delta({"role": "assistant", "content": "x"}), delta({}, "stop"), "[DONE]")
    case = "a stream of its ends" if stream else "null"
    upstream.script(NOTHING[case][2], said if stream else json_reply(chat_reply({"content": "x"})))

    assert ask(client, "C", "route", stream=stream).text == "x"


@pytest.mark.parametrize(
    ("dialect", "reply"),
    [
        ("C", uncounted(chat_reply({"content": ""}, "length"))),
        ("C", uncounted(chat_reply({"content": ""}, stop_reason="END"))),
        ("C", uncounted(chat_reply({"content": None, "refusal": "no"}))),
        ("C", uncounted(chat_reply({"content": "", "reasoning_content": "hm"}))),
        ("C", uncounted(chat_reply({"content": ""}), completion_tokens=9)),
        ("R", json_reply({**RESPONSE, "output": [], "status": "incomplete"})),
        ("R", json_reply({**RESPONSE, "output": [{"id": "rs_1", "type": "reasoning", "summary": []}]})),
        ("R", json_reply({**RESPONSE, "output": [], "usage": USED | {"output_tokens": 9}})),
    ],
    ids=["cut", "a stop sequence", "refused", "thought", "hidden", "incomplete", "a thought", "hidden tokens"],
)
def test_an_answer_may_be_empty_for_a_reason(every: Client, upstream: FakeUpstream, dialect: str, reply: Reply) -> None:
    upstream.script(reply)

    assert ask(every, dialect, MODELS[dialect]).status == 200


FENCED = '```json\n{"x": 1}\n```'
CALL = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "c", "name": "f", "arguments": FENCED}


def message_events(*pieces: str) -> Reply:
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    return named(
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": piece}} for piece in pieces),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    )  # fmt: skip


def call_events(*pieces: str, done: str = FENCED) -> Reply:
    place = {"output_index": 0, "item_id": "fc_1"}
    return named(
        {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**CALL, "status": "in_progress", "arguments": ""}},
        *({"type": "response.function_call_arguments.delta", **place, "delta": piece} for piece in pieces),
        {"type": "response.function_call_arguments.done", **place, "arguments": done},
        {"type": "response.output_item.done", "output_index": 0, "item": {**CALL, "arguments": done}},
        {"type": "response.completed", "response": {**RESPONSE, "output": [{**CALL, "arguments": done}]}},
    )  # fmt: skip


FENCES: dict[str, tuple[str, Reply]] = {
    "Messages in pieces": ("messages/m", message_events("", "```json\n", '{"x": 1}', "\n```")),
    "Messages at once": ("messages/m", message_events(FENCED)),
    "Responses in pieces": ("responses/m", call_events("```json\n", '{"x": 1}', "\n```")),
    "Responses at the end": ("responses/m", call_events()),
    "Responses in pieces only": ("responses/m", call_events("```json\n", '{"x": 1}', "\n```", done="")),
    "Responses whole": ("responses/m", json_reply({**RESPONSE, "output": [CALL]})),
}


@pytest.mark.parametrize("client_dialect", ["A", "C", "R"])
@pytest.mark.parametrize("case", FENCES)
def test_arguments_in_a_fence_are_taken_out(
    every: Client, upstream: FakeUpstream, case: str, client_dialect: str
) -> None:
    model, reply = FENCES[case]
    upstream.script(reply)

    told = ask(every, client_dialect, model, stream="whole" not in case)

    assert (told.calls, told.finish) == ([("f", {"x": 1})], "tool_calls")
