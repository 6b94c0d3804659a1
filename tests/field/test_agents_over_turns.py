"""Histories that agents send after many turns: legal in their own dialect, and refused by the server of another, or of
the next model, because of what they carry along."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

from typing import Any

import pytest

from app.errors import InvalidRequest
from tests.field.translating import CHAT, MESSAGES, RESPONSES, send, upstream
from tests.gateway.conftest import Client, MakeClient
from tests.support.answers import chat_answer
from tests.support.fake_upstream import FakeUpstream, json_reply

USER = {"role": "user", "content": "q"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
PIXEL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def called(name: str = "f") -> dict[str, Any]:
    call = {"id": "a1b2c3d4e", "type": "function", "function": {"name": name, "arguments": "{}"}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


RESULT = {"role": "tool", "tool_call_id": "a1b2c3d4e", "content": "ok"}


@pytest.mark.parametrize(
    ("after", "roles"),
    [
        ([USER], []),
        ([USER, USER, USER], []),
        ([{"role": "user", "content": [{"type": "text", "text": "see"}, PIXEL]}], ["assistant", "user"]),
        ([USER, {"role": "user", "content": [PIXEL]}], ["assistant", "user"]),
        ([RESULT, USER], []),
    ],
    ids=["one text", "several texts", "text and image", "text, then image", "a result sent twice"],
)
def test_no_user_speaks_right_after_a_tool_at_mistral(after: list[Any], roles: list[str]) -> None:
    asked, _ = send(CHAT, {"messages": [USER, called(), RESULT, *after], "tools": [TOOL]}, upstream(CHAT, "mistral"))

    assert [turn["role"] for turn in asked["messages"]] == ["user", "assistant", "tool", *roles]
    assert str(asked).count("see") == str(after).count("see")


def test_a_model_does_not_think_before_words_that_it_only_continues() -> None:
    begun = [USER, {"role": "assistant", "content": "{"}]

    asked, losses = send(CHAT, {"messages": begun, "reasoning_effort": "high"}, upstream(MESSAGES))

    assert "thinking" not in asked
    assert [loss.severity for loss in losses] == ["degrading"]


def test_reasoning_that_an_edited_history_repeats_is_sent_once() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"}
    answer = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}
    exchange = [{"role": "user", "content": "q"}, thought, answer]

    asked, losses = send(RESPONSES, {"input": [*exchange, *exchange, exchange[0]]}, upstream(RESPONSES))

    assert [item["type"] for item in asked["input"]].count("reasoning") == 1
    assert [item["type"] for item in asked["input"]].count("message") == 5
    assert any("repeats" in loss.why for loss in losses)


@pytest.mark.parametrize("name", ["srv.f", "srv f", "mcp__" + "f" * 90])
@pytest.mark.parametrize("dialect", ["chat", "responses"])
def test_a_past_call_of_a_tool_that_is_gone_has_a_name_that_the_next_server_takes(
    every: Client, upstream: FakeUpstream, dialect: str, name: str
) -> None:
    upstream.script(json_reply(chat_answer()))
    path, body = "/v1/chat/completions", {"messages": [USER, called(name), RESULT], "tools": [TOOL]}
    if dialect == "responses":
        name = name.ljust(140, "x") if name.startswith("mcp") else name
        items = [
            {"type": "function_call", "call_id": "c", "name": name, "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "ok"},
        ]
        path, body = "/v1/responses", {"input": [USER, *items], "store": False}

    every.ask(path, {"model": f"{dialect}/m", **body})

    assert name not in upstream.seen[0].body.decode()


def test_an_empty_list_of_calls_does_not_reach_openai(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(chat={"profile": "openai"})
    upstream.script(json_reply(chat_answer()))

    client.chat(messages=[USER, {"role": "assistant", "content": "a", "tool_calls": []}, USER])

    assert "tool_calls" not in upstream.seen[0].body.decode()


@pytest.mark.parametrize(
    "refused",
    [{"content": None, "refusal": "no"}, {"content": [{"type": "refusal", "refusal": "no"}]}],
    ids=["a field", "a part"],
)
@pytest.mark.parametrize(("profile", "field"), [("openai", True), ("generic", False), ("minimax", False)])
def test_a_past_refusal_is_a_text_where_no_server_knows_refusals(
    make_client: MakeClient, upstream: FakeUpstream, profile: str, field: bool, refused: dict[str, Any]
) -> None:
    client = make_client(chat={"profile": profile})
    upstream.script(json_reply(chat_answer()))

    client.chat(messages=[USER, {"role": "assistant", **refused}, USER])

    said = upstream.seen[0].json()["messages"][1]
    assert "no" in str(said)
    assert field or said == {"role": "assistant", "content": "no"}


@pytest.mark.parametrize(
    "thought",
    [
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "format": "openai-responses-v1"}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": "x", "signature": "y"}]},
    ],
    ids=["OpenRouter's", "LiteLLM's"],
)
def test_thoughts_of_other_servers_do_not_reach_gemini(
    make_client: MakeClient, upstream: FakeUpstream, thought: dict[str, Any]
) -> None:
    client = make_client(chat={"profile": "gemini"})
    upstream.script(json_reply(chat_answer()))

    client.chat(messages=[USER, {"role": "assistant", "content": "a", **thought}, USER])

    assert upstream.seen[0].json()["messages"][1] == {"role": "assistant", "content": "a"}


def test_what_only_responses_says_of_calls_and_files_survives_a_rewriting() -> None:
    given = [
        {"role": "user", "content": [{"type": "input_file", "file_url": "https://x/a.pdf", "detail": "high"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "caller": {"type": "direct"}, "async": True},
        {"type": "function_call_output", "call_id": "c", "output": "ok", "caller": {"type": "direct"}},
    ]  # fmt: skip

    asked, _ = send(RESPONSES, {"input": given}, upstream(RESPONSES))
    message, call, result = asked["input"]
    elsewhere, _ = send(RESPONSES, {"input": given[1:]}, upstream(MESSAGES))

    assert message["content"][0]["detail"] == "high"
    assert (call["caller"], call["async"], result["caller"]) == ({"type": "direct"}, True, {"type": "direct"})
    assert "caller" not in str(elsewhere)


@pytest.mark.parametrize("told", [5, {"a": 1}, [{"type": "input_image"}]], ids=["a number", "an object", "an image"])
def test_instructions_that_are_no_text_are_refused_by_name(told: Any) -> None:
    with pytest.raises(InvalidRequest, match="instructions"):
        send(RESPONSES, {"input": "q", "instructions": told}, upstream(MESSAGES))


@pytest.mark.parametrize(
    ("told", "said"),
    [(5, "5"), ([{"type": "text", "text": "a"}], "a"), ({"a": True}, '{"a":true}')],
    ids=["a number", "parts", "an object"],
)
@pytest.mark.parametrize("kind", ["function", "custom"])
def test_a_tools_description_that_is_no_text_is_carried_as_one(kind: str, told: Any, said: str) -> None:
    tool = {"type": kind, kind: {"name": "f", "description": told}}

    asked, _ = send(CHAT, {"messages": [USER], "tools": [tool]}, upstream(MESSAGES))

    assert asked["tools"][0]["description"].startswith(said)
