"""Models and servers that refuse any tool: the error names the model and says what to do."""

from __future__ import annotations

import pytest

from tests.field.asking import both_modes, every_client, forced
from tests.field.pairs import ask, chat_reply, whole_reply
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

# As Ollama and vLLM word it; evalstate/fast-agent#122, Kilo-Org/kilocode#9006 (OpenRouter), and others.
REFUSALS = {
    "No endpoints found that support tool use. To learn more, visit: https://openrouter.ai/docs": (
        "OpenRouter serves with tools"
    ),
    'No endpoints found that support tool use. Try disabling "question".': "OpenRouter serves with tools",
    "Function calling is not enabled for models/gemma-3-27b-it": "choose a model with tool support",
    "`tool calling` is not supported with this model": "choose a model with tool support",
    "This model doesn't support tool use.": "choose a model with tool support",
    "模型不支持工具调用": "choose a model with tool support",
    "registry.ollama.ai/library/gemma:2b does not support tools": "choose a model with tool support",
    '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set': "start vLLM with",
}


@every_client
@pytest.mark.parametrize("said", REFUSALS)
def test_a_refusal_of_tools_names_the_model_and_the_remedy(
    client: Client, upstream: FakeUpstream, dialect: str, said: str
) -> None:
    status = 404 if said.startswith("No endpoints") else 400
    upstream.script(json_reply({"error": {"message": said, "type": "api_error", "param": None, "code": None}}, status))

    told = ask(client, dialect, "chat/gemma:2b")

    assert told.status == status
    assert "gemma:2b of chat" in told.error
    assert REFUSALS[said] in told.error
    assert said in told.error
    assert len(upstream.seen) == 1, "the same request is refused again"


@every_client
@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("No endpoints found that can handle the requested parameters.", "require_parameters"),
        ("No endpoints found matching your data policy (Free model publication).", "privacy settings"),
        ("No allowed providers are available for the selected model.", "provider.only"),
    ],
)
def test_what_no_server_of_a_model_can_is_told_with_the_remedy(
    client: Client, upstream: FakeUpstream, dialect: str, said: str, remedy: str
) -> None:
    """xorbitsai/xagent#1575: a route exists, but not for what the request asks."""
    upstream.script(json_reply({"error": {"message": said, "code": 404}}, 404))

    told = ask(client, dialect, "chat/x/y")

    assert told.status == 404
    assert "x/y of chat" in told.error
    assert remedy in told.error
    assert said in told.error


@every_client
@both_modes
def test_a_choice_that_no_server_of_a_model_takes_is_asked_for_otherwise(
    client: Client, upstream: FakeUpstream, dialect: str, stream: bool
) -> None:
    """zed-industries/zed#36094."""
    said = "No endpoints found that support the provided 'tool_choice' value. To learn more, visit: https://x.example"
    refusal = json_reply({"error": {"message": said, "code": 404}}, 404)
    upstream.script(refusal, refusal, json_reply(chat_reply({"content": '{"x":1}'})))

    told = ask(client, dialect, "chat/x/y", stream=stream, tool_choice=forced(dialect))

    assert (told.error, told.calls) == ("", [("f", {"x": 1})])
    assert upstream.seen[0].json()["tool_choice"] != upstream.seen[-1].json().get("tool_choice")


@every_client
def test_a_model_whose_tools_do_not_stream_is_asked_for_a_whole_answer(
    client: Client, upstream: FakeUpstream, dialect: str
) -> None:
    """Bedrock: "This model doesn't support tool use in streaming mode."."""
    said = "This model doesn't support tool use in streaming mode."
    upstream.script(json_reply({"message": said}, 400), json_reply(chat_reply({"content": "t"})))

    assert ask(client, dialect, "chat/m", stream=True).text == "t"
    assert [bool(seen.json().get("stream")) for seen in upstream.seen] == [True, False]


def test_a_dated_tool_that_the_model_lacks_is_left_out_of_this_request_alone(
    every: Client, upstream: FakeUpstream
) -> None:
    """Anthropic's API, of a model older than the tool's version."""
    said = "'m' does not support tool types: web_search_20260318. Did you mean one of web_search_20250305?"
    refusal = json_reply({"type": "error", "error": {"type": "invalid_request_error", "message": said}}, 400)
    answer = json_reply(whole_reply("A", "fine"))
    upstream.script(refusal, answer, answer)
    search = {"type": "web_search_20260318", "name": "web_search"}
    body = {"model": "messages/m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}]}

    first = every.ask("/v1/messages", {**body, "tools": [search]})
    every.ask("/v1/messages", {**body, "tools": [{**search, "type": "web_search_20250305"}]})

    assert first.json["content"][0]["text"] == "fine"
    assert "web_search" in first.headers["x-dragoman-dropped"]
    assert upstream.seen[-1].json()["tools"][0]["type"] == "web_search_20250305"


def test_a_server_that_takes_the_vendors_tools_for_functions_gets_functions_alone(
    every: Client, upstream: FakeUpstream
) -> None:
    """BerriAI/litellm and Claude Code on Bedrock: a tool of an unknown type is read as one without a schema."""
    said = "tools.0.custom.input_schema: Field required"
    refusal = json_reply({"type": "error", "error": {"type": "invalid_request_error", "message": said}}, 400)
    upstream.script(refusal, json_reply(whole_reply("A", "fine")))
    tools = [{"type": "web_search_20250305", "name": "web_search"}, {"name": "f", "input_schema": {"type": "object"}}]
    body = {"model": "messages/m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}], "tools": tools}

    answer = every.ask("/v1/messages", body)

    assert answer.status_code == 200
    assert [tool["name"] for tool in upstream.seen[-1].json()["tools"]] == ["f"]
