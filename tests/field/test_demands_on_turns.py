"""Turns that a server does not take where they stand, and says so only when it is asked."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.asking import (
    UPSTREAMS,
    both_modes,
    every_client,
    every_upstream,
    saying,
)
from tests.field.pairs import ask, refuse_once
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream

ROLES = [
    "role 'system' is not supported on this model",
    "messages.1.role: Input should be 'user' or 'assistant'",
    "messages[1].role: unknown variant `system`, expected `user` or `assistant`",
    "messages[1].role must be one of: user, assistant",
    "invalid_value messages[].role",
    "Only user, assistant and tool roles are supported, got system.",
    "Multiple system messages are not supported",
    "Unexpected message role.",
    "use the top-level 'system' parameter for the initial system prompt",
]


@every_client
@every_upstream
@pytest.mark.parametrize("words", ROLES)
def test_a_system_turn_that_a_server_refuses_among_the_others_becomes_a_reminder(
    every: Client, upstream: FakeUpstream, dialect: str, to: str, words: str
) -> None:
    """JustVugg/colibri#725, jwadow/kiro-gateway#197, EasyMetaAu/helm-api#166, ggml-org/llama.cpp, LeenHawk/gproxy#209."""
    turns = [
        {"role": "user", "content": "q"},
        {"role": "system", "content": "Agents: X"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "r"},
    ]
    if dialect == "A":
        said: dict[str, Any] = {"system": "S", "messages": turns}
    else:
        said = saying(dialect, [{"role": "system", "content": "S"}, *turns])
    refuse_once(upstream, to, {"error": {"message": words, "type": "invalid_request_error"}})

    told = ask(every, dialect, UPSTREAMS[to] if to != "A" else "messages/claude-opus-4-8", **said)

    assert told.error == ""
    last = upstream.seen[-1].json()
    assert json.dumps(last).count("Agents: X") == 1
    assert all(turn["role"] not in ("system", "developer") for turn in (last.get("messages") or last["input"])[1:])


@every_client
@every_upstream
@both_modes
def test_a_refusal_inside_a_reply_that_began_well_is_read(
    every: Client, upstream: FakeUpstream, dialect: str, to: str, stream: bool
) -> None:
    """Relays answer 200 before they know; an error is all that follows."""
    words = "role 'system' is not supported on this model"
    error = {"error": {"message": words, "type": "invalid_request_error"}}
    refuse_once(upstream, to, {"type": "error", **error} if to == "A" else error, 200)
    turns = [
        {"role": "user", "content": "q"},
        {"role": "system", "content": "s"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "r"},
    ]

    told = ask(every, dialect, UPSTREAMS[to] if to != "A" else "messages/claude-opus-4-8", stream=stream,
               **saying(dialect, turns))  # fmt: skip

    assert (told.text, told.error) == ("t", "")
    assert len(upstream.seen) == 2


def test_a_refusal_of_another_role_moves_no_system_turn(every: Client, upstream: FakeUpstream) -> None:
    words = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
    turns = [("user", "q"), ("system", "s"), ("user", "r")]
    refuse_once(upstream, "C", {"error": {"message": words}})

    told = ask(every, "C", "chat/m", messages=[{"role": role, "content": text} for role, text in turns])

    assert words in told.error
    assert len(upstream.seen) == 1
