"""What servers refuse, and that the request comes through all the same: a field left out, or said in another way."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.conversation.blocks import Proof
from app.conversation.envelope import seal
from app.dialects.openai_chat.vocabulary import SEALED_FORMAT
from tests.field.asking import both_modes, every_client, forced, saying, tool
from tests.field.pairs import ask, chat_events, chat_reply, delta, whole_reply
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

GOOD = json_reply(chat_reply({"content": "t"}))
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


@every_client
@both_modes
@pytest.mark.parametrize(
    "said",
    [
        "parameter.enable_thinking must be set to false for non-streaming calls",
        "Non Streaming Request are not supported",
        "This model only supports streaming responses. Set stream=true.",
        "Stream must be set to true",
    ],
)
def test_a_server_that_only_streams_is_asked_for_a_stream(
    client: Client, upstream: FakeUpstream, dialect: str, said: str, stream: bool
) -> None:
    answer = chat_events(delta({"role": "assistant", "content": "t"}), delta({}, "stop"), "[DONE]")
    upstream.script(json_reply({"error": {"message": said}}, 400), answer)

    if stream:
        told = ask(client, dialect, "chat/m", stream=True)
        assert told.status == 400 or told.error
        return
    told = ask(client, dialect, "chat/m")

    assert told.text == "t"
    assert upstream.seen[1].json()["stream"] is True


@every_client
@pytest.mark.parametrize("profile", ["lmstudio", None])
def test_a_named_tool_is_forced_in_the_words_of_the_server(
    make_client: MakeClient, upstream: FakeUpstream, dialect: str, profile: str | None
) -> None:
    """FB-248: only texts are taken there; the named tool is then the only one."""
    client = make_client(chat={"profile": profile} if profile else {})
    refusal = {"error": "Invalid tool_choice type: 'object'. Supported string values: none, auto, required"}
    upstream.script(*([] if profile else [json_reply(refusal, 400)]), GOOD)
    tools = [tool(dialect, "f", {}), tool(dialect, "g", {})]

    told = ask(client, dialect, "chat/m", tools=tools, tool_choice=forced(dialect))

    assert told.status == 200
    sent = upstream.seen[-1].json()
    assert sent["tool_choice"] == "required"
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["f"]


@every_client
def test_a_forced_call_that_does_not_go_with_thinking_is_asked_for(
    client: Client, upstream: FakeUpstream, dialect: str
) -> None:
    said = "tool_choice 'specified' is incompatible with thinking enabled"
    refusal, answer = json_reply({"error": {"message": said}}, 400), json_reply(chat_reply({"content": '{"x":1}'}))
    upstream.script(refusal, refusal, answer)

    assert ask(client, dialect, "chat/m", tool_choice=forced(dialect)).status == 200
    assert upstream.seen[-1].json().get("tool_choice") in (None, "auto")


def test_a_role_that_the_server_does_not_know_is_the_systems(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(chat={"quirks": {"system_role": "developer"}})
    said = "messages[0].role: unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`"
    upstream.script(json_reply({"error": {"message": said}}, 400), GOOD)
    messages = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hi"}]

    told = ask(client, "C", "chat/m", messages=messages)

    assert told.text == "t"
    assert upstream.seen[-1].json()["messages"][0]["role"] == "system"


LIMITED = {
    "OpenAI": "max_tokens is too large: 32000. This model supports at most 16384 completion tokens, whereas you provided 32000.",
    "Anthropic": "max_tokens: 32000 > 16384, which is the maximum allowed number of output tokens for claude-3-7-sonnet-20250219",
    "DeepSeek": "Invalid max_tokens value, the valid range of max_tokens is [1, 16384]",
    "Groq": "`max_completion_tokens` must be less than or equal to `16384`, the maximum value for this model",
    "Qwen": "<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 16384]",
    "Mistral": "Requested 32,000 output tokens for mistral-small-2409, the limit is 16,384",
}


@every_client
@pytest.mark.parametrize("server", LIMITED)
def test_an_answer_may_be_as_long_as_the_refusal_says(
    every: Client, upstream: FakeUpstream, dialect: str, server: str
) -> None:
    """FB-152 for a limit that nobody configured: the number is in the refusal. After three of them it is known."""
    refusal = json_reply({"error": {"message": LIMITED[server], "type": "invalid_request_error"}}, 400)
    upstream.script(*[refusal, GOOD] * 3, GOOD)
    limit = {"A": "max_tokens", "C": "max_completion_tokens", "R": "max_output_tokens"}[dialect]

    told = [ask(every, dialect, "chat/m", **{limit: 32000}) for _ in range(4)]

    assert [one.text for one in told] == ["t"] * 4
    assert [seen.json()["max_tokens"] for seen in upstream.seen] == [*[32000, 16384] * 3, 16384]


@every_client
@pytest.mark.parametrize(
    "said",
    [
        "messages.1.content.0.thinking.signature: Field required",
        "messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified.",
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    ],
)
def test_thinking_that_claude_does_not_take_is_left_out_of_the_next_try(
    every: Client, upstream: FakeUpstream, dialect: str, said: str
) -> None:
    """FB-080, and how else the vendor says it."""
    refusal = json_reply({"type": "error", "error": {"type": "invalid_request_error", "message": said}}, 400)
    answer = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "t"}],
              "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
    upstream.script(refusal, json_reply(answer))

    told = ask(every, dialect, "messages/claude-opus-4-8", **signed_history(dialect))

    assert told.text == "t"
    assert [b'"type":"thinking"' in seen.body.replace(b" ", b"") for seen in upstream.seen] == [True, False]


def signed_history(dialect: str) -> dict[str, Any]:
    """A past turn whose thinking Claude signed, as a client of the dialect sends it back."""
    thinking = {"type": "thinking", "thinking": "because", "signature": "c2lnbmVk"}
    proof = Proof("anthropic_messages", "thinking", (json.dumps(thinking).encode(),))
    match dialect:
        case "A":
            return {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [thinking, {"type": "text", "text": "a"}]},
                                 {"role": "user", "content": "more"}]}  # fmt: skip
        case "C":
            detail = {
                "type": "reasoning.text",
                "text": "because",
                "signature": "c2lnbmVk",
                "format": "anthropic-claude-v1",
            }
            return {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_details": [detail]},
                                 {"role": "user", "content": "more"}]}  # fmt: skip
        case _:
            reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal(proof)}
            return {"input": [{"role": "user", "content": "q"}, reasoning, {"role": "assistant", "content": "a"},
                              {"role": "user", "content": "more"}]}  # fmt: skip


@every_client
@pytest.mark.parametrize("status", [400, 404])
def test_an_item_that_openai_does_not_find_is_left_out_of_the_next_try(
    every: Client, upstream: FakeUpstream, dialect: str, status: int
) -> None:
    """FB-091: the vendor says it with either status."""
    assert_reasoning_is_left_out(every, upstream, dialect, status, "Item with id 'rs_1' not found.")


@every_client
@pytest.mark.parametrize(
    "said",
    [
        "Item 'rs_1' of type 'reasoning' was provided without its required following item.",
        "Item 'fc_1' of type 'function_call' was provided without its required 'reasoning' item: 'rs_1'.",
        "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false.",
        "The encrypted content gAAA could not be verified. Reason: Encrypted content item_id did not match the target item id.",
    ],
)
def test_reasoning_that_openai_does_not_take_is_left_out_of_the_next_try(
    every: Client, upstream: FakeUpstream, dialect: str, said: str
) -> None:
    """FB-092, and how else the vendor says it."""
    assert_reasoning_is_left_out(every, upstream, dialect, 400, said)


def assert_reasoning_is_left_out(every: Client, upstream: FakeUpstream, dialect: str, status: int, said: str) -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAx"}
    carrier = seal(Proof("openai_responses", "reasoning", (json.dumps(item).encode(),)))
    answer = {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "t", "annotations": []}]}]}  # fmt: skip
    upstream.script(
        json_reply({"error": {"message": said, "type": "invalid_request_error", "param": "input"}}, status),
        json_reply(answer),
    )
    past: dict[str, Any] = {
        "A": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [{"type": "redacted_thinking", "data": carrier}, {"type": "text", "text": "a"}]},
              {"role": "user", "content": "more"}],
        "C": [{"role": "user", "content": "q"},
              {"role": "assistant", "content": "a", "reasoning_details": [{"type": "reasoning.encrypted", "data": carrier, "format": SEALED_FORMAT, "index": 0}]},
              {"role": "user", "content": "more"}],
        "R": [{"role": "user", "content": "q"}, item, {"role": "assistant", "content": "a"}, {"role": "user", "content": "more"}],
    }  # fmt: skip

    told = ask(every, dialect, "responses/gpt-5-mini", **saying(dialect, past[dialect]))

    assert told.text == "t"
    assert [b"gAAAx" in seen.body for seen in upstream.seen] == [True, False]


# --- limits ---

LONG = "word " * 30_000

OVERFLOWS = {
    "no word we know": ({"error": {"message": "Sequence of 31000 tokens is beyond what this endpoint can take (limit 30000)."}}, LONG),
    "a length": ({"error": {"message": "The length of your input is larger than 30720."}}, LONG),
    "FB-250 Kimi": ({"error": {"message": "Invalid request: Your request exceeded model token limit: 262144 (requested: 336148)"}}, "hi"),
    "FB-250 Z.ai": ({"error": {"code": "1261", "message": "Prompt too long"}}, "hi"),
    "FB-250 Qwen": ({"error": {"message": "Range of input length should be [1, 98304]"}}, "hi"),
    "Together": ({"error": {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 4000 `inputs` tokens and 2000 `max_new_tokens`"}}, "hi"),
    "SiliconFlow": ({"code": 20015, "message": "length of prompt_tokens (40000) must be less than max_seq_len (32768)."}, "hi"),
    "GitHub": ({"error": {"code": "tokens_limit_reached", "message": "Request body too large for gpt-4o model. Max size: 8000 tokens."}}, "hi"),
    "TGI": ({"error": "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000", "error_type": "validation"}, "hi"),
    "LiteLLM": ({"error": {"message": "litellm.BadRequestError: ContextWindowExceededError: no more room", "code": "400"}}, "hi"),
    "vLLM": ({"error": {"message": "The decoder prompt (length 40000) is longer than the maximum model length of 32768."}}, "hi"),
    "Volcengine": ({"error": {"code": "InvalidParameter", "message": "Total tokens of image and text exceed max message tokens."}}, "hi"),
}  # fmt: skip


@every_client
def test_a_full_context_is_said_in_the_words_of_each_client(
    client: Client, upstream: FakeUpstream, dialect: str
) -> None:
    for name, (body, text) in OVERFLOWS.items():
        upstream.script(json_reply(body, 413 if name == "GitHub" else 400))
        given = {"input": text} if dialect == "R" else {"messages": [{"role": "user", "content": text}]}

        told = ask(client, dialect, "chat/m", **given)

        assert told.status == 400, name
        if dialect == "A":
            assert "prompt is too long" in told.error or "exceed context limit" in told.error, name
        else:
            assert told.code == "context_length_exceeded", name


@every_client
@pytest.mark.parametrize(
    "said",
    [
        "max_tokens is too large: 100000. This model supports at most 16384 completion tokens",
        "tool name exceeds max length of 64",
        "The image exceeds the maximum size",
    ],
)
def test_what_else_may_be_too_long_is_no_full_context(
    client: Client, upstream: FakeUpstream, dialect: str, said: str
) -> None:
    upstream.script(json_reply({"error": {"message": said}}, 400))
    given = {"input": LONG} if dialect == "R" else {"messages": [{"role": "user", "content": LONG}]}

    told = ask(client, dialect, "chat/m", **given)

    assert "prompt is too long" not in told.error
    assert told.code != "context_length_exceeded"


@every_client
@both_modes
@pytest.mark.parametrize(
    "headers", [{}, {"retry-after": "0"}, {"retry-after-ms": "50"}, {"x-ratelimit-reset-requests": "50ms"}]
)
def test_a_short_limit_is_waited_out(
    client: Client, upstream: FakeUpstream, dialect: str, headers: dict[str, str], stream: bool
) -> None:
    upstream.script(json_reply({"error": {"message": "limit"}}, 429, headers), GOOD)

    assert ask(client, dialect, "chat/m", stream=stream).text == "t"


RESETS: dict[str, tuple[dict[str, Any], dict[str, str], int]] = {
    "resets_in_seconds": ({"type": "usage_limit_reached", "resets_in_seconds": 3600}, {}, 3600),
    "OpenAI's headers": (
        {},
        {"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-requests": "1h"},
        360,
    ),
    "one header": ({}, {"x-ratelimit-reset": "90"}, 90),
    "Google": ({"details": [{"@type": "RetryInfo", "retryDelay": "41.5s"}]}, {}, 42),
}


@every_client
@pytest.mark.parametrize("name", RESETS)
def test_the_end_of_a_limit_is_when_to_come_back(
    client: Client, upstream: FakeUpstream, name: str, dialect: str
) -> None:
    body, headers, seconds = RESETS[name]
    upstream.script(json_reply({"error": {"message": "limit", **body}}, 429, headers))
    path = {"A": "/v1/messages", "C": "/v1/chat/completions", "R": "/v1/responses"}[dialect]
    asked = {"input": "hi"} if dialect == "R" else {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}

    response = client.ask(path, {"model": "chat/m", **asked})

    assert response.headers["retry-after"] == str(seconds)


def test_the_end_of_a_limit_may_be_a_moment(client: Client, upstream: FakeUpstream) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=1000)
    for told in (moment.timestamp(), moment.timestamp() * 1000, moment.isoformat()):
        upstream.script(
            json_reply({"error": {"message": "limit", "type": "usage_limit_reached", "resets_at": told}}, 429)
        )

        response = client.chat()

        assert 950 <= int(response.headers["retry-after"]) <= 1001


def test_a_context_that_is_cut_in_silence_is_noticed_once(
    make_client: MakeClient, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(chat={"profile": "ollama"})
    upstream.script(
        json_reply(chat_reply({"content": "t"}) | {"usage": {"prompt_tokens": 4096, "completion_tokens": 1}})
    )

    for _ in range(2):
        ask(client, "C", "chat/m", messages=[{"role": "user", "content": LONG}])

    assert [record.message for record in caplog.records if "read only 4096 of" in record.message] != []
    assert len([record for record in caplog.records if "num_ctx" in record.message]) == 1
    assert "4096" in json.dumps(client.http.get("/health").json["providers"]["chat"]["context_cuts"])


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
