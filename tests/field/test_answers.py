"""Answers that strict clients could not read.

Sources: BerriAI/litellm#21932 (log probabilities without alternatives).
"""

from __future__ import annotations

from typing import Any

import pytest

from app.conversation.blocks import DialectName
from tests.field.asking import both_modes
from tests.field.translating import CHAT, MESSAGES, RESPONSES, answer, texts, upstream

WHOLE = {"token": "h", "logprob": -0.1, "bytes": [104], "top_logprobs": []}


@both_modes
@pytest.mark.parametrize("entry", [WHOLE, {**WHOLE, "top_logprobs": None}, {"token": "h", "logprob": -0.1}])
def test_the_alternatives_of_a_token_are_a_list(entry: dict[str, Any], stream: bool) -> None:
    body = {"input": "q", "include": ["message.output_text.logprobs"]}
    choice = {"message": {"content": "h"}, "logprobs": {"content": [entry]}, "finish_reason": "stop"}

    got = answer(RESPONSES, body, upstream(CHAT), {"id": "c", "choices": [choice]}, stream=stream)

    (said,) = got["output"][0]["content"][0]["logprobs"]
    assert said == {"bytes": [104], **entry, "top_logprobs": []}


@both_modes
@pytest.mark.parametrize("client", [CHAT, RESPONSES])
def test_why_an_answer_broke_off_is_told_after_its_text(client: DialectName, stream: bool) -> None:
    """Anthropic, "Streaming refusals": the explanation comes at the end, whatever was said before."""
    reply = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "So first"}],
        "stop_reason": "refusal",
        "stop_details": {"type": "refusal", "category": "cyber", "explanation": "It may do harm."},
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    body = {"input": "q"} if client == RESPONSES else {"messages": [{"role": "user", "content": "q"}]}

    got = answer(client, body, upstream(MESSAGES), reply, stream=stream)

    assert "So first" in texts(got)
    assert "It may do harm." in texts(got)
    if client == RESPONSES:
        assert got["incomplete_details"] == {"reason": "content_filter"}
