"""What passes is what the adaptation would leave alone: both ways to an upstream agree on what it can take."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.adaptation.adapt import adapt
from app.conversation.capabilities import Capabilities
from app.conversation.request import Request
from app.dialects.contract import Dialect
from app.providers.profiles import capabilities_for
from tests.laws.cases import DIALECTS, every_dialect, form_of

SERVERS = (
    "https://api.openai.com/v1",
    "https://api.anthropic.com",
    "https://llm.example/v1",
    "https://openrouter.ai/api/v1",
    "https://api.deepseek.com",
    "https://api.moonshot.cn/v1",
    "https://generativelanguage.googleapis.com/v1beta/openai",
    "https://api.mistral.ai/v1",
    "http://127.0.0.1:11434/v1",
    "http://127.0.0.1:1234/v1",
    "https://chatgpt.com/backend-api/codex",
)
MODELS = (
    "gpt-4.1", "gpt-5", "gpt-5.1", "gpt-5.5", "o3", "claude-sonnet-4-5", "claude-opus-4-7", "claude-fable-5-1",
    "deepseek-v4", "kimi-k2-thinking", "gemini-3-pro", "mistral-large", "some-model",
)  # fmt: skip

TOOL = {"type": "object", "properties": {"x": {"type": "string"}}}
CHAT_TOOL = {"type": "function", "function": {"name": "f", "parameters": TOOL}}
QUESTION = {"role": "user", "content": "q"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

# Requests that some upstream refuses, by the form of the client's dialect.
SPOILED: dict[str, list[dict[str, Any]]] = {
    "chat": [
        {"temperature": 1},
        {"temperature": 0.2},
        {"temperature": 2},
        {"top_p": 0.5},
        {"top_p": 0.5, "temperature": 0.5},
        {"top_k": 40},
        {"seed": 7},
        {"frequency_penalty": 0.5},
        {"logit_bias": {"5": 1}},
        {"logprobs": True, "top_logprobs": 2},
        {"n": 3},
        {"stop": "END"},
        {"stop": ["a", "b", "c", "d", "e"]},
        {"max_tokens": 5},
        {"max_completion_tokens": 500_000},
        *({"reasoning_effort": effort} for effort in ("none", "minimal", "low", "high", "xhigh")),
        {"reasoning_effort": "high", "temperature": 0.5},
        {"tools": [CHAT_TOOL], "tool_choice": "required"},
        {"tools": [CHAT_TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tools": [CHAT_TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        {"tools": [CHAT_TOOL], "tool_choice": "none"},
        {"tools": [CHAT_TOOL], "parallel_tool_calls": False},
        {"tools": [CHAT_TOOL], "reasoning_effort": "high"},
        {"tools": [{"type": "function", "function": {"name": "a.b", "parameters": TOOL}}]},
        {"tools": [{"type": "function", "function": {"name": "f" * 65, "parameters": TOOL}}]},
        {"tools": [{"type": "custom", "custom": {"name": "f"}}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": TOOL}}},
        {"response_format": {"type": "json_object"}, "messages": [{"role": "user", "content": "in JSON"}]},
        {"messages": [QUESTION, {"role": "assistant", "content": "so"}]},
        {"messages": [{"role": "developer", "content": "d"}, QUESTION]},
        {"messages": [QUESTION, {"role": "assistant", "content": "a"}, {"role": "system", "content": "s"}, QUESTION]},
        {"messages": [QUESTION, {"role": "assistant", "content": "a", "reasoning_content": "hm"}, QUESTION]},
        {
            "tools": [CHAT_TOOL],
            "messages": [
                QUESTION,
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "ok"},
            ],
        },
    ],
    "messages": [
        {"temperature": 0.5},
        {"temperature": 0.5, "top_p": 0.5},
        {"top_k": 4},
        {"stop_sequences": ["  "]},
        {"max_tokens": 500_000},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}, "temperature": 0.5},
        {"thinking": {"type": "adaptive"}},
        {"output_config": {"effort": "xhigh"}},
        {"output_config": {"format": {"type": "json_schema", "schema": TOOL}}},
        {"tools": [{"name": "f", "input_schema": TOOL}], "tool_choice": {"type": "any"}},
        {"tools": [{"name": "f", "input_schema": TOOL, "strict": True}]},
        {"messages": [QUESTION, {"role": "assistant", "content": "so"}]},
        {"system": [{"type": "text", "text": "x-anthropic-billing-header: a"}]},
    ],
    "items": [
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"reasoning": {"effort": "minimal"}},
        {"reasoning": {"effort": "xhigh"}},
        {"reasoning": {"effort": "none"}},
        {"tools": [{"type": "custom", "name": "f"}]},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "function", "name": "f", "parameters": TOOL}], "tool_choice": "required"},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": TOOL}}},
    ],
}  # fmt: skip
PLAIN: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": [QUESTION]},
    "messages": {"model": "m", "max_tokens": 4096, "messages": [QUESTION]},
    "items": {"model": "m", "input": "q", "store": False},
}
# What the two ways must agree on. Hints that change no answer may pass where the adaptation would leave them out.
AGREED = ("sampling", "stop", "tool_choice", "parallel_tool_calls", "n", "logprobs")


def upstreams(dialect: Dialect) -> list[Capabilities]:
    return [capabilities_for(dialect.NAME, server, model) for server in SERVERS for model in MODELS]


def settings_of(request: Request) -> dict[str, Any]:
    agreed = {name: getattr(request, name) for name in AGREED}
    return {
        **agreed,
        "reasoning": (request.reasoning.effort, request.reasoning.budget),
        "format": request.output_format and request.output_format.kind,
        "tools": [(type(tool), tool.name) for tool in request.tools],
        "turns": [(turn.role, [type(block) for block in turn.blocks]) for turn in request.turns],
    }


@pytest.mark.parametrize(
    ("dialect", "spoiled"),
    [
        pytest.param(dialect, spoiled, id=f"{dialect.NAME}/{json.dumps(spoiled)[:60]}")
        for dialect in DIALECTS
        for spoiled in SPOILED[form_of(dialect.NAME)]
    ],
)
def test_what_passes_is_what_the_adaptation_leaves_alone(dialect: Dialect, spoiled: dict[str, Any]) -> None:
    body = json.dumps(PLAIN[form_of(dialect.NAME)] | spoiled).encode()
    passed = [upstream for upstream in upstreams(dialect) if dialect.pass_request(body, upstream) is not None]

    for capabilities in passed:
        asked, sent, severities = translate(dialect, body, capabilities)
        label = f"{capabilities.model}: {capabilities.dialect}"
        assert severities <= {"ignorable"}, label
        assert settings_of(sent) == settings_of(asked), label


@pytest.mark.parametrize("dialect", every_dialect())
def test_a_plain_request_passes_to_every_upstream_that_answers_in_the_open(dialect: Dialect) -> None:
    """Those that are read in any case are the ones whose answers hold calls or thoughts as text, or whose server
    stores nothing and wants to be told so."""
    body = json.dumps(PLAIN[form_of(dialect.NAME)] | {"stream": True}).encode()

    passed = [upstream for upstream in upstreams(dialect) if dialect.pass_request(body, upstream) is not None]

    read = [up for up in upstreams(dialect) if up.think_tags or up.instructions_required or up.reasoning_excludes_tools]
    assert len(passed) >= len(upstreams(dialect)) - len(read)


def translate(client: Dialect, body: bytes, capabilities: Capabilities) -> tuple[Request, Request, set[str]]:
    """What a client asked, what its upstream would be asked on the long way, and how bad the losses were."""
    asked = client.parse_request(body, {})
    adapted = adapt(asked, capabilities)
    rendered = client.render_request(adapted.request, capabilities)
    sent = client.parse_request(rendered.body, {})
    return asked, sent, {loss.severity for loss in (*adapted.losses, *rendered.losses)}
