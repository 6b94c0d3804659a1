"""Images in tool outputs that are one string: the JSON of parts, or a data URL.

Sources: router-for-me/CLIProxyAPI#4699 (Codex), Model Context Protocol, "Tool Result" (content dumped as JSON).
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.conversation.blocks import DialectName
from tests.field.translating import CHAT, MESSAGES, RESPONSES, send, texts, upstream

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
URL = f"data:image/png;base64,{PNG}"
MCP = {"type": "image", "data": PNG, "mimeType": "image/png"}
SHOT = {"type": "text", "text": "shot"}
WITH_IMAGE: dict[str, Any] = {
    "responses": [{"type": "input_text", "text": "shot"}, {"type": "input_image", "image_url": URL}],
    "chat": [SHOT, {"type": "image_url", "image_url": {"url": URL}}],
    "messages": [SHOT, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}],
    "mcp": [SHOT, MCP],
    "a result of mcp": {"content": [SHOT, MCP], "isError": False},
    "one part": MCP,
    "texts alone": ["shot", MCP],
    "a resource": [
        MCP,
        {"type": "resource", "resource": {"uri": "file:///a", "mimeType": "text/plain", "text": "shot"}},
    ],
}
PLAIN: dict[str, Any] = {
    "data of its own": [{"type": "text", "text": "shot"}, {"rows": 1}],
    "a link": [{"type": "image_url", "image_url": {"url": "https://e.example/a.png"}}],
    "an object with more": {"content": [MCP], "pages": 3},
    "texts": [SHOT, SHOT],
}


def history(client: DialectName, output: str) -> dict[str, Any]:
    """A call and its result."""
    match client:
        case "anthropic_messages":
            called = {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]}
            result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": output}]}
        case "openai_chat":
            call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            called = {"role": "assistant", "content": None, "tool_calls": [call]}
            result = {"role": "tool", "tool_call_id": "c1", "content": output}
        case _:
            called = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
            result = {"type": "function_call_output", "call_id": "c1", "output": output}
    turns = [{"role": "user", "content": "q"}, called, result]
    return {"input": turns} if client == RESPONSES else {"messages": turns}


def written(asked: dict[str, Any]) -> list[str]:
    """All texts of a request."""
    found: list[str] = []

    def walk(value: Any, key: str = "") -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, name)
        elif isinstance(value, list):
            for inner in value:
                walk(inner, key)
        elif isinstance(value, str) and key in ("text", "content", "output"):
            found.append(value)

    walk(asked)
    return found


@pytest.mark.parametrize("client", [MESSAGES, CHAT, RESPONSES])
@pytest.mark.parametrize("to", [MESSAGES, CHAT, RESPONSES])
@pytest.mark.parametrize("output", [*map(json.dumps, WITH_IMAGE.values()), URL], ids=[*WITH_IMAGE, "a data URL"])
def test_an_image_in_a_string_is_shown_and_not_read_out(client: DialectName, to: DialectName, output: str) -> None:
    asked, _ = send(client, history(client, output), upstream(to))

    assert PNG in texts(asked)
    assert output is URL or "shot" in "".join(written(asked)) or output == json.dumps(MCP)
    assert not any(PNG in text for text in written(asked))


@pytest.mark.parametrize("client", [MESSAGES, CHAT, RESPONSES])
@pytest.mark.parametrize("output", [*map(json.dumps, PLAIN.values())], ids=PLAIN)
def test_a_string_that_shows_nothing_stays_what_it_is(client: DialectName, output: str) -> None:
    asked, _ = send(client, history(client, output), upstream(CHAT))

    assert output in written(asked)
