"""Histories with items that only another vendor could have written, after a change of the model within a session."""

from __future__ import annotations

from typing import Any

import pytest

from tests.field.asking import body_of
from tests.field.pairs import whole_reply
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

USER = {"role": "user", "content": "q"}
STEP = {"type": "server_tool_use", "id": "call_50b82aba", "name": "web_search", "input": {"query": "x"}}
RESULT = {"type": "web_search_tool_result", "tool_use_id": "call_50b82aba", "content": []}
TEXT = {"type": "text", "text": "WORDS"}


@pytest.mark.parametrize("step", [[{**STEP, "name": "analyze_image"}], [STEP, RESULT]])
def test_a_step_with_the_id_of_another_vendor_ends_no_session(
    every: Client, upstream: FakeUpstream, step: list[dict[str, Any]]
) -> None:
    """decolua/9router#3685, anthropics/claude-code#77512."""
    words = "messages.1.content.0.server_tool_use.id: String should match pattern '^srvtoolu_[a-zA-Z0-9_]+$'"
    refusal = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    upstream.script(json_reply(refusal, 400), json_reply(whole_reply("A", "ok")))
    messages = [USER, {"role": "assistant", "content": [*step, TEXT]}, USER]

    response = every.ask("/v1/messages", body_of("A")[1] | {"model": "messages/m", "messages": messages})

    assert response.status_code == 200
    asked = str(upstream.seen[-1].json()["messages"])
    assert "call_50b82aba" not in asked
    assert "WORDS" in asked


@pytest.mark.parametrize(
    "words",
    [
        "`input[1]` missing required field `summary`",
        "Missing required parameter: 'input[1].summary'.",
        "encrypted_content was not issued to this caller",
    ],
)
def test_reasoning_of_another_vendor_is_left_out(every: Client, upstream: FakeUpstream, words: str) -> None:
    """zai-org/feedback#682, Gentleman-Programming/gentle-ai#4595."""
    refusal = {"error": {"type": "invalid_request_error", "message": words, "param": None, "code": None}}
    upstream.script(json_reply(refusal, 400), json_reply(whole_reply("R", "ok")))
    reasoning = {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA"}
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}

    response = every.ask("/v1/responses", {"model": "responses/m", "input": [USER, reasoning, said, USER]})

    assert (response.status_code, len(upstream.seen)) == (200, 2)
    assert "reasoning" not in {item.get("type") for item in upstream.seen[-1].json()["input"]}
