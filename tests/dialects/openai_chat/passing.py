"""What passes between a client and a server that both speak Chat Completions, for tests."""

from __future__ import annotations

import json
from typing import Any

from app.conversation.capabilities import Capabilities, RenderContext
from app.dialects.openai_chat import NAME, pass_response

CONTEXT = RenderContext(model="asked-for", id="abc123", created=1_760_000_000, include_usage=True)


def can(**more: Any) -> Capabilities:
    return Capabilities(**{"dialect": NAME, "model": "real", **more})


def whole(message: dict[str, Any], finish: str = "stop", **more: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    head = {"id": "c", "object": "chat.completion", "created": 7, "model": "up"}
    return json.dumps({**head, "choices": [choice], **more}).encode()


def call(**more: Any) -> dict[str, Any]:
    return {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, **more}


def repair(body: bytes, **more: Any) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(pass_response(body, CONTEXT, can(**more))[0])
    return value
