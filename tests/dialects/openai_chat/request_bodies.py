"""Requests of Chat Completions, read and written, for tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from app.conversation.capabilities import Capabilities
from app.conversation.request import Request
from app.dialects.openai_chat import NAME, parse_request, render_request

ReadWire = Callable[[str], bytes]


HELLO = [{"role": "user", "content": "Hello"}]


def parse(**body: Any) -> Request:
    return parse_request(json.dumps({"model": "m", "messages": HELLO} | body).encode(), {})


def can(**more: Any) -> Capabilities:
    return Capabilities(**{"dialect": NAME, "model": "m", **more})


def render(request: Request, **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(render_request(request, can(**more)).body)
    return body
