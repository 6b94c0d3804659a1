"""Responses servers that know functions only, and call a custom tool as one. Codex ends the turn at such a call.

Sources: Wei-Shaw/sub2api#5659, router-for-me/CLIProxyAPI#5753, Anionex/agent-vision-toolkit#6, vm0-ai/vm0#28651.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.grammar import check, read_events
from tests.field.test_responses_streams import CREATED, HEAD, completed, stream
from tests.gateway.conftest import Client, events_of
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply

PATCH = '*** Begin Patch\n+ "x"\n*** End Patch'
SPELLINGS = {
    "as we wrap it": json.dumps({"input": PATCH}),
    "under another name": json.dumps({"patch": PATCH}),
    "with line ends": json.dumps({"input": PATCH}, indent=1),
    "unwrapped": PATCH,
}
TOOLS: list[dict[str, Any]] = [
    {"type": "custom", "name": "apply_patch", "format": {"type": "text"}},
    {"type": "function", "name": "f", "parameters": {"type": "object"}},
]


def call(name: str, arguments: str, number: int = 0) -> dict[str, Any]:
    item = {"id": f"fc_{number}", "type": "function_call", "call_id": f"call_{number}", "name": name}
    return item | {"arguments": arguments, "status": "completed"}


def events_for(number: int, item: dict[str, Any], size: int) -> list[dict[str, Any]]:
    place, arguments = {"output_index": number, "item_id": item["id"]}, item["arguments"]
    added = item | {"arguments": "", "status": "in_progress"}
    pieces = [arguments[start : start + size] for start in range(0, len(arguments), size)]
    return [
        {"type": "response.output_item.added", "output_index": number, "item": added},
        *({"type": "response.function_call_arguments.delta", **place, "delta": piece} for piece in pieces),
        {"type": "response.function_call_arguments.done", **place, "arguments": arguments},
        {"type": "response.output_item.done", "output_index": number, "item": item},
    ]


def streamed(*items: dict[str, Any], size: int = 5) -> Reply:
    inside = [event for number, item in enumerate(items) for event in events_for(number, item, size)]
    return stream(CREATED, *inside, completed(*items))


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_the_call_is_one_of_the_custom_tool(every: Client, upstream: FakeUpstream, spelling: str, size: int) -> None:
    upstream.script(streamed(call("apply_patch", SPELLINGS[spelling]), call("f", "{}", 1), size=size))

    response = every.ask("/v1/responses", {"model": "responses/m", "input": "q", "tools": TOOLS, "stream": True})

    check("R", read_events(response.text))
    events = [event for event in events_of(response) if event != "[DONE]"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert [(item["type"], item.get("input"), item["call_id"]) for item in done] == [
        ("custom_tool_call", PATCH, "call_0"),
        ("function_call", None, "call_1"),
    ]
    assert events[-1]["response"]["output"] == done
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    deltas = [event["delta"] for event in events if event["type"] == "response.custom_tool_call_input.delta"]
    assert "".join(deltas) == PATCH


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_whole_answer_has_the_custom_call(every: Client, upstream: FakeUpstream, spelling: str) -> None:
    reply = {**HEAD, "status": "completed", "output": [call("apply_patch", SPELLINGS[spelling]), call("f", "{}", 1)]}
    upstream.script(json_reply(reply))

    for _ in range(2):  # the second goes by the plan of the first
        output = every.ask("/v1/responses", {"model": "responses/m", "input": "q", "tools": TOOLS}).json["output"]

        assert (output[0]["type"], output[0]["input"]) == ("custom_tool_call", PATCH)
        assert output[1] == call("f", "{}", 1)


def test_the_calls_of_a_namespace_are_restored_too(every: Client, upstream: FakeUpstream) -> None:
    tools = [{"type": "namespace", "name": "functions", "description": "d", "tools": TOOLS[:1]}]
    upstream.script(streamed(call("apply_patch", SPELLINGS["as we wrap it"])))

    response = every.ask("/v1/responses", {"model": "responses/m", "input": "q", "tools": tools, "stream": True})

    assert '"type":"custom_tool_call"' in response.text


def test_a_function_of_the_same_name_stays_one(every: Client, upstream: FakeUpstream) -> None:
    tools = [{"type": "function", "name": "apply_patch", "parameters": {"type": "object"}}]
    upstream.script(streamed(call("apply_patch", '{"input": "custom"}')))

    response = every.ask("/v1/responses", {"model": "responses/m", "input": "q", "tools": tools, "stream": True})

    assert "custom_tool_call" not in response.text


@pytest.mark.parametrize("odd", [{"arguments": None}, {"arguments": []}, {"arguments": {"input": "x"}}])
def test_odd_items_break_nothing(every: Client, upstream: FakeUpstream, odd: dict[str, Any]) -> None:
    item = call("apply_patch", "{}") | odd
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    ended = completed(item)
    upstream.script(stream(CREATED, done | {"type": "response.output_item.added"}, done, ended))

    response = every.ask("/v1/responses", {"model": "responses/m", "input": "q", "tools": TOOLS, "stream": True})

    assert "response.completed" in response.text
