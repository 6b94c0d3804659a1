"""Requests of the Responses dialect, read and written, for tests."""

from __future__ import annotations

import json
from typing import Any

from app.conversation.request import Request
from app.dialects.openai_responses import render_request
from tests.dialects.openai_responses.wire import UPSTREAM

USER = {"type": "message", "role": "user", "content": "q"}


def rendered(request: Request, capabilities: Any = UPSTREAM) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(render_request(request, capabilities).body)
    return body
