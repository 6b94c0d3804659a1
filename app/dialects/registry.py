"""Lists the dialects by name, for rooms that choose one at run time."""

from __future__ import annotations

from typing import cast

from app.dialects import anthropic_messages, openai_chat, openai_responses
from app.dialects.contract import Dialect

DIALECTS: dict[str, Dialect] = {
    "anthropic_messages": cast(Dialect, anthropic_messages),
    "openai_chat": cast(Dialect, openai_chat),
    "openai_responses": cast(Dialect, openai_responses),
}
