"""Requests of Anthropic Messages, read and written, for tests."""

from __future__ import annotations

import json
from typing import Any

from app.conversation.blocks import Text
from app.conversation.capabilities import Capabilities
from app.conversation.request import Request, Turn
from app.dialects.anthropic_messages import parse_request

CLAUDE = Capabilities(
    dialect="anthropic_messages", model="claude-x", cache_hints="cache_control", proofs=("anthropic_messages",)
)


def parse(**fields: Any) -> Request:
    body = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "q"}], **fields}
    return parse_request(json.dumps({k: v for k, v in body.items() if v is not ...}).encode(), {})


def request(**fields: Any) -> Request:
    turns = fields.pop("turns", (Turn("user", (Text("q"),)),))
    return Request(dialect=fields.pop("dialect", "openai_chat"), model="m", turns=turns, **fields)
