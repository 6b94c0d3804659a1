"""Tools, choices and calls as servers want them, who say so only when they are asked."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json

import pytest

from tests.field.asking import (
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
from tests.support.fake_upstream import FakeUpstream, json_reply


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
