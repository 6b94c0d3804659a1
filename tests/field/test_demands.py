"""What servers cannot do without, or not do at all, and say only when they are asked: the request is sent once more as
they want it."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.field.asking import (
    QUESTION,
    UPSTREAMS,
    both_modes,
    called,
    every_client,
    every_upstream,
    forced,
    image,
    saying,
    text,
    tool,
)
from tests.field.pairs import ask, refuse_once, whole_reply
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, Seen, json_reply


@every_client
@every_upstream
@pytest.mark.parametrize(
    "words",
    [
        "Unsupported value: 'stream' does not support true with this model. Only the default (false) value is supported.",
        "Streaming is not supported by this proxy. Set stream=false.",
        "This model does not support streaming",
    ],
)
def test_a_server_without_streams_serves_clients_that_want_one(
    every: Client, upstream: FakeUpstream, dialect: str, to: str, words: str
) -> None:
    """didalgolab/ai-intellij-plugin#33, RooCodeInc/Roo-Code#274, Aider-AI/aider#2872; the words of seed 3."""
    refuse_once(upstream, to, {"error": {"message": words, "param": "stream", "code": "unsupported_value"}})

    told = ask(every, dialect, UPSTREAMS[to], stream=True)

    assert (told.text, told.finish, told.error) == ("t", "stop", "")
    assert [bool(seen.json().get("stream")) for seen in upstream.seen] == [True, False]


HISTORY = [QUESTION, {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}]
MISSING = {
    "error": {
        "message": "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2"
    }
}


@every_client
@both_modes
@pytest.mark.parametrize(
    "refusal",
    [
        {"error": {"message": "The reasoning_content in the thinking mode must be passed back to the API."}},
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {"raw": json.dumps(MISSING), "provider_name": "Moonshot AI"},
            }
        },
    ],
    ids=["CLIProxyAPI#4893", "proxysoul/Empryo#27"],
)
def test_thoughts_that_a_server_misses_stand_on_every_past_answer(
    every: Client, upstream: FakeUpstream, dialect: str, stream: bool, refusal: dict[str, Any]
) -> None:
    refuse_once(upstream, "C", refusal)

    told = ask(every, dialect, "chat/m", stream=stream, **saying(dialect, HISTORY))

    assert told.text == "t"
    assert [m.get("reasoning_content") for m in upstream.seen[1].json()["messages"] if m["role"] == "assistant"] == [""]


@every_client
@both_modes
@pytest.mark.parametrize(("model", "refusals"), [("kimi-k2.6", 0), ("m", 2)], ids=["known", "unknown"])
def test_a_space_stands_for_lost_thoughts_where_empty_text_counts_as_none(
    every: Client, upstream: FakeUpstream, dialect: str, stream: bool, model: str, refusals: int
) -> None:
    """theopenco/llmgateway#2093, earendil-works/pi#4251: Kimi K2.5 and K2.6."""
    upstream.script(*[json_reply(MISSING, 400)] * refusals, json_reply(whole_reply("C", "t")))

    told = ask(every, dialect, f"chat/{model}", stream=stream, **saying(dialect, called(dialect)))

    assert (told.text, told.error) == ("t", "")
    sent = upstream.seen[-1].json()["messages"]
    assert [message["reasoning_content"] for message in sent if message.get("tool_calls")] == [" "]


CODEX: dict[str, Callable[[dict[str, Any]], bool]] = {
    "Instructions are required": lambda body: bool(body.get("instructions")),
    "Stream must be set to true": lambda body: body.get("stream") is True,
    "Store must be set to false": lambda body: body.get("store") is False,
    "Input must be a list": lambda body: isinstance(body["input"], list),
    "Unsupported parameter: max_output_tokens": lambda body: "max_output_tokens" not in body,
}


@every_client
@both_modes
@pytest.mark.parametrize("words", CODEX)
def test_what_stands_before_the_backend_of_chatgpt_logins_is_asked_as_that_is(
    every: Client, upstream: FakeUpstream, dialect: str, stream: bool, words: str
) -> None:
    """openclaw/openclaw#10140: relays of that backend, whose base URL does not tell it."""
    limit = {"R": {"max_output_tokens": 90, "store": True}, "C": {"max_tokens": 90}}.get(dialect, {})
    refuse_once(upstream, "R", {"detail": words})

    told = ask(every, dialect, "responses/m", stream=stream, **limit)

    assert told.error in ("", words)
    if told.error:  # what this client asked for was what is wanted already
        assert CODEX[words](upstream.seen[0].json())
    else:
        assert CODEX[words](upstream.seen[-1].json())


@both_modes
@pytest.mark.parametrize("status", [400, 500])
def test_a_beta_that_a_server_does_not_know_is_left_out(
    every: Client, upstream: FakeUpstream, stream: bool, status: int
) -> None:
    """anthropics/claude-code#70563, anthropics/claude-code#46105."""
    words = "Unexpected value(s) `advisor-tool-2026-03-01` for the `anthropic-beta` header."
    refuse_once(upstream, "A", {"type": "error", "error": {"type": "invalid_request_error", "message": words}}, status)

    response = every.ask(
        "/v1/messages",
        {"model": "messages/m", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "q"}]},
        anthropic_beta="effort-2025-11-24,advisor-tool-2026-03-01",
    )

    assert response.status_code == 200
    assert [betas_of(seen) for seen in upstream.seen] == [
        ["effort-2025-11-24", "advisor-tool-2026-03-01"],
        ["effort-2025-11-24"],
    ]


@both_modes
@pytest.mark.parametrize("words", ["invalid beta flag", "Beta headers are not supported"])
def test_all_betas_are_left_out_where_a_server_names_none(
    every: Client, upstream: FakeUpstream, stream: bool, words: str
) -> None:
    """anthropics/claude-code#49648, router-for-me/CLIProxyAPI#4750: Bedrock. The fields that need a beta go with it."""
    refuse_once(upstream, "A", {"type": "error", "error": {"type": "invalid_request_error", "message": words}})

    told = every.ask(
        "/v1/messages",
        {"model": "messages/m", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "q"}],
         "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
        anthropic_beta="effort-2025-11-24,context-management-2025-06-27",
    )  # fmt: skip

    assert told.status_code == 200
    assert ["anthropic-beta" in seen.headers for seen in upstream.seen] == [True, False]
    assert ["context_management" in seen.json() for seen in upstream.seen] == [True, False]


def betas_of(seen: Seen) -> list[str]:
    return seen.headers.get("anthropic-beta", "").split(",")


@both_modes
def test_a_refusal_that_a_gateway_wraps_into_a_fault_of_its_own_is_read(
    every: Client, upstream: FakeUpstream, stream: bool
) -> None:
    """ding113/claude-code-hub#662."""
    inner = {
        "type": "error",
        "error": {"message": "output_config: Extra inputs are not permitted", "type": "invalid_request_error"},
    }
    refuse_once(upstream, "A", {"type": "error", "error": {"type": "request_fail", "upstream_error": inner}}, 500)

    told = ask(every, "A", "messages/claude-opus-4-7", stream=stream, output_config={"effort": "low"})

    assert told.text == "t"
    assert ["output_config" in seen.json() for seen in upstream.seen] == [True, False]


@both_modes
def test_a_field_is_found_by_the_word_after_it(every: Client, upstream: FakeUpstream, stream: bool) -> None:
    """Anthropic's words about its older models."""
    words = "This model does not support the effort parameter."
    refuse_once(upstream, "A", {"type": "error", "error": {"type": "invalid_request_error", "message": words}})

    told = ask(every, "A", "messages/claude-opus-4-7", stream=stream, output_config={"effort": "low"})

    assert told.text == "t"
    assert ["effort" in seen.json().get("output_config", {}) for seen in upstream.seen] == [True, False]


# The words in which a server refuses a schema for its answers.
FORMAT_REFUSALS = [
    "This response_format type is unavailable now",
    "output_config.format: Extra inputs are not permitted",
    "This model does not support output format",
    "json_schema is not supported",
]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


@every_client
@both_modes
@pytest.mark.parametrize("words", FORMAT_REFUSALS)
def test_a_schema_that_a_messages_server_refuses_becomes_a_tool(
    every: Client, upstream: FakeUpstream, dialect: str, stream: bool, words: str
) -> None:
    """decolua/9router#4050: the first request of every session of Claude Code."""
    called = {"type": "tool_use", "id": "toolu_1", "name": "json_output", "input": {"a": 1}}
    answer = {**whole_reply("A", "t"), "content": [called], "stop_reason": "tool_use"}
    upstream.script(
        json_reply({"type": "error", "error": {"type": "invalid_request_error", "message": words}}, 400),
        json_reply(answer),
    )
    form = {"type": "json_schema", "schema": SCHEMA}
    wanted: dict[str, Any] = {
        "A": {"output_config": {"format": form}, "tools": []},
        "C": {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}, "tools": []},
        "R": {"text": {"format": {**form, "name": "n"}}, "tools": []},
    }

    told = ask(every, dialect, "messages/claude-sonnet-4-5", stream=stream, **wanted[dialect])

    assert (json.loads(told.text), told.calls) == ({"a": 1}, [])
    assert ["json_output" in seen.body.decode() for seen in upstream.seen] == [False, True]


@every_client
def test_a_fault_of_a_server_is_not_read_as_a_refusal(every: Client, upstream: FakeUpstream, dialect: str) -> None:
    """A 500 may name any field, in a trace or in passing."""
    refuse_once(upstream, "C", {"error": {"message": "unexpected error while sampling with temperature"}}, 500)

    assert ask(every, dialect, "chat/m", temperature=0.5).text == "t"
    assert [seen.json()["temperature"] for seen in upstream.seen] == [0.5, 0.5]


@every_client
@both_modes
def test_an_account_with_little_left_is_asked_for_what_it_can_pay(
    every: Client, upstream: FakeUpstream, dialect: str, stream: bool
) -> None:
    """can1357/oh-my-pi#9569: OpenRouter counts the limit as if it were used."""
    words = "This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 1234."
    limit = {"A": "max_tokens", "C": "max_tokens", "R": "max_output_tokens"}[dialect]
    refuse_once(upstream, "C", {"error": {"message": words, "code": 402}}, 402)

    told = ask(every, dialect, "chat/m", stream=stream, **{limit: 65536})

    assert told.text == "t"
    assert [seen.json()["max_tokens"] for seen in upstream.seen] == [65536, 1234]


@every_client
def test_an_account_without_credit_is_asked_once(every: Client, upstream: FakeUpstream, dialect: str) -> None:
    refuse_once(upstream, "C", {"error": {"message": "Insufficient credits. Add more.", "code": 402}}, 402)

    assert ask(every, dialect, "chat/m").status != 200
    assert len(upstream.seen) == 1


@every_client
@both_modes
@pytest.mark.parametrize("to", ["C", "R"])
def test_what_is_said_of_a_tool_is_cut_where_a_server_takes_no_more(
    every: Client, upstream: FakeUpstream, dialect: str, stream: bool, to: str
) -> None:
    """OpenAI's words; its own limit was 1024 characters for long, and those of others still are."""
    where = "tools[0].function.description" if to == "C" else "tools[0].description"
    words = (
        f"Invalid '{where}': string too long. Expected a string with maximum length 1024, but got one with length 3000."
    )
    refuse_once(upstream, to, {"error": {"message": words, "code": "string_above_max_length"}})
    described = tool(dialect, description="d" * 3000)

    told = ask(every, dialect, UPSTREAMS[to], stream=stream, tools=[described])

    assert told.text == "t"
    sent = [seen.json()["tools"][0] for seen in upstream.seen]
    assert [len((each.get("function") or each)["description"]) for each in sent] == [3000, 1024]


ROLES = [
    "role 'system' is not supported on this model",
    "messages.1.role: Input should be 'user' or 'assistant'",
    "messages[1].role: unknown variant `system`, expected `user` or `assistant`",
    "messages[1].role must be one of: user, assistant",
    "invalid_value messages[].role",
    "Only user, assistant and tool roles are supported, got system.",
    "Multiple system messages are not supported",
    "Unexpected message role.",
    "use the top-level 'system' parameter for the initial system prompt",
]


@every_client
@every_upstream
@pytest.mark.parametrize("words", ROLES)
def test_a_system_turn_that_a_server_refuses_among_the_others_becomes_a_reminder(
    every: Client, upstream: FakeUpstream, dialect: str, to: str, words: str
) -> None:
    """JustVugg/colibri#725, jwadow/kiro-gateway#197, EasyMetaAu/helm-api#166, ggml-org/llama.cpp, LeenHawk/gproxy#209."""
    turns = [
        {"role": "user", "content": "q"},
        {"role": "system", "content": "Agents: X"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "r"},
    ]
    if dialect == "A":
        said: dict[str, Any] = {"system": "S", "messages": turns}
    else:
        said = saying(dialect, [{"role": "system", "content": "S"}, *turns])
    refuse_once(upstream, to, {"error": {"message": words, "type": "invalid_request_error"}})

    told = ask(every, dialect, UPSTREAMS[to] if to != "A" else "messages/claude-opus-4-8", **said)

    assert told.error == ""
    last = upstream.seen[-1].json()
    assert json.dumps(last).count("Agents: X") == 1
    assert all(turn["role"] not in ("system", "developer") for turn in (last.get("messages") or last["input"])[1:])


@every_client
@every_upstream
@both_modes
def test_a_refusal_inside_a_reply_that_began_well_is_read(
    every: Client, upstream: FakeUpstream, dialect: str, to: str, stream: bool
) -> None:
    """Relays answer 200 before they know; an error is all that follows."""
    words = "role 'system' is not supported on this model"
    error = {"error": {"message": words, "type": "invalid_request_error"}}
    refuse_once(upstream, to, {"type": "error", **error} if to == "A" else error, 200)
    turns = [
        {"role": "user", "content": "q"},
        {"role": "system", "content": "s"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "r"},
    ]

    told = ask(every, dialect, UPSTREAMS[to] if to != "A" else "messages/claude-opus-4-8", stream=stream,
               **saying(dialect, turns))  # fmt: skip

    assert (told.text, told.error) == ("t", "")
    assert len(upstream.seen) == 2


def test_a_refusal_of_another_role_moves_no_system_turn(every: Client, upstream: FakeUpstream) -> None:
    words = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
    turns = [("user", "q"), ("system", "s"), ("user", "r")]
    refuse_once(upstream, "C", {"error": {"message": words}})

    told = ask(every, "C", "chat/m", messages=[{"role": role, "content": text} for role, text in turns])

    assert words in told.error
    assert len(upstream.seen) == 1


@every_client
@both_modes
@pytest.mark.parametrize(
    "words",
    [
        "litellm.UnsupportedParamsError: Anthropic doesn't support tool calling without `tools=` param specified.",
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
        "Requests which include `tool_use` or `tool_result` blocks must define tools",
    ],
)
def test_the_tools_of_past_calls_are_declared_and_forbidden_where_a_server_demands_them(
    every: Client, upstream: FakeUpstream, dialect: str, stream: bool, words: str
) -> None:
    """anomalyco/opencode#8248, earendil-works/pi#150: a summary is asked for without tools."""
    refuse_once(upstream, "C", {"error": {"message": words}})

    told = ask(every, dialect, "chat/m", stream=stream, tools=None, **saying(dialect, called(dialect)))

    assert told.text == "t"
    sent = upstream.seen[-1].json()
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["f"]
    assert sent["tool_choice"] == "none"


@pytest.mark.parametrize("dialect", ["C", "R"])
@both_modes
def test_messages_upstreams_get_the_tools_of_past_calls(
    every: Client, upstream: FakeUpstream, dialect: str, stream: bool
) -> None:
    """llmmanorg/llmman#432."""
    ask(every, dialect, "messages/claude-sonnet-4-5", stream=stream, tools=None, **saying(dialect, called(dialect)))

    sent = upstream.seen[0].json()
    assert sent["tools"] == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
    assert sent["tool_choice"] == {"type": "none"}


@every_client
@pytest.mark.parametrize("to", ["C", "R"])
@pytest.mark.parametrize(
    ("words", "keyword"),
    [
        (
            "Invalid JSON payload received. Unknown name \"additionalProperties\" at 'tools[0].function_declarations[0].parameters': Cannot find field.",
            "additionalProperties",
        ),
        ('JSON schema conversion failed: Unrecognized schema: {"const": "x"}', "const"),
        ("failed to parse grammar", "const"),
    ],
)
def test_schemas_are_reduced_to_what_a_server_can_read(
    every: Client, upstream: FakeUpstream, dialect: str, to: str, words: str, keyword: str
) -> None:
    """badrisnarayanan/antigravity-claude-proxy#379, ggml-org/llama.cpp."""
    schema = {"type": "object", "properties": {"a": {"const": "x"}}, "additionalProperties": False}
    refuse_once(upstream, to, {"error": {"message": words}})

    told = ask(every, dialect, UPSTREAMS[to], tools=[tool(dialect, schema=schema)])

    assert told.text == "t"
    sent = json.dumps(upstream.seen[-1].json()["tools"])
    assert f'"{keyword}"' not in sent
    assert '"a"' in sent


@every_client
@every_upstream
@pytest.mark.parametrize(
    "words",
    [
        "Tool choice must be auto",
        "This model does not support forced tool use",
        "Thinking may not be enabled when tool_choice forces tool use.",
        '"required" tool choice requires --tool-call-parser to be set',
        "The tool_choice parameter does not support being set to required or object in thinking mode",
    ],
)
def test_a_forced_call_that_a_server_refuses_is_asked_for_otherwise(
    every: Client, upstream: FakeUpstream, dialect: str, to: str, words: str
) -> None:
    """vllm-project/vllm#20951, DashScope's and Anthropic's words."""
    refusal = json_reply({"error": {"message": words}}, 400)
    upstream.script(refusal, refusal, json_reply(whole_reply(to, '{"x": 1}')))

    told = ask(every, dialect, UPSTREAMS[to], tool_choice=forced(dialect))

    assert told.status == 200
    last = upstream.seen[-1].json().get("tool_choice")
    assert last in (None, "auto", "none", {"type": "auto"}, {"type": "none"})


@every_client
@pytest.mark.parametrize("words", ["tool_choice must be a string", "tool_choice should be of type string"])
def test_a_choice_is_written_as_text_where_a_server_takes_nothing_else(
    every: Client, upstream: FakeUpstream, dialect: str, words: str
) -> None:
    refuse_once(upstream, "C", {"error": {"message": words}})

    told = ask(every, dialect, "chat/m", tool_choice=forced(dialect))

    assert told.status == 200
    assert upstream.seen[-1].json()["tool_choice"] == "required"


def test_a_free_choice_is_not_taken_for_a_forced_one(every: Client, upstream: FakeUpstream) -> None:
    words = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    refuse_once(upstream, "C", {"error": {"message": words}})

    assert ask(every, "A", "chat/m", tool_choice={"type": "auto"}).status == 400
    assert len(upstream.seen) == 1


@every_client
@both_modes
@pytest.mark.parametrize(
    "words",
    [
        "Invalid 'messages[1].tool_calls[0].id': string too long. Expected a string with maximum length 40, but got a string with length 60 instead.",
        "messages.2.tool_call_id: String should have at most 40 characters",
    ],
)
def test_ids_of_calls_are_shortened_to_what_a_server_accepts(
    every: Client, upstream: FakeUpstream, dialect: str, stream: bool, words: str
) -> None:
    """OpenAI's words, for ids in which other gateways carry a proof."""
    refuse_once(upstream, "C", {"error": {"message": words}})
    long = "call_" + "a" * 55

    told = ask(every, dialect, "chat/m", stream=stream, **saying(dialect, called(dialect, id=long)))

    assert told.text == "t"
    messages = upstream.seen[-1].json()["messages"]
    assert messages[1]["tool_calls"][0]["id"] == messages[2]["tool_call_id"]
    assert len(messages[2]["tool_call_id"]) <= 40


@every_client
@both_modes
@pytest.mark.parametrize(
    "words",
    [
        "messages.1.content: Input should be a valid string",
        "Invalid value for 'content': expected a string, got null.",
        "messages[1].content is required",
    ],
)
def test_a_content_of_null_is_replaced_whatever_the_validator_says(
    every: Client, upstream: FakeUpstream, dialect: str, stream: bool, words: str
) -> None:
    """OpenAI's own words, Pydantic and the validators of Node."""
    refuse_once(upstream, "C", {"error": {"message": words}})

    told = ask(every, dialect, "chat/m", stream=stream, **saying(dialect, called(dialect)))

    assert told.text == "t"
    assert [seen.json()["messages"][1]["content"] for seen in upstream.seen] == [None, ""]


@every_client
def test_a_function_without_properties_has_no_parameters_at_gemini(
    every: Client, upstream: FakeUpstream, dialect: str
) -> None:
    """router-for-me/CLIProxyAPI, opencode: an object without properties is refused."""
    words = "tools[0].function_declarations[0].parameters.properties: should be non-empty for OBJECT type"
    refuse_once(upstream, "C", {"error": {"message": words}})

    told = ask(every, dialect, "chat/m", tools=[tool(dialect, schema={"type": "object", "properties": {}})])

    assert told.text == "t"
    assert ["parameters" in seen.json()["tools"][0]["function"] for seen in upstream.seen] == [True, False]


PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@every_client
@both_modes
@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("R", "Invalid type for 'input[2].output': expected a string, but got an array instead."),
        ("R", "json: cannot unmarshal array into Go struct field .output of type string"),
        ("A", "messages.2.content.0.tool_result.content.1: image content blocks are not supported in tool results"),
        ("A", "tool_result content must be a string"),
    ],
)
def test_an_image_in_a_result_follows_it_where_a_server_takes_words_only(
    every: Client, upstream: FakeUpstream, dialect: str, stream: bool, to: str, words: str
) -> None:
    """Servers that only resemble the vendors': llama.cpp, Ollama, gateways before local models."""
    refuse_once(upstream, to, {"error": {"message": words}})
    shown = [text(dialect, "words"), image(dialect, PICTURE)]

    told = ask(
        every,
        dialect,
        UPSTREAMS[to] if to == "R" else "messages/claude-sonnet-4-5",
        stream=stream,
        **saying(dialect, called(dialect, result=shown)),
    )

    assert told.text == "t"
    last = upstream.seen[-1].json()
    turns = last["input"] if to == "R" else last["messages"][-1]["content"]
    result = next(turn for turn in turns if turn["type"] in ("function_call_output", "tool_result"))
    assert "words" in json.dumps(result)
    assert PICTURE not in json.dumps(result)
    assert PICTURE in json.dumps(turns[-1])
