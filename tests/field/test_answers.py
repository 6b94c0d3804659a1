"""Answers that strict clients could not read.

Sources: BerriAI/litellm#21932 (log probabilities without alternatives).
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.field.translating import CHAT, RESPONSES, answer, upstream

WHOLE = {"token": "h", "logprob": -0.1, "bytes": [104], "top_logprobs": []}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("entry", [WHOLE, {**WHOLE, "top_logprobs": None}, {"token": "h", "logprob": -0.1}])
def test_the_alternatives_of_a_token_are_a_list(entry: dict[str, Any], stream: bool) -> None:
    body = {"input": "q", "include": ["message.output_text.logprobs"]}
    choice = {"message": {"content": "h"}, "logprobs": {"content": [entry]}, "finish_reason": "stop"}

    got = answer(RESPONSES, body, upstream(CHAT), {"id": "c", "choices": [choice]}, stream=stream)

    (said,) = got["output"][0]["content"][0]["logprobs"]
    assert said == {**entry, "top_logprobs": []}
