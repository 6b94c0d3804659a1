"""Histories that an upstream would refuse, mended before it does.

Sources: vercel/ai#7543, openai-agents-js#546 (reasoning that led to nothing); Anthropic API reference, "Prompt caching"
(four marks); cyanheads/git-mcp-server#47 (keywords that are null).
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.conversation.blocks import DialectName
from app.dialects.registry import DIALECTS
from tests.field.translating import CHAT, MESSAGES, RESPONSES, send, texts, upstream
from tests.support.same_dialect import send_on

MARK = {"cache_control": {"type": "ephemeral"}}


def thought(name: str) -> dict[str, Any]:
    return {"type": "reasoning", "id": f"rs_{name}", "summary": [], "encrypted_content": f"gAAA{name}"}


def test_a_thought_that_led_to_nothing_is_not_sent_back() -> None:
    user = {"role": "user", "content": "q"}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    said = [
        user,
        thought("1"),
        call,
        {"type": "function_call_output", "call_id": "c", "output": "r"},
        thought("2"),
        user,
    ]

    asked, _ = send(RESPONSES, {"input": said}, upstream(RESPONSES))

    assert [item["encrypted_content"] for item in asked["input"] if item["type"] == "reasoning"] == ["gAAA1"]


def marked(texts_: int, tools: int) -> dict[str, Any]:
    blocks = [{"type": "text", "text": f"t{number}", **MARK} for number in range(texts_)]
    declared = [{"name": f"f{number}", "input_schema": {"type": "object"}, **MARK} for number in range(tools)]
    return {
        "messages": [{"role": "user", "content": blocks}],
        "tools": declared,
        "system": [{"type": "text", "text": "s", **MARK}],
    }


@pytest.mark.parametrize(
    ("blocks", "tools", "left"), [(3, 0, "s t0 t1 t2"), (3, 1, "s t0 t1 t2"), (4, 1, "t0 t1 t2 t3")]
)
def test_of_too_many_cache_marks_the_earliest_go(blocks: int, tools: int, left: str) -> None:
    body = {"model": "m", "max_tokens": 10, **marked(blocks, tools)}
    can = upstream(MESSAGES)

    passed = json.loads(send_on(DIALECTS[MESSAGES], json.dumps(body).encode(), can).body)
    asked, _ = send(MESSAGES, body, can)

    for sent in (passed, asked):
        holders = [*sent.get("tools", []), *sent["system"], *sent["messages"][0]["content"]]
        assert " ".join(one.get("text", one.get("name")) for one in holders if "cache_control" in one) == left


def test_four_marks_pass_byte_by_byte() -> None:
    body = json.dumps({"model": "m", "max_tokens": 10, **marked(3, 0)}).encode()

    assert json.loads(send_on(DIALECTS[MESSAGES], body, upstream(MESSAGES)).body) == json.loads(body) | {
        "model": upstream(MESSAGES).model
    }


@pytest.mark.parametrize("client", [MESSAGES, CHAT, RESPONSES])
@pytest.mark.parametrize("to", [MESSAGES, CHAT, RESPONSES])
def test_keywords_of_schemas_that_are_null_are_left_out(client: DialectName, to: DialectName) -> None:
    inner = {"type": "string", "enum": None, "default": None, "description": None}
    schema = {
        "type": "object",
        "properties": {"required": inner, "list": {"type": "array", "items": None}},
        "required": None,
    }
    tools: dict[DialectName, dict[str, Any]] = {
        MESSAGES: {"name": "f", "input_schema": schema},
        CHAT: {"type": "function", "function": {"name": "f", "parameters": schema}},
        RESPONSES: {"type": "function", "name": "f", "parameters": schema},
    }
    question = {"role": "user", "content": "q"}
    body = {"input": [question]} if client == RESPONSES else {"messages": [question]}

    asked, _ = send(client, {**body, "tools": [tools[client]]}, upstream(to))

    (tool,) = asked["tools"]
    sent = tool.get("function", tool).get("parameters") or tool.get("input_schema")
    kept = {"type": "string", "default": None}
    assert sent == {"type": "object", "properties": {"required": kept, "list": {"type": "array"}}}


@pytest.mark.parametrize("to", [MESSAGES, CHAT, RESPONSES])
def test_two_calls_of_one_id_are_told_apart(to: DialectName) -> None:
    def turn(result: str) -> list[dict[str, Any]]:
        call = {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        return [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_0", "content": result},
        ]

    said = [{"role": "user", "content": "q"}, *turn("one"), *turn("two")]

    asked, _ = send(CHAT, {"messages": said}, upstream(to))

    ids = [
        value for key, value in pairs(asked) if key in ("tool_call_id", "tool_use_id", "call_id") and "one" not in value
    ]
    assert len(set(ids)) == 2
    assert "one" in texts(asked)


def pairs(value: Any) -> list[tuple[str, Any]]:
    match value:
        case dict():
            return [(key, inner) for key, inner in value.items()] + [
                pair for inner in value.values() for pair in pairs(inner)
            ]
        case list():
            return [pair for inner in value for pair in pairs(inner)]
        case _:
            return []
