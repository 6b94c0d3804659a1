"""Requests that servers refuse as they are, and that come through when the same is said in another way."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import pytest

from tests.field.asking import both_modes, every_client, forced, tool
from tests.field.pairs import GOOD, ask, chat_events, chat_reply, delta
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply


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
