"""All turns of a conversation have one name, in every dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.providers.conversation_names import name_conversation

CHAT = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
LATER = [*CHAT, {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}]
TURNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Chat": ({"model": "m", "messages": CHAT}, {"messages": LATER, "model": "m", "temperature": 1}),
    "Messages": ({"system": "s", "messages": CHAT[1:]}, {"system": "s", "messages": LATER[1:], "max_tokens": 9}),
    "Responses": ({"input": CHAT, "instructions": "i"}, {"instructions": "i", "input": LATER}),
    "items without a role": (
        {"input": [{"type": "item_reference", "id": "i"}, *CHAT]},
        {"input": [{"type": "item_reference", "id": "i"}, *LATER]},
    ),
    "a cache key": ({"prompt_cache_key": "k", "input": "one"}, {"prompt_cache_key": "k", "input": "two"}),
    "text": ({"input": "q"}, {"input": "q", "stream": True}),
}


def name(body: dict[str, Any]) -> str:
    return name_conversation(json.dumps(body).encode())


@pytest.mark.parametrize("dialect", TURNS)
def test_a_later_turn_has_the_name_of_the_first(dialect: str) -> None:
    first, later = TURNS[dialect]

    assert name(first) == name(later)


def test_conversations_that_begin_otherwise_have_other_names() -> None:
    bodies = [
        {"messages": CHAT},
        {"messages": [CHAT[0], {"role": "user", "content": "other"}]},
        {"system": "t", "messages": CHAT},
        {"input": "q"},
        {"prompt_cache_key": "k", "messages": CHAT},
    ]

    assert len({name(body) for body in bodies}) == len(bodies)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"messages": 3}', b'{"messages": [3]}', b'{"input": [null]}', b"\xff"]
)
def test_what_cannot_be_read_has_a_name_too(body: bytes) -> None:
    assert len(name_conversation(body)) == 36
