"""The specification of what becomes of the reasoning in past turns."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from app.adaptation.reasoning.past_reasoning import adapt_replay
from app.conversation.blocks import Block, Proof, Reasoning, Text, ToolCall
from app.conversation.capabilities import Capabilities
from app.conversation.request import Turn
from tests.adaptation.tools.asking import assistant, call, losses, result, take, user
from tests.adaptation.upstreams import by_codex, chat, claude, responses

CLAUDES = Proof("anthropic_messages", "thinking", (b'{"type":"thinking"}',), "claude-opus-5-5")
OPENAIS = Proof("openai_responses", "reasoning", (b'{"type":"reasoning"}',))
DETAILS = Proof("openai_chat", "plain", (b'[{"type":"reasoning.text"}]',))


def replayed(upstream: Capabilities, *blocks: Block | str) -> tuple[Block, ...]:
    turns = (user("q"), assistant(*blocks), user("go"))
    return take(adapt_replay, by_codex(*turns), upstream)[0].turns[1].blocks


@pytest.mark.parametrize("text", ["hm", ""])
def test_a_proof_goes_back_to_where_it_came_from(text: str) -> None:
    assert replayed(claude(), Reasoning(text, CLAUDES), "a") == (Reasoning(text, CLAUDES), Text("a"))
    assert replayed(responses(), Reasoning(text, OPENAIS), "a") == (Reasoning(text, OPENAIS), Text("a"))
    assert replayed(chat(profile="openrouter"), Reasoning(text, DETAILS), "a")[0] == Reasoning(text, DETAILS)


@pytest.mark.parametrize("proof", [CLAUDES, OPENAIS, DETAILS, None])
@pytest.mark.parametrize("upstream", [claude(), responses(), chat("gpt-4.1")], ids=["messages", "responses", "chat"])
def test_a_proof_goes_nowhere_else(upstream: Capabilities, proof: Proof | None) -> None:
    if upstream.understands(proof):
        return

    assert replayed(upstream, Reasoning("hm", proof), "a") == (Text("a"),)


def test_the_proof_of_a_call_that_stood_before_it_comes_back_to_it() -> None:
    signature = Proof("openai_chat", "tool_call", (b'{"google":{"thought_signature":"TS"}}',))
    blocks = (Reasoning("", signature), call("a"), call("b"))

    assert replayed(chat(profile="gemini"), *blocks) == (replace(call("a"), proof=signature), call("b"))
    assert replayed(claude(), *blocks) == (call("a"), call("b"))


def test_an_unsigned_call_gets_what_stands_for_a_proof_where_one_is_demanded() -> None:
    first, second = replayed(chat(profile="gemini"), call("a"), call("b"))

    assert isinstance(first, ToolCall)
    assert first.proof is not None
    assert b"skip_thought_signature_validator" in first.proof.originals[0]
    assert second == call("b")
    assert replayed(chat(), call("a")) == (call("a"),)


def test_dropped_reasoning_is_a_mere_hint() -> None:
    turn = Turn("assistant", (Reasoning("hm"), Text("a")), path="input[1]")

    _, notes = take(adapt_replay, by_codex(user("q"), turn))

    assert losses(notes) == [("ignorable", "input[1]")]


@pytest.mark.parametrize("model", ["deepseek-reasoner", "kimi-k2-thinking"])
@pytest.mark.parametrize("upstream", [chat, claude], ids=["chat", "messages"])
def test_a_model_that_wants_its_thinking_back_gets_the_text(upstream: Any, model: str) -> None:
    blocks = replayed(upstream(model), Reasoning("hm", CLAUDES), call("a"))

    assert blocks == (Reasoning("hm"), call("a"))


@pytest.mark.parametrize("upstream", [chat, claude], ids=["chat", "messages"])
def test_lost_thinking_still_has_its_field_on_turns_with_calls(upstream: Any) -> None:
    capabilities = upstream("deepseek-reasoner")

    assert replayed(capabilities, "a", call("a")) == (Reasoning(""), Text("a"), call("a"))
    assert replayed(capabilities, "a") == (Text("a"),)


def test_no_required_field_is_added_where_nothing_requires_it() -> None:
    assert replayed(chat("gpt-4.1"), call("a")) == (call("a"),)


def test_half_of_a_turns_reasoning_is_worse_than_none() -> None:
    assert replayed(claude(), Reasoning("one", CLAUDES), Reasoning("two"), "a") == (Text("a"),)


def test_a_proof_on_a_call_goes_only_where_it_came_from() -> None:
    signed = call("a", proof=DETAILS)

    assert replayed(chat("gemini-3-pro", "gemini"), signed) == (signed,)
    assert replayed(claude(), signed) == (call("a"),)


def test_users_turns_are_left_alone() -> None:
    turns = (user("q"), assistant(call("a")), user(result("a")))

    assert take(adapt_replay, by_codex(*turns))[0].turns == turns


THINKING = b'{"type":"thinking","thinking":"hm","signature":"c2ln"}'
REDACTED = b'{"type":"redacted_thinking","data":"RA"}'
ROUTED = b'{"type":"reasoning.text","text":"hm","signature":"c2ln","format":"anthropic-claude-v1","index":0}'


@pytest.mark.parametrize("original", [THINKING, ROUTED], ids=["thinking_blocks", "reasoning_details"])
def test_claude_gets_back_what_it_signed_in_the_fields_of_chat(original: bytes) -> None:
    proof = Proof("openai_chat", "thinking", (original, REDACTED))

    first, second, words = replayed(claude(), Reasoning("hm", proof), "a")

    assert first == Reasoning("hm", Proof("anthropic_messages", "thinking", (THINKING,)))
    assert second == Reasoning("", Proof("anthropic_messages", "redacted", (REDACTED,)))
    assert words == Text("a")


@pytest.mark.parametrize(
    "original",
    [b'{"type":"thinking","thinking":"hm","signature":""}', b'{"type":"reasoning.text","text":"hm"}', b"[]", b"{"],
)
def test_claude_gets_nothing_that_it_did_not_sign(original: bytes) -> None:
    proof = Proof("openai_chat", "thinking", (THINKING, original))

    assert replayed(claude(), Reasoning("hm", proof), "a") == (Text("a"),)
