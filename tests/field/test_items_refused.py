"""Responses servers that do not know the newest items of Codex, and say so by the name of the item's type.

Sources: openai/codex#33551, CLIProxyAPI#5516; OpenAI API reference, "Errors" ("Invalid value: … Supported values are: …").
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

from typing import Any

import pytest

from tests.field.pairs import whole_reply
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

ITEMS: dict[str, list[dict[str, Any]]] = {
    "agent_message": [{"type": "agent_message", "author": "/root", "content": [{"type": "input_text", "text": "WORDS"}]}],
    "additional_tools": [{"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "WORDS"}]}],
    "shell_call_output": [
        {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}, "status": "completed"},
        {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "WORDS", "stderr": ""}]},
    ],
}  # fmt: skip
COMPLAINTS = (
    "Invalid value: '{}'. Supported values are: 'message', 'reasoning' and 'function_call'.",
    "Unknown item type: {}",
    "unknown variant `{}`, expected `message`",
    "Unsupported input item type '{}'",
)


def refusal(complaint: str, name: str) -> Any:
    return json_reply(
        {"error": {"message": complaint.format(name), "type": "invalid_request_error", "param": None}}, 400
    )


@pytest.mark.parametrize("complaint", COMPLAINTS)
@pytest.mark.parametrize("name", ITEMS)
def test_an_item_that_the_server_does_not_know_is_told_in_words(
    every: Client, upstream: FakeUpstream, name: str, complaint: str
) -> None:
    upstream.script(refusal(complaint, name), json_reply(whole_reply("R", "ok")))
    said = [{"role": "user", "content": "q"}, *ITEMS[name], {"role": "user", "content": "more"}]

    response = every.ask("/v1/responses", {"model": "responses/m", "input": said})

    assert response.status_code == 200
    asked = upstream.seen[-1].json()
    assert name not in {item.get("type") for item in asked["input"]}
    assert "WORDS" in str(asked)


@pytest.mark.parametrize("complaint", COMPLAINTS)
def test_a_compaction_that_the_server_cannot_make_is_made_of_a_summary(
    every: Client, upstream: FakeUpstream, complaint: str
) -> None:
    upstream.script(refusal(complaint, "compaction_trigger"), json_reply(whole_reply("R", "THE SUMMARY")))
    said = [{"role": "user", "content": "q"}, {"type": "compaction_trigger"}]

    response = every.ask("/v1/responses", {"model": "responses/m", "input": said, "store": False})

    assert [item["type"] for item in response.json["output"]] == ["compaction"]


@pytest.mark.parametrize("name", ITEMS)
@pytest.mark.parametrize(
    ("complaint", "param"),
    [
        ("Missing required parameter: 'input[1].content'.", "input[1].content"),
        ("input.1: Field required", None),
        ("Invalid input", "input"),
    ],
)
def test_an_item_that_the_server_does_not_know_is_told_by_its_place_or_not_at_all(
    every: Client, upstream: FakeUpstream, name: str, complaint: str, param: str | None
) -> None:
    """10/chatgpt-codex-proxy#9, CommandCodeAI/command-code#893."""
    refused = {"error": {"message": complaint, "type": "invalid_request_error", "param": param}}
    upstream.script(json_reply(refused, 400), json_reply(whole_reply("R", "ok")))
    said = [{"role": "user", "content": "q"}, *ITEMS[name], {"role": "user", "content": "more"}]

    response = every.ask("/v1/responses", {"model": "responses/m", "input": said})

    assert response.status_code == 200
    assert name not in {item.get("type") for item in upstream.seen[-1].json()["input"]}


@pytest.mark.parametrize("complaint", ["Invalid input", "Missing required parameter: 'input[0].content'."])
def test_a_complaint_about_a_message_is_no_complaint_about_items(
    every: Client, upstream: FakeUpstream, complaint: str
) -> None:
    upstream.script(json_reply({"error": {"message": complaint, "type": "invalid_request_error"}}, 400))

    assert every.ask("/v1/responses", {"model": "responses/m", "input": [{"role": "user"}]}).status_code == 400
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("complaint", ["Unsupported parameter: 'reasoning.effort'", "Invalid value: 'developer'."])
def test_a_complaint_about_something_else_changes_no_item(
    every: Client, upstream: FakeUpstream, complaint: str
) -> None:
    upstream.script(*[refusal(complaint, "")] * 3)
    said = [{"role": "developer", "content": "d"}, {"role": "user", "content": "q"}, *ITEMS["agent_message"]]

    every.ask("/v1/responses", {"model": "responses/m", "input": said, "reasoning": {"effort": "low"}})

    assert all("agent_message" in str(seen.json()) for seen in upstream.seen)
