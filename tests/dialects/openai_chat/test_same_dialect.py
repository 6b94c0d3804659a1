"""What changes in a request between a client and a server that both speak Chat Completions: as little as possible."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.conversation.blocks import Proof
from app.conversation.envelope import seal
from app.dialects import openai_chat
from app.dialects.openai_chat import NAME
from app.errors import InvalidRequest
from tests.dialects.openai_chat.passing import can
from tests.support.same_dialect import send_on

CALL_OF_HISTORY = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def patch(body: Any, **more: Any) -> dict[str, Any]:
    """What the upstream gets; that nothing is streamed need not be said."""
    value: dict[str, Any] = json.loads(send_on(openai_chat, json.dumps(body).encode(), can(**more)).body)
    return {name: said for name, said in value.items() if (name, said) != ("stream", False)}


def ask(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "x"}], **more}


NO_PARAMETERS = {"type": "object", "properties": {}}


def test_a_clean_body_keeps_every_byte_but_the_models_name() -> None:
    message = b'{"role":"user","content":"\\"model\\":\\"m\\" \\u00e9"}'
    body = b' {"messages" : [ ' + message + b' ], "x_new":[1.0,1e-7],\n "model" :"m"}'

    patched = send_on(openai_chat, body, can())

    assert patched.body == body.replace(b':"m"}', b':"real"}')
    assert patched.losses == ()


def test_the_name_is_found_behind_others_of_its_kind() -> None:
    body = b'{"tools":[{"type":"odd","model":"m"}],"model":"m","metadata":{"model":"m"}}'

    patched = send_on(openai_chat, body, can())

    assert patched.body == b'{"tools":[{"type":"odd","model":"m"}],"model":"real","metadata":{"model":"m"}}'


def test_flat_tools_are_nested() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string"}}}
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}

    body = patch(
        ask(
            tools=[
                {"type": "function", "name": "f", "parameters": schema},
                {"type": "custom", "name": "p", "format": grammar},
                {"type": "function", "function": {"name": "g"}},
            ]
        ),
        custom_tools=True,
    )

    assert body["tools"] == [
        {"type": "function", "function": {"name": "f", "parameters": schema}},
        {
            "type": "custom",
            "custom": {
                "name": "p",
                "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /.+/"}},
            },
        },
        {"type": "function", "function": {"name": "g", "parameters": NO_PARAMETERS}},
    ]


@pytest.mark.parametrize(
    ("sent", "wanted"), [("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")]
)
def test_the_limit_goes_under_the_name_that_the_upstream_knows(sent: str, wanted: str) -> None:
    body = patch(ask(**{sent: 5}), max_tokens_field=wanted)

    assert body[wanted] == 5
    assert sent not in body


def test_of_two_limits_one_is_sent() -> None:
    body = patch(ask(max_tokens=5, max_completion_tokens=7))

    assert (body.get("max_tokens"), body.get("max_completion_tokens")) == (7, None)


def test_a_limit_above_what_the_model_can_is_lowered_and_reported() -> None:
    rendered = send_on(openai_chat, json.dumps(ask(max_tokens=90_000)).encode(), can(max_output=16_384))

    assert json.loads(rendered.body)["max_tokens"] == 16_384
    assert [loss.severity for loss in rendered.losses] == ["degrading"]


def test_sampling_that_the_model_refuses_is_left_out_and_reported() -> None:
    body = ask(temperature=0, top_p=0.5, seed=5, logprobs=False)

    rendered = send_on(
        openai_chat, json.dumps(body).encode(), can(temperature=False, top_p=False, seed=False, logprobs=False)
    )

    assert json.loads(rendered.body) == ask() | {"model": "real", "stream": False}
    assert {loss.path: loss.severity for loss in rendered.losses} == {
        "temperature": "degrading",
        "top_p": "degrading",
        "seed": "ignorable",
    }


def test_sampling_stays_where_reasoning_is_off() -> None:
    thinking = patch(ask(temperature=0, reasoning_effort="high"), reasoning_excludes_sampling=True)
    silent = patch(ask(temperature=0, reasoning_effort="none"), reasoning_excludes_sampling=True)

    assert "temperature" not in thinking
    assert silent["temperature"] == 0


def test_a_reasoning_model_that_does_not_think_takes_a_temperature() -> None:
    model = {"temperature": False, "reasoning_off": "none"}

    off = patch(ask(temperature=0, reasoning_effort="none"), reasoning_by_default=True, **model)
    unasked = patch(ask(temperature=0), reasoning_by_default=True, **model)
    low = patch(ask(temperature=0, reasoning_effort="low"), **model)

    assert (off["temperature"], "temperature" in unasked, "temperature" in low) == (0, False, False)
    assert patch(ask(temperature=0), **model)["temperature"] == 0


def test_developer_messages_become_system_messages_where_only_those_are_known() -> None:
    messages = [{"role": "developer", "content": "a"}, {"role": "user", "content": "b"}]

    assert patch(ask(messages=messages))["messages"][0]["role"] == "system"
    assert patch(ask(messages=messages), system_role="developer")["messages"] == messages


def test_reasoning_in_the_history_passes_but_our_own_seals_do_not() -> None:
    proof = Proof("anthropic_messages", "thinking", (b'{"type":"thinking","thinking":"hm","signature":"s"}',))
    foreign = {"type": "reasoning.encrypted", "data": seal(proof)}
    native = {"type": "reasoning.text", "text": "hm"}
    history = [
        {"role": "assistant", "content": "a", "reasoning_content": "hm", "reasoning_details": [foreign]},
        {"role": "assistant", "content": "b", "reasoning_details": [native, foreign]},
    ]

    messages = patch(ask(messages=history), reasoning_replay="reasoning_content")["messages"]

    assert messages == [
        {"role": "assistant", "content": "a", "reasoning_content": "hm"},
        {"role": "assistant", "content": "b", "reasoning_content": "hm"},
    ]


def test_the_vendor_itself_gets_no_reasoning_fields() -> None:
    history = [{"role": "assistant", "content": "a", "reasoning_content": "hm"}]

    assert patch(ask(messages=history), first_party=True)["messages"] == [{"role": "assistant", "content": "a"}]


def test_calls_get_the_reasoning_field_that_the_upstream_demands() -> None:
    history: list[dict[str, Any]] = []
    for name, thought in (("a", {}), ("b", {"reasoning": "hm"}), ("c", {"reasoning_content": "kept"})):
        history += [
            {"role": "assistant", "content": None, "tool_calls": [{**CALL_OF_HISTORY, "id": name}], **thought},
            {"role": "tool", "tool_call_id": name, "content": "ok"},
        ]

    messages = patch(ask(messages=history), reasoning_replay="reasoning_content", reasoning_required=True)["messages"]

    assert [message.get("reasoning_content") for message in messages[::2]] == ["", "hm", "kept"]


def test_the_first_call_without_a_proof_gets_what_stands_for_one_where_one_is_demanded() -> None:
    sentinel = {"google": {"thought_signature": "none"}}
    signature = {"extra_content": {"google": {"thought_signature": "TS"}}}
    first, second, signed = (
        {**CALL_OF_HISTORY, "id": name, **more} for name, more in (("a", {}), ("b", {}), ("c", signature))
    )
    turns: list[dict[str, Any]] = []
    for calls in ([first, second], [signed]):
        turns.append({"role": "assistant", "content": None, "tool_calls": calls})
        turns += [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in calls]

    sent = patch({"model": "m", "messages": turns}, unsigned_call=sentinel, proofs=(NAME,))["messages"]

    assert sent[0]["tool_calls"] == [{**first, "extra_content": sentinel}, second]
    assert sent[3]["tool_calls"] == [signed]


def test_refused_fields_and_stream_options_are_left_out_and_extra_fields_put_in() -> None:
    body = patch(
        ask(stream=True, stream_options={"include_usage": True}, store=True),
        stream_usage=False,
        refused_fields=("store",),
        extra_body={"provider": {"sort": "price"}},
    )

    assert body == ask(stream=True) | {"model": "real", "provider": {"sort": "price"}}


def test_schemas_stay_within_what_gemini_understands() -> None:
    schema = {"type": "array", "items": {"type": ["string", "null"], "format": "uri"}, "$schema": "x"}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    function = {"name": "f", "strict": True, "parameters": {"type": "object", "properties": {"format": schema}}}
    body = ask(tools=[{"type": "function", "function": function}], response_format=wanted)

    patched = patch(body, schema="gemini")

    fitting = {"type": "array", "items": {"nullable": True, "type": "string"}}
    parameters = {"type": "object", "properties": {"format": fitting}}
    (function,) = [tool["function"] for tool in patched["tools"]]
    assert (function["name"], function["parameters"], function.get("strict")) == ("f", parameters, False)
    assert patched["response_format"]["json_schema"] == {"name": "n", "schema": fitting}
    assert patch(body) == {**body, "model": "real"}


def test_an_upstream_that_only_streams_is_asked_for_a_stream_with_usage() -> None:
    body = patch(ask(stream=False), stream_only=True)

    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}


def test_an_upstream_that_only_streams_and_knows_no_stream_options_is_not_asked_for_usage() -> None:
    assert "stream_options" not in patch(ask(stream=False), stream_only=True, stream_usage=False)


def test_the_stream_of_a_client_that_did_not_ask_for_usage_is_left_as_it_is() -> None:
    assert "stream_options" not in patch(ask(stream=True), stream_only=True)


def test_input_in_place_of_messages_goes_the_long_way() -> None:
    body = patch({"model": "m", "input": "Hello"})

    assert body["model"] == "real"
    assert body["messages"] == [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"model":"m","messages":[', b"[" * 9000])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        send_on(openai_chat, body, can())


@pytest.mark.parametrize("messages", ["x", [7], [None], {"a": 1}, None])
def test_odd_messages_are_left_to_the_upstream(messages: Any) -> None:
    body = {"model": "real", "messages": messages, "x": '"developer"', "y": "developer"}

    assert patch(body, reasoning_required=True) == body
