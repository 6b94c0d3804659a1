"""What passes between a client and a server that both speak Anthropic Messages, for tests."""

from __future__ import annotations

import msgspec

from app.conversation.capabilities import Capabilities
from app.providers.profiles import capabilities_for


def served(model: str, base_url: str = "https://api.anthropic.com") -> Capabilities:
    return msgspec.structs.replace(capabilities_for("anthropic_messages", base_url, model), model="")


VENDOR = served("claude-sonnet-4-5")
