"""Histories that an upstream would refuse, mended before it does.

Sources: vercel/ai#7543, openai-agents-js#546 (reasoning that led to nothing); Anthropic API reference, "Prompt caching"
(four marks); cyanheads/git-mcp-server#47 (keywords that are null).
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from app.conversation.blocks import DialectName
from app.dialects.registry import DIALECTS
from tests.field.asking import tool
from tests.field.translating import CHAT, LETTERS, MESSAGES, RESPONSES, send, texts, upstream
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


@pytest.mark.parametrize(
    ("lives", "left"), [("5m 1h", "5m 5m"), ("1h 5m 1h", "1h 5m 5m"), ("1h 1h 5m", "1h 1h 5m"), ("30m 5m", "1h 5m")]
)
def test_no_mark_lives_longer_than_one_before_it(lives: str, left: str) -> None:
    """Anthropic refuses such a request; a hint is no reason to fail."""
    parts = [{"type": "text", "text": "t", "cache_control": {"type": "ephemeral", "ttl": one}} for one in lives.split()]

    asked, _ = send(CHAT, {"messages": [{"role": "user", "content": parts}]}, upstream(MESSAGES))

    marks = [block["cache_control"] for block in asked["messages"][0]["content"]]
    assert " ".join(mark.get("ttl", "5m") for mark in marks) == left


def test_marks_of_chat_clients_are_read_wherever_gateways_take_them() -> None:
    """LiteLLM reads them inside a function too, OpenRouter for the whole request."""
    function = {"name": "f", "parameters": {"type": "object"}, **MARK}
    body = {"messages": [{"role": "user", "content": "q"}], "tools": [{"type": "function", "function": function}]}

    asked, _ = send(CHAT, {**body, **MARK}, upstream(MESSAGES))

    assert asked["tools"][0]["cache_control"] == asked["cache_control"] == MARK["cache_control"]


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
    nulls = tool(LETTERS[client], schema=schema)
    question = {"role": "user", "content": "q"}
    body = {"input": [question]} if client == RESPONSES else {"messages": [question]}

    asked, _ = send(client, {**body, "tools": [nulls]}, upstream(to))

    (each,) = asked["tools"]
    sent = each.get("function", each).get("parameters") or each.get("input_schema")
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


def call_of(call_id: str, result: str, x: int = 1) -> list[dict[str, Any]]:
    """A call and its result as a client of Messages sends them back."""
    return [
        {"role": "assistant", "content": [{"type": "tool_use", "id": call_id, "name": "f", "input": {"x": x}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call_id, "content": result}]},
    ]


QUESTION: list[dict[str, Any]] = [{"role": "user", "content": "q"}]
REFUSED_BY_CLAUDE: dict[str, list[dict[str, Any]]] = {
    "ids that another server made": [*QUESTION, *call_of("functions.f:0", "one"), *call_of("functions_f_0", "two")],
    "one id twice": [*QUESTION, *call_of("call_0", "one"), *call_of("call_0", "two", 2)],
    "a call without a result": [*QUESTION, call_of("c", "")[0], *QUESTION],
    "a result that nobody asked for": [*QUESTION, {"role": "assistant", "content": "a"}, call_of("c", "one")[1]],
    "a result behind other words": [
        *QUESTION,
        call_of("c", "")[0],
        {"role": "user", "content": [{"type": "text", "text": "first"}, *call_of("c", "one")[1]["content"]]},
    ],
}


@pytest.mark.parametrize("name", REFUSED_BY_CLAUDE)
def test_what_claude_refuses_in_a_history_of_its_own_dialect_is_mended(name: str) -> None:
    """FB-007, FB-008 and FB-031 with Messages on both sides: a conversation may have begun on another server."""
    body = {"model": "m", "max_tokens": 10, "messages": REFUSED_BY_CLAUDE[name]}

    asked = json.loads(send_on(DIALECTS[MESSAGES], json.dumps(body).encode(), upstream(MESSAGES)).body)

    called: list[str] = []
    for turn, then in zip(asked["messages"], [*asked["messages"][1:], None], strict=True):
        blocks = turn["content"] if isinstance(turn["content"], list) else []
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if calls:
            assert [block.get("tool_use_id") for block in then["content"]][: len(calls)] == calls
        elif turn["role"] == "user" and not called:
            assert not [block for block in blocks if block["type"] == "tool_result"]
        called += calls
    assert len(set(called)) == len(called)
    assert all(re.fullmatch("[a-zA-Z0-9_-]+", call_id) for call_id in called)
    assert all(word in texts(asked) for word in ("one", "two", "first") if word in texts(body))


def test_a_sound_history_of_calls_passes_byte_by_byte() -> None:
    late = {"role": "system", "content": "late"}
    said = [*QUESTION, call_of("c", "")[0], late, call_of("c", "one")[1], *call_of("d", "two")]
    body = json.dumps({"model": "m", "max_tokens": 10, "messages": said}).encode()

    assert DIALECTS[MESSAGES].pass_request(body, upstream(MESSAGES, model="claude-opus-4-8")) is not None


@pytest.mark.parametrize("model", ["MiniMax-M2", "glm-4.7", "qwen3-max", "kimi-k2", "my-own"])
@pytest.mark.parametrize("signature", ["", "theirs"])
def test_thinking_comes_back_to_a_messages_server_that_is_no_claude(model: str, signature: str) -> None:
    thinking = {"type": "thinking", "thinking": "because", "signature": signature}
    call, result = call_of("c", "one")
    said = [*QUESTION, {"role": "assistant", "content": [thinking, *call["content"]]}, result]
    body = json.dumps({"model": "m", "max_tokens": 10, "messages": said}).encode()

    passed = DIALECTS[MESSAGES].pass_request(body, upstream(MESSAGES, model=model))

    assert passed is not None
    assert json.loads(passed)["messages"] == said


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-4-8", "us.anthropic.claude-sonnet-4-5-v1:0"])
def test_thinking_that_nobody_signed_never_goes_to_claude(model: str) -> None:
    thinking = {"type": "thinking", "thinking": "because", "signature": ""}
    said = [*QUESTION, {"role": "assistant", "content": [thinking, {"type": "text", "text": "a"}]}, *QUESTION]
    body = json.dumps({"model": "m", "max_tokens": 10, "messages": said}).encode()

    assert b"because" not in send_on(DIALECTS[MESSAGES], body, upstream(MESSAGES, model=model)).body


@pytest.mark.parametrize("to", [MESSAGES, CHAT, RESPONSES])
@pytest.mark.parametrize("written", [None, "", " \n", "null"])
def test_arguments_that_say_nothing_are_an_object(to: DialectName, written: str | None) -> None:
    """FB-028, with Chat on both sides too: templates of servers parse them."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": written}}
    said = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "r"},
    ]

    asked, _ = send(CHAT, {"messages": said}, upstream(to))

    key = "input" if to == MESSAGES else "arguments"
    (sent,) = [value for name, value in pairs(asked) if name == key and not isinstance(value, list)]
    assert sent in ("{}", {})


def test_arguments_that_say_nothing_do_not_pass() -> None:
    for written in ("null", '" "', '"\\n"'):
        body = b'{"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":{"arguments":%b}}]}]}'

        assert DIALECTS[CHAT].pass_request(body % written.encode(), upstream(CHAT)) is None


@pytest.mark.parametrize("dialect", [MESSAGES, CHAT, RESPONSES])
def test_a_schema_with_a_null_keyword_does_not_pass(dialect: DialectName) -> None:
    schema = {"type": "object", "properties": {}, "required": None}
    nulls = tool(LETTERS[dialect], schema=schema)
    body = {"model": "m", "max_tokens": 10, "input" if dialect == RESPONSES else "messages": QUESTION, "tools": [nulls]}

    sent = send_on(DIALECTS[dialect], json.dumps(body).encode(), upstream(dialect)).body

    assert b"null" not in sent


@pytest.mark.parametrize("to", [CHAT, MESSAGES])
def test_base64_in_the_spelling_of_urls_is_written_in_full(to: DialectName) -> None:
    """FB-112: without the signs that fill it up."""
    short = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk-M9QDwADhgGAWjR9awAAAABJRU5ErkJggg"
    part = {"type": "input_image", "image_url": f"data:image/png;base64,{short}"}

    asked, _ = send(RESPONSES, {"input": [{"role": "user", "content": [part]}]}, upstream(to))

    assert short.replace("-", "+") + "==" in texts(asked)


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
