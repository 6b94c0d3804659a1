"""Requests whose answer alone may be too long, and what else servers behind relays ask for: sent once more as they fit."""

# ruff: noqa: E501, RUF001 - one case a line, in the vendors' words
from __future__ import annotations

from typing import Any

import pytest

from tests.field.asking import both_modes, called, every_client, saying
from tests.field.pairs import ask, refuse_once
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

LIMIT = {"A": "max_tokens", "C": "max_tokens", "R": "max_output_tokens"}
THINKS: dict[str, dict[str, Any]] = {
    "A": {"max_tokens": 8000, "thinking": {"type": "enabled", "budget_tokens": 2000}},
    "C": {"reasoning_effort": "low"},
    "R": {"reasoning": {"effort": "low"}},
}

TOGETHER = {
    "vLLM": "This model's maximum context length is 16384 tokens. However, you requested 33000 tokens (1000 in the messages, 32000 in the completion). Please reduce the length of the messages or completion.",
    "vLLM 0.11": "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 16384 tokens and your request has 1000 input tokens (32000 > 16384 - 1000).",
    "vLLM 0.17": "This model's maximum context length is 16384 tokens. However, you requested 32000 output tokens and your prompt contains at least 1000 input tokens, for a total of at least 33000 tokens.",
    "SGLang": "Requested token count exceeds the model's maximum context length of 16384 tokens. You requested a total of 33000 tokens: 1000 tokens from the input messages and 32000 tokens for the completion.",
    "TGI": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 16384. Given: 1000 `inputs` tokens and 32000 `max_new_tokens`",
    "OpenRouter": "This endpoint's maximum context length is 16384 tokens. However, you requested about 33000 tokens (900 of text input, 100 of tool input, 32000 in the output).",
    "Mistral": "Prompt contains 1000 tokens and 32000 draft tokens, too large for model with 16384 maximum context length",
}  # fmt: skip


@both_modes
@pytest.mark.parametrize("dialect", ["C", "R"])
@pytest.mark.parametrize("words", TOGETHER.values(), ids=TOGETHER)
def test_an_answer_is_asked_for_that_fits_beside_the_input(
    client: Client, upstream: FakeUpstream, dialect: str, stream: bool, words: str
) -> None:
    """FB-152: agents that do not know the window always ask for their model's longest answer."""
    refuse_once(upstream, "C", {"error": {"message": words, "code": 400}})

    told = ask(client, dialect, "chat/m", stream=stream, **{LIMIT[dialect]: 32000})

    assert (told.text, told.error) == ("t", "")
    assert [seen.json()["max_tokens"] for seen in upstream.seen] == [32000, 15384]


@pytest.mark.parametrize("words", TOGETHER.values(), ids=TOGETHER)
def test_a_messages_client_is_told_what_fits(client: Client, upstream: FakeUpstream, words: str) -> None:
    """FB-123: Claude Code reads these words and lowers its limit."""
    upstream.script(json_reply({"error": {"message": words, "code": 400}}, 400))

    told = ask(client, "A", "chat/m", max_tokens=32000)

    assert "input length and `max_tokens` exceed context limit: 1000 + 32000 > 16384" in told.error
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("dialect", ["C", "R"])
def test_a_client_must_compact_where_too_little_is_left(client: Client, upstream: FakeUpstream, dialect: str) -> None:
    words = TOGETHER["SGLang"].replace("1000 tokens from", "16000 tokens from").replace("33000", "48000")
    upstream.script(json_reply({"error": {"message": words, "code": 400}}, 400))

    told = ask(client, dialect, "chat/m", **{LIMIT[dialect]: 32000})

    assert (told.status, told.code, len(upstream.seen)) == (400, "context_length_exceeded", 1)


@every_client
@pytest.mark.parametrize(
    "words",
    [
        "The maximum tokens you requested exceeds the model limit of 8192. Try again with a maximum tokens value that is lower than 8192.",
        "Please pass in correct format of request. maxTokens must be <= 8192",
        "参数非法：max_tokens参数非法。取值范围[1,8192]",
    ],
    ids=["Bedrock", "OCI", "Zhipu"],
)
def test_a_limit_of_answers_is_read_in_every_vendor_s_words(
    client: Client, upstream: FakeUpstream, dialect: str, words: str
) -> None:
    refuse_once(upstream, "C", {"error": {"message": words}})

    told = ask(client, dialect, "chat/m", **{LIMIT[dialect]: 32000})

    assert (told.text, upstream.seen[-1].json()["max_tokens"]) == ("t", 8192)


@every_client
@both_modes
@pytest.mark.parametrize(
    "words",
    [
        '"llama3.2" does not support thinking',
        "This model does not support reasoning",
        "`reasoning_effort` must be one of `none` or `default`",
    ],
)
def test_a_model_that_never_thinks_is_not_asked_to(
    client: Client, upstream: FakeUpstream, dialect: str, stream: bool, words: str
) -> None:
    """Ollama and Groq."""
    refuse_once(upstream, "C", {"error": {"message": words}})

    told = ask(client, dialect, "chat/m", stream=stream, **THINKS[dialect])

    assert (told.text, "reasoning_effort" in upstream.seen[-1].json()) == ("t", False)


@every_client
@pytest.mark.parametrize(
    "words",
    [
        "* GenerateContentRequest.contents[2].parts[0].function_response.name: Name cannot be empty.\n",
        "Tool message must have a 'name' field. The 'name' field is required to match the tool call with its response in Gemini API.",
        "Tool name is required for Gemini requests",
    ],
    ids=["NousResearch/hermes-agent#16478", "su-kaka/gcli2api#200", "Joouis/agent-maestro#162"],
)
def test_a_result_names_its_tool_where_a_relay_of_gemini_demands_it(
    client: Client, upstream: FakeUpstream, dialect: str, words: str
) -> None:
    refuse_once(upstream, "C", {"error": {"message": words}})

    told = ask(client, dialect, "chat/m", **saying(dialect, called(dialect)))

    assert (told.text, upstream.seen[-1].json()["messages"][-1]["name"]) == ("t", "f")


@every_client
@both_modes
def test_a_call_that_a_model_wrote_badly_is_asked_for_again(
    client: Client, upstream: FakeUpstream, dialect: str, stream: bool
) -> None:
    """BerriAI/litellm#40566, groq/groq-typescript#28: a status of 400 for what the model wrote."""
    failed = {"message": "Failed to call a function. See 'failed_generation' for more details.", "type": "invalid_request_error", "code": "tool_use_failed", "failed_generation": "<function=f>{"}  # fmt: skip
    refuse_once(upstream, "C", {"error": failed})
    told = ask(client, dialect, "chat/m", stream=stream)
    upstream.script(*[json_reply({"error": failed}, 400)] * 8)
    refused = ask(client, dialect, "chat/m", stream=stream)

    assert (told.text, told.error) == ("t", "")
    assert dialect == "C" or refused.error.endswith("<function=f>{")  # Chat clients get the body as it is


@every_client
def test_a_call_without_a_proof_is_marked_where_a_relay_of_gemini_demands_one(
    client: Client, upstream: FakeUpstream, dialect: str
) -> None:
    """anomalyco/opencode#4832, through gateways whose names for the model say nothing."""
    words = "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly."
    refuse_once(upstream, "C", {"error": {"message": words}})

    told = ask(client, dialect, "chat/m", **saying(dialect, called(dialect)))

    (call,) = upstream.seen[-1].json()["messages"][-2]["tool_calls"]
    assert told.text == "t"
    assert call["extra_content"] == {"google": {"thought_signature": "skip_thought_signature_validator"}}
