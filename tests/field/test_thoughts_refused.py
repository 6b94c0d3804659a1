"""Thoughts of past answers that vendors refuse: the next try is made without them."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from typing import Any

import pytest

from app.conversation.blocks import Proof
from app.conversation.envelope import seal
from app.dialects.openai_chat.vocabulary import SEALED_FORMAT
from tests.field.asking import every_client, saying
from tests.field.pairs import ask
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply


@every_client
@pytest.mark.parametrize(
    "said",
    [
        "messages.1.content.0.thinking.signature: Field required",
        "messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified.",
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    ],
)
def test_thinking_that_claude_does_not_take_is_left_out_of_the_next_try(
    every: Client, upstream: FakeUpstream, dialect: str, said: str
) -> None:
    """FB-080, and how else the vendor says it."""
    refusal = json_reply({"type": "error", "error": {"type": "invalid_request_error", "message": said}}, 400)
    answer = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "t"}],
              "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
    upstream.script(refusal, json_reply(answer))

    told = ask(every, dialect, "messages/claude-opus-4-8", **signed_history(dialect))

    assert told.text == "t"
    assert [b'"type":"thinking"' in seen.body.replace(b" ", b"") for seen in upstream.seen] == [True, False]


def signed_history(dialect: str) -> dict[str, Any]:
    """A past turn whose thinking Claude signed, as a client of the dialect sends it back."""
    thinking = {"type": "thinking", "thinking": "because", "signature": "c2lnbmVk"}
    proof = Proof("anthropic_messages", "thinking", (json.dumps(thinking).encode(),))
    match dialect:
        case "A":
            return {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [thinking, {"type": "text", "text": "a"}]},
                                 {"role": "user", "content": "more"}]}  # fmt: skip
        case "C":
            detail = {
                "type": "reasoning.text",
                "text": "because",
                "signature": "c2lnbmVk",
                "format": "anthropic-claude-v1",
            }
            return {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_details": [detail]},
                                 {"role": "user", "content": "more"}]}  # fmt: skip
        case _:
            reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal(proof)}
            return {"input": [{"role": "user", "content": "q"}, reasoning, {"role": "assistant", "content": "a"},
                              {"role": "user", "content": "more"}]}  # fmt: skip


@every_client
@pytest.mark.parametrize("status", [400, 404])
def test_an_item_that_openai_does_not_find_is_left_out_of_the_next_try(
    every: Client, upstream: FakeUpstream, dialect: str, status: int
) -> None:
    """FB-091: the vendor says it with either status."""
    assert_reasoning_is_left_out(every, upstream, dialect, status, "Item with id 'rs_1' not found.")


@every_client
@pytest.mark.parametrize(
    "said",
    [
        "Item 'rs_1' of type 'reasoning' was provided without its required following item.",
        "Item 'fc_1' of type 'function_call' was provided without its required 'reasoning' item: 'rs_1'.",
        "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false.",
        "The encrypted content gAAA could not be verified. Reason: Encrypted content item_id did not match the target item id.",
    ],
)
def test_reasoning_that_openai_does_not_take_is_left_out_of_the_next_try(
    every: Client, upstream: FakeUpstream, dialect: str, said: str
) -> None:
    """FB-092, and how else the vendor says it."""
    assert_reasoning_is_left_out(every, upstream, dialect, 400, said)


def assert_reasoning_is_left_out(every: Client, upstream: FakeUpstream, dialect: str, status: int, said: str) -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAx"}
    carrier = seal(Proof("openai_responses", "reasoning", (json.dumps(item).encode(),)))
    answer = {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "t", "annotations": []}]}]}  # fmt: skip
    upstream.script(
        json_reply({"error": {"message": said, "type": "invalid_request_error", "param": "input"}}, status),
        json_reply(answer),
    )
    past: dict[str, Any] = {
        "A": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [{"type": "redacted_thinking", "data": carrier}, {"type": "text", "text": "a"}]},
              {"role": "user", "content": "more"}],
        "C": [{"role": "user", "content": "q"},
              {"role": "assistant", "content": "a", "reasoning_details": [{"type": "reasoning.encrypted", "data": carrier, "format": SEALED_FORMAT, "index": 0}]},
              {"role": "user", "content": "more"}],
        "R": [{"role": "user", "content": "q"}, item, {"role": "assistant", "content": "a"}, {"role": "user", "content": "more"}],
    }  # fmt: skip

    told = ask(every, dialect, "responses/gpt-5-mini", **saying(dialect, past[dialect]))

    assert told.text == "t"
    assert [b"gAAAx" in seen.body for seen in upstream.seen] == [True, False]
