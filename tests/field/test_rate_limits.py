"""Limits of rates as vendors tell them: never a full context, and with the time that the message names.

Each case names where it was reported: the repository and the number of the issue or the pull request.
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.field.asking import body_of, every_client
from tests.field.pairs import ask, chat_events, delta
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

# status, body, and the seconds that the client is told; None where nobody tells any.
LIMITS: dict[str, tuple[int, Any, int | None]] = {
    "assafelovic/gpt-researcher#985 Groq": (413, {"error": {"message": "Request too large for model `llama-3.1-70b-versatile` in organization `org_0` on tokens per minute (TPM): Limit 6000, Requested 14368, please reduce your message size and try again. Visit https://console.groq.com/docs/rate-limits for more information.", "type": "tokens", "code": "rate_limit_exceeded"}}, None),
    "musistudio/claude-code-router#233 without a code": (413, {"error": {"message": "Request too large for model `moonshotai/kimi-k2-instruct` in organization `org_0` service tier `on_demand` on tokens per minute (TPM): Limit 10000, Requested 26453, please reduce your message size and try again."}}, None),
    "mindcraft-bots/mindcraft#188 Groq": (429, {"error": {"message": "Rate limit reached for model `llama3-70b-8192` in organization `x` on tokens per minute (TPM): Limit 6000, Used 5914, Requested 1822. Please try again in 17.359s. Visit https://console.groq.com/docs/rate-limits for more information.", "type": "tokens", "code": "rate_limit_exceeded"}}, 18),
    "a day at OpenAI": (429, {"error": {"message": "Rate limit reached for gpt-4 on requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in 7m12s.", "type": "requests", "code": "rate_limit_exceeded"}}, 432),
    "cline/cline#4826 xAI": (429, {"error": "Too many tokens for team e9fe19cb and model grok-4-0709. Your team's rate limit is — Tokens per Minute (actual/limit): 65605/16000. You can view your team rate limits at https://console.x.ai.", "code": "rate_limit"}, None),
    "vanderschaarlab/climb#1 OpenAI": (429, {"error": {"message": "Request too large for gpt-4o in organization org-V on tokens per min (TPM): Limit 30000, Requested 30601. The input or output tokens must be reduced in order to run successfully.", "type": "tokens", "param": None, "code": "rate_limit_exceeded"}}, None),
    "alex-wolf-ps/dbchatprov2#2 Azure": (429, {"error": {"code": "429", "message": "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-05-01-preview have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 45 seconds. Please go here: https://aka.ms/oai/quotaincrease"}}, 45),
    "icereed/paperless-gpt#814 Azure": (429, {"error": {"message": "Your requests to gpt-4.1-nano in Sweden Central have exceeded the token rate limit for your current AIServices S0 pricing tier. Please retry after 45 seconds."}}, 45),
    "anomalyco/opencode#7463 Cerebras": (429, {"message": "Tokens per minute limit exceeded - too many tokens processed.", "type": "too_many_tokens_error", "param": "quota", "code": "token_quota_exceeded"}, None),
    "nminaya/grammar-nazi-bot#958 Cerebras": (429, {"message": "Requests per minute limit exceeded - too many requests sent.", "type": "too_many_requests_error", "param": "quota", "code": "request_quota_exceeded"}, None),
    "anomalyco/opencode#39621 Bedrock": (400, {"message": "Too many tokens, please wait before trying again."}, None),
    "NousResearch/hermes-agent#70394 a proxy of Bedrock": (500, {"error": {"message": "Throttling error: Too many tokens, please wait before trying again."}}, None),
    "anomalyco/opencode#13018 Bedrock, a day": (400, {"message": "Too many tokens per day, please wait before trying again."}, None),
    "openclaw/openclaw#13747 Moonshot": (400, {"error": {"message": "request reached organization TPD rate limit, current: 1506556, limit: 1500000", "type": "rate_limit_reached_error"}}, None),
    "code-yeongyu/senpi#1466": (400, {"error": {"message": "This request exceeds the limit of 30000 tokens per minute"}}, None),
    "FoundationAgents/OpenManus#746 Anthropic": (429, {"error": {"code": "rate_limit_error", "message": "This request would exceed the rate limit for your organization of 20,000 input tokens per minute. Please reduce the prompt length or the maximum tokens requested, or try again later.", "type": "invalid_request_error", "param": None}}, None),
    "charmbracelet/crush#3024 Fireworks": (429, {"error": {"type": "invalid_request_error", "message": "rate limit exceeded, please try again later"}, "type": "error"}, None),
    "earendil-works/pi#9815 Mistral": (429, {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "param": None, "code": "1300", "raw_status_code": 429}, None),
    "earendil-works/pi#983 Google within Google": (429, {"error": {"message": json.dumps({"error": {"code": 429, "message": "You exceeded your current quota, please check your plan and billing details.", "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"}]}}, indent=2), "code": 429, "status": "Too Many Requests"}}, 36),
}  # fmt: skip


@every_client
@pytest.mark.parametrize("model", ["chat/m", "messages/m", "responses/m"])
def test_a_limit_of_a_rate_is_no_full_context(every: Client, upstream: FakeUpstream, dialect: str, model: str) -> None:
    path = {"A": "/v1/messages", "C": "/v1/chat/completions", "R": "/v1/responses"}[dialect]
    asked = {"input": "hi"} if dialect == "R" else {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    wrong = {}
    for name, (status, body, seconds) in LIMITS.items():
        upstream.script(json_reply(body, status))

        response = every.ask(path, {"model": model, **asked})

        error = response.json["error"]
        told = response.headers.get("retry-after")
        as_overflow = "prompt is too long" in error["message"] or error.get("code") == "context_length_exceeded"
        if response.status_code != 429 or as_overflow or told != (None if seconds is None else str(seconds)):
            wrong[name] = (response.status_code, error, told)

    assert wrong == {}


@every_client
def test_a_limit_that_breaks_a_stream_is_no_full_context(client: Client, upstream: FakeUpstream, dialect: str) -> None:
    """ranxianglei/billion-context-pi#169: Bedrock's words inside the stream of a proxy."""
    error = {"message": "Too many tokens, please wait before trying again."}
    upstream.script(chat_events(delta({"role": "assistant", "content": "t"}), {"error": error}))

    told = ask(client, dialect, "chat/m", stream=True)

    assert "please wait" in told.error
    assert told.code in (None, "rate_limit_exceeded")


SECONDS: dict[str, int] = {
    "Please wait 30 seconds before retrying.": 30,
    "Try again in about 5 minutes": 300,
    "Please try again in 1 hour and 2 minutes.": 3720,
    "quota will reset after 1h2m3s.": 3723,
    "Rate limit resets in 30s": 30,
    "Too many requests. Available again in 30 seconds.": 30,
    "Please slow down. Next request allowed in 1.5s": 2,
    "Retry after 1500 milliseconds": 2,
    '{"detail": "slow down", "retry_after": 30}': 30,
    "请在 30 秒后重试": 30,
    "请 5 分钟后重试": 300,
    "retry the 3 seconds of audio": -1,
    "a limit of 30 seconds": -1,
}


@pytest.mark.parametrize("said", SECONDS)
def test_the_wait_that_a_message_names_is_told(client: Client, upstream: FakeUpstream, said: str) -> None:
    upstream.script(json_reply({"error": {"message": said, "type": "rate_limit_error"}}, 429))

    told = client.chat().headers.get("retry-after")

    assert told == (None if SECONDS[said] < 0 else str(SECONDS[said]))


@every_client
@pytest.mark.parametrize("model", ["chat/m", "responses/m"])
@pytest.mark.parametrize(("seconds", "lasts"), [(1800, True), (300, False)])
def test_no_agent_sleeps_until_a_limit_that_lasts_has_ended(
    every: Client, upstream: FakeUpstream, dialect: str, model: str, seconds: int, lasts: bool
) -> None:
    """Codex obeys any `retry-after`, so it seemed to hang for half an hour. Azure asks for a whole day."""
    error = {"message": "Too many requests", "type": "tokens", "param": None, "code": "rate_limit_exceeded"}
    upstream.script(json_reply({"error": error}, 429, {"retry-after": str(seconds)}))
    path, body = body_of(dialect)

    told = every.ask(path, {**body, "model": model})

    assert (told.status_code, told.headers["retry-after"]) == (429, str(seconds))
    assert (told.headers.get("x-should-retry") == "false") is lasts
    assert ("The limit resets at" in told.text) is lasts
    assert ("usage_limit_reached" in told.text) is (lasts and dialect == "R")


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S +0000 GMT"])
@pytest.mark.parametrize("said", ["Your limit will reset at {}.", "It will reset at {}", "Try again after {}"])
def test_the_date_that_a_message_names_is_told(client: Client, upstream: FakeUpstream, form: str, said: str) -> None:
    """Only with its zone: of a time in Beijing nobody knows that it is one."""
    at = datetime.now(UTC) + timedelta(seconds=600)
    texts = [said.format(at.strftime(form)), said.format(at.strftime("%Y-%m-%d %H:%M:%S"))]
    upstream.script(*(json_reply({"error": {"message": text, "code": "429"}}, 429) for text in texts))

    dated, bare = (client.message().headers.get("retry-after") for _ in texts)

    assert abs(int(dated or 0) - 600) < 60
    assert bare is None


# NikkeTryHard/zerogravity#19, duolahypercho/codex-router#573, promptfoo/promptfoo#8341, cline/cline#14213
HEADERS: dict[str, tuple[dict[str, str], str | None]] = {
    "seconds": ({"retry-after": "30"}, "30"),
    "parts of a second": ({"retry-after": "30.5"}, "31"),
    "with its unit": ({"retry-after": "30s"}, "30"),
    "a span": ({"retry-after": "1m30s"}, "90"),
    "below nothing": ({"retry-after": "-1"}, None),
    "nonsense": ({"retry-after": "soon"}, None),
    "milliseconds": ({"retry-after-ms": "30000"}, "30"),
    "Azure's milliseconds": ({"x-ms-retry-after-ms": "30000"}, "30"),
    "an x before": ({"x-retry-after": "30"}, "30"),
    "of the limit": ({"x-ratelimit-retry-after": "30"}, "30"),
    "in words": ({"x-rate-limit-retry-after-seconds": "30"}, "30"),
    "GitHub Models": ({"x-ratelimit-timeremaining": "30"}, "30"),
    "the draft of before": ({"ratelimit": "limit=100, remaining=0, reset=30"}, "30"),
    "the last draft": ({"ratelimit": '"default";r=0;t=30'}, "30"),
}


@every_client
@pytest.mark.parametrize("name", HEADERS)
def test_a_wait_is_told_in_seconds_whatever_a_header_has_for_it(
    client: Client, upstream: FakeUpstream, dialect: str, name: str
) -> None:
    headers, seconds = HEADERS[name]
    upstream.script(json_reply({"error": {"message": "slow", "type": "rate_limit_error"}}, 429, headers))
    path = {"A": "/v1/messages", "C": "/v1/chat/completions", "R": "/v1/responses"}[dialect]
    asked = {"input": "hi"} if dialect == "R" else {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}

    response = client.ask(path, {"model": "chat/m", **asked})

    assert (response.status_code, response.headers.get("retry-after")) == (429, seconds)


@pytest.mark.parametrize("form", ["unix", "unix in milliseconds", "ISO"])
def test_a_moment_in_the_header_becomes_seconds(client: Client, upstream: FakeUpstream, form: str) -> None:
    at = datetime.now(UTC) + timedelta(seconds=600)
    given = {
        "unix": str(int(at.timestamp())),
        "unix in milliseconds": str(int(at.timestamp() * 1000)),
        "ISO": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    upstream.script(json_reply({"error": {"message": "slow"}}, 429, {"retry-after": given[form]}))

    assert abs(int(client.chat().headers["retry-after"]) - 600) < 60


BODIES: dict[str, Any] = {
    "a text": {"error": {"message": "slow", "retry_after": "30"}},
    "beside the error": {"error": {"message": "slow"}, "retry_after": 30},
    "milliseconds": {"error": {"message": "slow", "retryAfterMs": 30000}},
    "Google": [{"error": {"code": 429, "message": "q", "details": [{"retryDelay": "30s"}]}}],
    "Google in parts": {"error": {"code": 429, "message": "q", "details": [{"retryDelay": {"seconds": 30}}]}},
    "Google's plan": {"error": {"message": "q", "details": [{"metadata": {"quotaResetDelay": "29.7s"}}]}},
    "seconds to wait": {"error": {"message": "slow", "wait_seconds": 30}},
}


@pytest.mark.parametrize("name", BODIES)
def test_the_wait_that_a_body_names_is_told(client: Client, upstream: FakeUpstream, name: str) -> None:
    upstream.script(json_reply(BODIES[name], 429))

    assert client.chat().headers.get("retry-after") == "30"
