"""Upstreams as the tables know them, and requests of clients of each dialect."""

from __future__ import annotations

from typing import Any

from app.conversation.blocks import DialectName
from app.conversation.capabilities import Capabilities
from app.conversation.request import Request, Turn
from app.providers.profiles import capabilities_for
from tests.adaptation.tools.asking import user

URL = "http://127.0.0.1:9000/v1"


def claude(model: str = "claude-opus-5-5", **quirks: Any) -> Capabilities:
    return capabilities_for("anthropic_messages", URL, model, quirks=quirks)


def chat(model: str = "some-model", profile: str = "generic", **quirks: Any) -> Capabilities:
    return capabilities_for("openai_chat", URL, model, profile, quirks)


def responses(model: str = "gpt-5-mini", profile: str = "generic", **quirks: Any) -> Capabilities:
    return capabilities_for("openai_responses", URL, model, profile, quirks)


def by(dialect: DialectName, *turns: Turn, **fields: Any) -> Request:
    return Request(dialect=dialect, model="m", turns=turns or (user("q"),), **fields)


def by_claude_code(*turns: Turn, **fields: Any) -> Request:
    return by("anthropic_messages", *turns, **fields)


def by_chat(*turns: Turn, **fields: Any) -> Request:
    return by("openai_chat", *turns, **fields)


def by_codex(*turns: Turn, **fields: Any) -> Request:
    return by("openai_responses", *turns, **fields)
