"""Lists the dialects by name, for rooms that choose one at run time."""

from __future__ import annotations

from app.dialects import anthropic_messages, openai_chat, openai_responses
from app.dialects.contract import Dialect

DIALECTS: dict[str, Dialect] = {
    "anthropic_messages": anthropic_messages,
    "openai_chat": openai_chat,
    "openai_responses": openai_responses,
}
