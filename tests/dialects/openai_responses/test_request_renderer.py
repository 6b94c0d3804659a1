"""Requests as servers of the Responses dialect get them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from app.conversation.blocks import CacheHint, Image, Inline, Reasoning, Refusal, Text, ToolCall, ToolResult
from app.conversation.request import FunctionTool, Request, Sampling, Turn
from app.dialects.openai_responses import render_request
from app.errors import InvalidRequest
from tests.dialects.openai_responses.request_bodies import USER, rendered
from tests.dialects.openai_responses.wire import UPSTREAM, ask, parse_body


def a_request(*turns: Turn, **more: Any) -> Request:
    return Request(dialect="anthropic_messages", model="m", turns=turns, **more)


def test_a_bridged_request_stores_nothing_and_asks_for_encrypted_reasoning() -> None:
    body = rendered(a_request(Turn("user", (Text("q"),)), stream=True))

    assert body == {
        "model": "gpt-5.4",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "q"}]}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "stream": True,
    }


def test_a_model_that_does_not_reason_is_not_asked_for_its_reasoning() -> None:
    body = rendered(a_request(Turn("user", (Text("q"),))), replace(UPSTREAM, reasoning_style="none"))

    assert "include" not in body


def test_tools_of_other_dialects_say_that_they_are_not_strict() -> None:
    schema = {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"]}

    body = rendered(a_request(Turn("user", (Text("q"),)), tools=(FunctionTool("f", schema=schema),)))

    assert body["tools"] == [{"type": "function", "name": "f", "parameters": schema, "strict": False}]


def test_tools_of_its_own_clients_keep_the_default_of_strictness() -> None:
    body = rendered(parse_body(ask(USER, tools=[{"type": "function", "name": "f", "parameters": {"type": "object"}}])))

    assert "strict" not in body["tools"][0]


def test_blocks_become_items_in_order() -> None:
    turn = Turn("assistant", (Text("one"), ToolCall("a", "f", '{"x":1}'), Text("two"), Text("three"), Refusal("no")))

    items = rendered(a_request(Turn("user", (Text("q"),)), turn))["input"]

    assert [item["type"] for item in items] == ["message", "message", "function_call", "message"]
    assert [part["type"] for part in items[3]["content"]] == ["output_text", "output_text", "refusal"]
    assert items[2]["id"].startswith("fc_")


def test_equal_messages_have_ids_of_their_own_and_the_same_ones_each_time() -> None:
    done = Turn("assistant", (Text("Done."),))
    request = a_request(Turn("user", (Text("q"),)), done, Turn("user", (Text("q"),)), done)

    ids = [[item["id"] for item in rendered(request)["input"] if "id" in item] for _ in range(2)]

    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


def test_instructions_are_one_text_unless_they_carry_breakpoints() -> None:
    texts = (Text("a", CacheHint("1h")), Text("b"))
    request = a_request(Turn("user", (Text("q"),)), instructions=texts)

    plain = rendered(request)
    hinted = rendered(request, replace(UPSTREAM, cache_hints="breakpoint"))

    assert plain["instructions"] == "a\n\nb"
    assert "instructions" not in hinted
    assert hinted["input"][0]["content"][0]["prompt_cache_breakpoint"] == {"mode": "explicit", "ttl": "30m"}


def test_the_hint_of_a_tool_result_stands_on_its_last_text() -> None:
    request = a_request(Turn("user", (ToolResult("a", (Text("done"),), cache=CacheHint("5m")),)))

    plain = rendered(request)["input"][0]
    hinted = rendered(request, replace(UPSTREAM, cache_hints="breakpoint"))["input"][0]

    assert plain["output"] == "done"
    assert hinted["output"] == [{"type": "input_text", "text": "done", "prompt_cache_breakpoint": {"mode": "explicit"}}]


@pytest.mark.parametrize("arguments", ["", " ", "null"])
def test_no_arguments_are_an_empty_object(arguments: str) -> None:
    item = rendered(a_request(Turn("assistant", (ToolCall("a", "f", arguments),))))["input"][0]

    assert item["arguments"] == "{}"


def test_the_output_of_an_unknown_call_is_the_clients() -> None:
    request = parse_body({"model": "m", "input": [USER, {"type": "new_tool_call_output", "call_id": "c"}]})

    assert [turn.role for turn in request.turns] == ["user", "user"]


def test_an_item_that_is_nothing_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_body({"model": "m", "input": [{"content": "x"}]})

    assert refused.value.failure.param == "input[0].type"


@pytest.mark.parametrize(("mode", "loss"), [("block", "wrong"), ("score", "degrading")])
def test_moderation_that_blocks_cannot_be_left_out(mode: str, loss: str) -> None:
    policy = {"model": "omni", "policy": {"output": {"mode": mode}}}

    request = parse_body({"model": "m", "input": "q", "moderation": policy})

    assert [(extension.name, extension.severity) for extension in request.extensions] == [("moderation", loss)]


def test_a_system_turn_is_a_developer_message_in_its_place() -> None:
    turns = (Turn("user", (Text("q"),)), Turn("system", (Text("late"),)), Turn("user", (Text("r"),)))

    items = rendered(a_request(*turns))["input"]

    assert [item["role"] for item in items] == ["user", "developer", "user"]


def test_results_hold_texts_and_images() -> None:
    results = (
        ToolResult("a", (Text("x"), Text("y"))),
        ToolResult("b", (Text("z"), Image(Inline("image/png", "iVBO")))),
    )

    items = rendered(a_request(Turn("user", (*results, Text("next")))))["input"]

    assert items[0]["output"] == "x\ny"
    assert [part["type"] for part in items[1]["output"]] == ["input_text", "input_image"]
    assert items[2]["content"] == [{"type": "input_text", "text": "next"}]


def test_a_small_limit_is_raised_to_the_least_that_is_taken() -> None:
    assert rendered(a_request(Turn("user", (Text("q"),)), max_tokens=1))["max_output_tokens"] == 16


def test_refused_fields_are_left_out_and_reported() -> None:
    capabilities = replace(UPSTREAM, refused_fields=("max_output_tokens", "metadata"))

    result = render_request(a_request(Turn("user", (Text("q"),)), max_tokens=100), capabilities)

    assert "max_output_tokens" not in json.loads(result.body)
    assert [(loss.severity, loss.path) for loss in result.losses] == [("degrading", "max_output_tokens")]


def test_what_the_dialect_cannot_say_is_reported() -> None:
    sampling = Sampling(top_k=5, seed=1, logit_bias={"1": 1.0}, frequency_penalty=0.5)

    result = render_request(a_request(Turn("user", (Text("q"),)), sampling=sampling, stop=("END",), n=2), UPSTREAM)

    assert {(loss.severity, loss.path) for loss in result.losses} == {
        ("degrading", "top_k"),
        ("degrading", "logit_bias"),
        ("degrading", "stop"),
        ("degrading", "frequency_penalty"),
        ("ignorable", "seed"),
        ("wrong", "n"),
    }


def test_an_open_server_gets_past_reasoning_as_text() -> None:
    turn = Turn("assistant", (Reasoning("thought"), Text("said")))
    capabilities = replace(UPSTREAM, proofs=(), reasoning_replay="reasoning")

    items = rendered(a_request(Turn("user", (Text("q"),)), turn), capabilities)["input"]

    assert items[1]["content"] == [{"type": "reasoning_text", "text": "thought"}]
