"""The specification of how much a model is asked to think."""

from __future__ import annotations

from typing import Any

import pytest

from app.adaptation.reasoning.reasoning import adapt_reasoning
from app.conversation.blocks import Proof, Reasoning
from app.conversation.capabilities import Capabilities
from app.conversation.request import Effort, ReasoningSettings, Request, Sampling, ToolChoice
from tests.adaptation.tools.asking import assistant, call, function, losses, result, take, user
from tests.adaptation.upstreams import by_chat, by_claude_code, by_codex, chat, claude, responses

SIGNED = Reasoning("hm", Proof("anthropic_messages", "thinking", (b"{}",)))
BUDGET_MODEL = claude("claude-sonnet-4-5")


def settings(request: Request, upstream: Capabilities) -> ReasoningSettings:
    return take(adapt_reasoning, request, upstream)[0].reasoning


def effort(level: Any) -> ReasoningSettings:
    return ReasoningSettings(effort=level)


@pytest.mark.parametrize("upstream", [chat("gpt-5-mini"), responses("gpt-5-mini")], ids=["chat", "responses"])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (ReasoningSettings("on", "low"), "low"),
        (ReasoningSettings("on", "max"), "high"),
        (ReasoningSettings("on", budget=1024), "low"),
        (ReasoningSettings("on", budget=4096), "medium"),
        (ReasoningSettings("on", budget=31999), "high"),
        (ReasoningSettings("on", budget=60000), "high"),
        (ReasoningSettings("on"), None),
        (ReasoningSettings("off"), None),
        (ReasoningSettings(), None),
    ],
)
def test_thinking_of_messages_becomes_an_effort(
    upstream: Capabilities, asked: ReasoningSettings, expected: Any
) -> None:
    assert settings(by_claude_code(reasoning=asked), upstream).effort == expected


def test_an_effort_that_is_unknown_upstream_becomes_its_lower_neighbour() -> None:
    taken, notes = take(adapt_reasoning, by_chat(reasoning=effort("xhigh")), claude("claude-opus-4-6"))
    lowest, _ = take(adapt_reasoning, by_chat(reasoning=effort("minimal")), claude("claude-opus-4-6"))

    assert taken.reasoning.effort == "high"
    assert losses(notes) == [("ignorable", "reasoning_effort")]
    assert lowest.reasoning.effort == "low"


def test_an_effort_becomes_adaptive_thinking_that_is_shown() -> None:
    asked = by_chat(reasoning=effort("low"))

    assert settings(asked, claude("claude-opus-4-7")) == ReasoningSettings("on", "low", visibility="summarized")


def test_an_effort_becomes_a_budget_on_older_models() -> None:
    asked = by_codex(reasoning=effort("high"), max_tokens=30000)

    assert settings(asked, BUDGET_MODEL) == ReasoningSettings("on", None, 16384)


@pytest.mark.parametrize("max_tokens", [1025, 1500, 2000, 5000, 32000])
@pytest.mark.parametrize("level", ["minimal", "low", "high", "max"])
def test_a_budget_is_at_least_1024_and_below_the_limit(max_tokens: int, level: str) -> None:
    budget = settings(by_chat(reasoning=effort(level), max_tokens=max_tokens), BUDGET_MODEL).budget

    assert budget is not None
    assert 1024 <= budget < max_tokens


@pytest.mark.parametrize("max_tokens", [2000, 16000, 32000, 64000, 200000])
def test_a_higher_effort_has_no_smaller_budget(max_tokens: int) -> None:
    levels = ("minimal", "low", "medium", "high", "xhigh", "max")
    asked = [by_chat(reasoning=effort(level), max_tokens=max_tokens) for level in levels]
    budgets = [settings(request, BUDGET_MODEL).budget or 0 for request in asked]

    assert budgets == sorted(budgets)


@pytest.mark.parametrize("max_tokens", [1, 500, 1024])
def test_there_is_no_thinking_where_the_limit_leaves_no_room(max_tokens: int) -> None:
    request = by_chat(reasoning=effort("high"), max_tokens=max_tokens)

    taken, notes = take(adapt_reasoning, request, BUDGET_MODEL)

    assert taken.reasoning == ReasoningSettings()
    assert losses(notes) == [("degrading", "reasoning_effort")]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-sonnet-4-5", ReasoningSettings()),
        ("claude-opus-4-7", ReasoningSettings()),
        ("claude-opus-5", ReasoningSettings("off")),
        ("claude-sonnet-5-5", ReasoningSettings("between_tools")),
        ("claude-opus-5-5", ReasoningSettings("on", "low")),
    ],
)
def test_no_thinking_is_asked_for_as_the_model_knows_it(model: str, expected: ReasoningSettings) -> None:
    assert settings(by_chat(reasoning=effort("none")), claude(model)) == expected


def test_a_model_that_always_thinks_is_reported() -> None:
    _, notes = take(adapt_reasoning, by_chat(reasoning=effort("none")), claude("claude-opus-5-5"))

    assert losses(notes) == [("degrading", "reasoning_effort")]


def test_effort_none_is_said_where_it_exists() -> None:
    off = by_claude_code(reasoning=ReasoningSettings("off"))

    assert settings(off, responses("gpt-5.2")) == ReasoningSettings("off", "none")
    assert settings(off, responses("gpt-5-mini")) == ReasoningSettings()


@pytest.mark.parametrize(("model", "least"), [("gpt-5-mini", "minimal"), ("o3", "low")])
def test_no_effort_is_the_least_where_nothing_turns_thinking_off(model: str, least: Effort) -> None:
    request = by_chat(reasoning=ReasoningSettings("off", "none"))

    assert settings(request, responses(model)) == ReasoningSettings("on", least)
    assert losses(take(adapt_reasoning, request, responses(model))[1]) == [("degrading", "reasoning_effort")]


def test_thinking_that_comes_unasked_is_shown() -> None:
    assert settings(by_chat(), claude("claude-opus-5-5")) == ReasoningSettings("on", visibility="summarized")
    assert settings(by_chat(), claude("claude-opus-4-8")) == ReasoningSettings()


def test_the_clients_wish_for_visibility_goes_before_the_default() -> None:
    hidden = by_claude_code(reasoning=ReasoningSettings("on", "low", visibility="omitted"))
    silent = by_claude_code(reasoning=ReasoningSettings("on", "low"))

    assert settings(hidden, responses()).visibility == "omitted"
    assert settings(silent, responses()).visibility == "auto"
    assert settings(silent, chat("gpt-5-mini")).visibility is None


def test_a_model_without_thinking_is_not_asked_for_it() -> None:
    taken, notes = take(adapt_reasoning, by_claude_code(reasoning=ReasoningSettings("on", "high")), chat("gpt-4.1"))

    assert taken.reasoning == ReasoningSettings()
    assert losses(notes) == [("ignorable", "thinking")]


def test_sampling_gives_way_to_thinking() -> None:
    sampling = Sampling(temperature=0, top_p=0.1, top_k=5)
    request = by_chat(reasoning=effort("high"), sampling=sampling, max_tokens=20000)

    taken, notes = take(adapt_reasoning, request, BUDGET_MODEL)
    calm, _ = take(adapt_reasoning, by_chat(sampling=sampling), BUDGET_MODEL)

    assert taken.sampling == Sampling()
    assert losses(notes) == [("degrading", "temperature"), ("degrading", "top_p"), ("degrading", "top_k")]
    assert calm.sampling == sampling


def test_sampling_that_changes_nothing_stays_beside_thinking() -> None:
    sampling = Sampling(temperature=1, top_p=0.99)

    taken, notes = take(adapt_reasoning, by_chat(reasoning=effort("low"), sampling=sampling), BUDGET_MODEL)

    assert (taken.sampling, losses(notes)) == (sampling, [])


@pytest.mark.parametrize(("model", "expected"), [("claude-sonnet-4-5", None), ("claude-opus-5", "off")])
def test_thinking_gives_way_to_a_forced_tool(model: str, expected: Any) -> None:
    request = by_chat(reasoning=effort("high"), tools=(function(),), tool_choice=ToolChoice("any"))

    taken, notes = take(adapt_reasoning, request, claude(model))

    assert taken.reasoning.mode == expected
    assert losses(notes) == [("degrading", "reasoning_effort")]


def test_thinking_that_nobody_asked_for_gives_way_silently() -> None:
    request = by_chat(tools=(function(),), tool_choice=ToolChoice("any"))

    taken, notes = take(adapt_reasoning, request, claude("claude-opus-5"))

    assert (taken.reasoning.mode, losses(notes)) == ("off", [])


def test_thinking_gives_way_to_tools_on_a_chat_endpoint_that_takes_either() -> None:
    request = by_claude_code(reasoning=ReasoningSettings("on", "high"), tools=(function(),))

    taken, notes = take(adapt_reasoning, request, chat("gpt-5.4", "openai"))

    assert taken.reasoning == ReasoningSettings("off", "none")
    assert losses(notes) == [("degrading", "thinking")]
    assert settings(request, responses("gpt-5.4", "openai")).effort == "high"
    assert settings(by_claude_code(reasoning=request.reasoning), chat("gpt-5.4", "openai")).effort == "high"


def test_a_tool_loop_that_lost_its_thinking_goes_on_without() -> None:
    turns = (user("q"), assistant(call("a")), user(result("a")))

    taken, notes = take(adapt_reasoning, by_chat(*turns, reasoning=effort("high")), BUDGET_MODEL)

    assert taken.reasoning == ReasoningSettings()
    assert losses(notes) == [("degrading", "reasoning_effort")]


def test_a_tool_loop_that_kept_its_thinking_goes_on_with_it() -> None:
    turns = (user("q"), assistant(SIGNED, call("a")), user(result("a")))

    assert settings(by_codex(*turns, reasoning=effort("high")), BUDGET_MODEL).mode == "on"


def test_an_adaptive_model_needs_no_thinking_in_the_loop() -> None:
    turns = (user("q"), assistant(call("a")), user(result("a")))

    assert settings(by_codex(*turns, reasoning=effort("high")), claude("claude-opus-4-7")).mode == "on"


@pytest.mark.parametrize(
    ("profile", "mode", "expected"),
    [
        ("deepseek", "on", {"thinking": {"type": "enabled"}}),
        ("deepseek", "off", {"thinking": {"type": "disabled"}}),
        ("deepseek", None, {}),
        ("qwen", "on", {"enable_thinking": True}),
        ("qwen", "off", {"enable_thinking": False}),
        ("llamacpp", "off", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("llamacpp", "on", {}),
        ("openrouter", "off", {"reasoning": {"enabled": False}}),
    ],
)
def test_a_servers_own_switch_is_set(profile: str, mode: Any, expected: dict[str, Any]) -> None:
    request = by_claude_code(reasoning=ReasoningSettings(mode))

    taken = take(adapt_reasoning, request, chat("some-model", profile))[0]

    assert {extension.name: extension.value for extension in taken.extensions} == expected
    assert {extension.dialect for extension in taken.extensions} <= {"openai_chat"}
