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
    saying,
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
