"""Fields that servers refuse: the request comes through without them."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.asking import every_client, tool
from tests.field.pairs import GOOD, ask, whole_reply
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

HISTORY: dict[str, dict[str, Any]] = {
    "A": {"messages": [{"role": "user", "content": "q"},
                       {"role": "assistant", "content": [{"type": "thinking", "thinking": "because", "signature": "eA=="},
                                                         {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}}]},
                       {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "ok"}]}]},
    "C": {"messages": [{"role": "user", "content": "q"},
                       {"role": "assistant", "content": None, "reasoning_content": "because",
                        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}]},
                       {"role": "tool", "tool_call_id": "c1", "content": "ok"}]},
    "R": {"input": [{"role": "user", "content": "q"},
                    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "because"}]},
                    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"x":1}'},
                    {"type": "function_call_output", "call_id": "c1", "output": "ok"}]},
}  # fmt: skip


# What the server says, and the field of the second request that must be gone.
REFUSALS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "FB-245 Kimi temperature": (
        {"error": {"message": "invalid temperature: only 1 is allowed for this model"}},
        {"temperature": 0.2},
        "temperature",
    ),
    "FB-245 Kimi top_p": (
        {"error": {"message": "invalid top_p: only 0.95 is allowed for this model"}},
        {"top_p": 0.9},
        "top_p",
    ),
    "OpenAI": (
        {
            "error": {
                "message": "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.",
                "param": "temperature",
                "code": "unsupported_value",
            }
        },
        {"temperature": 0.2},
        "temperature",
    ),
    "a param alone": ({"error": {"message": "Bad request.", "param": "top_p"}}, {"top_p": 0.9}, "top_p"),
    "Cerebras": (
        {"message": "body.temperature: property 'body.temperature' is unsupported", "code": "wrong_api_format"},
        {"temperature": 0.2},
        "temperature",
    ),
    "Fireworks": (
        {"error": {"message": "Extra inputs are not permitted, field: 'top_p', value: 0.9"}},
        {"top_p": 0.9},
        "top_p",
    ),
    "FastAPI": (
        {
            "detail": [
                {"type": "extra_forbidden", "loc": ["body", "temperature"], "msg": "Extra inputs are not permitted"}
            ]
        },
        {"temperature": 0.2},
        "temperature",
    ),
    "Azure": (
        {"error": {"message": "Validation error at #/temperature: Extra inputs are not permitted", "code": 400}},
        {"temperature": 0.2},
        "temperature",
    ),
    "xAI": (
        {"error": "Argument not supported on this model: topP", "code": "invalid argument"},
        {"top_p": 0.9},
        "top_p",
    ),
    "a bare name": ({"error": {"message": "top_p is not supported"}}, {"top_p": 0.9}, "top_p"),
    "Codex backend": ({"detail": "Unsupported parameter: top_p"}, {"top_p": 0.9}, "top_p"),
    "Databricks": (
        {
            "error_code": "BAD_REQUEST",
            "message": json.dumps({"message": "temperature: Extra inputs are not permitted"}),
        },
        {"temperature": 0.2},
        "temperature",
    ),
}


@every_client
def test_a_field_that_a_refusal_names_is_left_out(client: Client, upstream: FakeUpstream, dialect: str) -> None:
    for name, (refusal, more, field) in REFUSALS.items():
        upstream.seen.clear()
        upstream.script(json_reply(refusal, 400), GOOD)

        told = ask(client, dialect, f"chat/m-{len(name)}{name[-3:].strip()}", **more)

        assert (told.status, told.text) == (200, "t"), (name, told)
        first, second = (seen.json() for seen in upstream.seen)
        assert field in first, name
        assert field not in second, name


@every_client
@pytest.mark.parametrize(
    "said",
    [
        "'messages.1' : for 'role:assistant' the following must be satisfied[('messages.1' : property 'reasoning_content' is unsupported)]",
        "messages.1.reasoning_content: Extra inputs are not permitted",
        "Unknown field: messages[1].reasoning_content",
    ],
)
def test_a_field_below_the_top_is_left_out_too(
    make_client: MakeClient, upstream: FakeUpstream, dialect: str, said: str
) -> None:
    client = make_client(chat={"quirks": {"reasoning_replay": "reasoning_content"}})
    upstream.script(json_reply({"error": {"message": said}}, 400), GOOD)

    told = ask(client, dialect, "chat/m", **HISTORY[dialect])

    assert told.text == "t"
    first, second = (seen.body for seen in upstream.seen)
    assert b"reasoning_content" in first
    assert b"reasoning_content" not in second
    assert json.loads(json.loads(second)["messages"][1]["tool_calls"][0]["function"]["arguments"]) == {"x": 1}


@pytest.mark.parametrize(
    ("field", "said"),
    [
        # carlrobertoh/ProxyAI#1142
        (
            "toolCallId",
            "'messages.0' : for 'role:user' the following must be satisfied[('messages.0' : property 'toolCallId' is unsupported)]",
        ),
        ("createdAt", "messages.0.createdAt: Extra inputs are not permitted"),
        ("createdAt", "Additional properties are not allowed ('createdAt' was unexpected) - 'messages.0'"),
        ("id", "messages.0.id: Extra inputs are not permitted"),
        ("id", "Unknown parameter: 'messages[0].id'."),
        ("id", "'messages.0' : property 'id' is unsupported"),
        (
            "name",
            "Invalid 'messages[0].name': string does not match pattern. Expected a string that matches the pattern '^[^\\s<|\\\\/>]+$'.",
        ),
        ("name", "'messages.0' : property 'name' is unsupported"),
    ],
)
def test_a_field_of_messages_is_left_out_of_messages_alone(
    client: Client, upstream: FakeUpstream, field: str, said: str
) -> None:
    """`said` is what Groq, Cerebras and OpenAI say. Calls need their ids and names."""
    upstream.script(json_reply({"error": {"message": said}}, 400), GOOD)
    question, *others = HISTORY["C"]["messages"]

    told = ask(client, "C", "chat/m", messages=[{**question, field: "an odd one"}, *others])

    assert told.text == "t", told.error
    first, call, _ = upstream.seen[1].json()["messages"]
    assert field not in first
    assert (call["tool_calls"][0]["id"], call["tool_calls"][0]["function"]["name"]) == ("c1", "f")


@every_client
def test_the_ids_of_items_are_left_out_where_they_are_refused(
    every: Client, upstream: FakeUpstream, dialect: str
) -> None:
    said = {"message": "Unknown parameter: 'input[1].id'.", "code": "unknown_parameter", "param": "input[1].id"}
    upstream.script(json_reply({"error": said}, 400), json_reply(whole_reply("R", "t")))

    told = ask(every, dialect, "responses/m", **HISTORY[dialect])

    assert told.text == "t", told.error
    items = upstream.seen[1].json()["input"]
    assert [item for item in items if "id" in item] == []
    assert [item["call_id"] for item in items if item.get("type") == "function_call"] == ["c1"]


def test_a_server_that_names_one_field_at_a_time_is_asked_until_it_is_content(
    client: Client, upstream: FakeUpstream
) -> None:
    """decolua/9router#1468, anthropics/claude-code#41966, raine/claude-code-proxy#56: what Claude Code sends."""
    odd: dict[str, Any] = {"diagnostics": {"previous_message_id": None}, "speed": "standard", "service_tier": "auto",
                           "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}, "novelty": 1,
                           "another": "us"}  # fmt: skip
    refusals = [
        json_reply({"type": "error", "error": {"type": "invalid_request_error",
                                               "message": f"{name}: Extra inputs are not permitted"}}, 400)
        for name in odd
    ]  # fmt: skip
    upstream.script(*refusals, json_reply(whole_reply("A", "t")))

    assert ask(client, "A", "messages/m", **odd).text == "t"

    assert odd.keys().isdisjoint(upstream.seen[-1].json())


def test_one_refusal_is_enough_for_all_odd_fields_of_messages(client: Client, upstream: FakeUpstream) -> None:
    """Answers that clients send back with all that came beside them, to a vendor that names one field at a time."""
    said = {"message": "Unknown parameter: 'messages[1].usage'.", "param": "messages[1].usage"}
    upstream.script(json_reply({"error": said}, 400), GOOD)
    odd = {"usage": {"x": 1}, "model": "m", "finish_reason": "stop", "type": "message", "id": "1", "createdAt": "now"}
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "z"}]

    told = ask(client, "C", "chat/m", messages=[turns[0], {**turns[1], **odd}, turns[2]])

    assert (told.text, upstream.seen[1].json()["messages"]) == ("t", turns)


@pytest.mark.parametrize(
    "said",
    [
        # anthropics/anthropic-sdk-typescript#885, alphaXiv/agents#49, agno-agi/agno#8122
        "The compiled grammar is too large, which would cause performance issues. Simplify your tool schemas or reduce the number of strict tools.",
        # langchain-ai/langchainjs#11100, genkit-ai/genkit#5230, CherryHQ/cherry-studio#18179
        "Schema is too complex for compilation. Try reducing the number of tools or simplifying tool schemas.",
        "Too many strict tools (25). The maximum number of strict tools supported is 20.",
    ],
)
@every_client
def test_tools_whose_schemas_cannot_be_enforced_are_no_longer_strict(
    every: Client, upstream: FakeUpstream, dialect: str, said: str
) -> None:
    """The SDKs of OpenAI make every tool strict, and Claude refuses more than a few."""
    refused = {"type": "error", "error": {"type": "invalid_request_error", "message": said}}
    upstream.script(json_reply(refused, 400), json_reply(whole_reply("A", "t")))
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"],
              "additionalProperties": False}  # fmt: skip
    strict = tool(dialect, schema=schema, strict=True)

    told = ask(every, dialect, "messages/claude-sonnet-4-5", tools=[strict])

    assert told.text == "t", told.error
    first, second = (seen.json()["tools"][0] for seen in upstream.seen)
    assert (first["strict"], second.get("strict"), second["input_schema"]) == (True, None, schema)


@every_client
def test_fields_of_the_clients_own_are_never_left_out(client: Client, upstream: FakeUpstream, dialect: str) -> None:
    said = "Unsupported property 'x' in the schema of tool 'f'; model m is invalid; messages are not supported"
    upstream.script(json_reply({"error": {"message": said}}, 400))

    told = ask(client, dialect, "chat/m")

    assert told.status == 400
    assert len(upstream.seen) == 1


def test_only_the_field_at_the_path_that_was_refused_is_left_out(every: Client, upstream: FakeUpstream) -> None:
    """Organizations that are not verified get no summaries, but items of the input need that field."""
    said = "Your organization must be verified to generate reasoning summaries."
    refused = {"message": said, "param": "reasoning.summary"}
    upstream.script(
        json_reply({"error": {**refused, "type": "invalid_request_error", "code": "unsupported_value"}}, 400),
        json_reply(whole_reply("R", "t")),
    )
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    question = {"role": "user", "content": "q"}
    past = [question, thought, {"role": "assistant", "content": "a"}, question]
    wanted = {"effort": "low", "summary": "auto"}

    told = ask(every, "R", "responses/gpt-5", input=past, reasoning=wanted)

    assert told.text == "t"
    assert [seen.json().get("reasoning") for seen in upstream.seen] == [wanted, {"effort": "low"}]
    assert [thought in seen.json()["input"] for seen in upstream.seen] == [True, True]
