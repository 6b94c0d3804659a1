"""Which requests pass byte by byte to a server of Anthropic Messages, and which go through the conversation instead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.dialects import anthropic_messages
from app.dialects.anthropic_messages.passing_request import pass_request
from app.providers.profiles import capabilities_for
from tests.support.same_dialect import send_on

VENDOR = capabilities_for("anthropic_messages", "https://api.anthropic.com", "claude-sonnet-4-5")
# A server that knows none of the vendor's proofs and tools.
STRANGER = capabilities_for("anthropic_messages", "", "m", profile="kimi")

QUESTION = {"role": "user", "content": "q"}
CALL: dict[str, Any] = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "o"}]}
SEARCH = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
    {"type": "text", "text": "a"},
]


def ask(*messages: dict[str, Any]) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 9, "messages": messages}).encode()


def test_calls_and_results_pass() -> None:
    body = ask(QUESTION, {"role": "assistant", "content": [CALL]}, RESULT)

    assert pass_request(body, VENDOR) == body.replace(b'"m"', b'"claude-sonnet-4-5"', 1)


@pytest.mark.parametrize("odd", [{"name": ""}, {"input": None}, {"input": '{"x":1}'}, {"input": []}], ids=str)
def test_a_call_without_a_name_or_an_object_is_made_whole(odd: dict[str, Any]) -> None:
    body = ask(QUESTION, {"role": "assistant", "content": [CALL | odd]}, RESULT)

    assert pass_request(body, VENDOR) is None
    sent = send_on(anthropic_messages, body, VENDOR).body
    assert pass_request(sent, VENDOR) == sent


def test_what_the_vendors_own_tools_did_is_told_to_others_in_words() -> None:
    body = ask(QUESTION, {"role": "assistant", "content": SEARCH}, QUESTION)

    assert pass_request(body, VENDOR) is not None
    assert pass_request(body, STRANGER) is None
    sent = send_on(anthropic_messages, body, STRANGER).body
    assert b"server_tool_use" not in sent
    assert b"[web_search] x" in sent
