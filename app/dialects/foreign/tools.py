"""Converts tools in the shape of another dialect, which some agents send."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.conversation.blocks import DialectName
from app.conversation.request import NativeTool

# Only the vendor tools of Messages have a date in their types.
_DATED = re.compile(r"[a-z_]{1,60}_20[0-9]{6}")
_MESSAGES: DialectName = "anthropic_messages"
_RUN_BY_CLIENTS = ("bash_", "text_editor_", "memory_", "computer_")


def dated_tool(definition: Mapping[str, Any]) -> NativeTool | None:
    """A vendor tool of Messages; None for any other."""
    kind, name = definition.get("type"), definition.get("name")
    if not isinstance(kind, str) or not is_dated(kind):
        return None
    server = not kind.startswith(_RUN_BY_CLIENTS)
    return NativeTool(_MESSAGES, kind, name if isinstance(name, str) else kind, dict(definition), server)


def is_dated(kind: object) -> bool:
    return isinstance(kind, str) and _DATED.fullmatch(kind) is not None


def nested_tool(definition: Mapping[str, Any]) -> dict[str, Any] | None:
    """The inner object of a Chat Completions tool, with its type added; None if there is none."""
    kind = definition.get("type", "function")
    inner = definition.get(kind) if kind in ("function", "custom") else None
    return {"type": kind, **inner} if isinstance(inner, dict) else None


def messages_tool(definition: Mapping[str, Any]) -> dict[str, Any] | None:
    """A function tool of Messages in flat form; None for any other tool."""
    schema = definition.get("input_schema")
    if not isinstance(schema, dict) or "parameters" in definition:
        return None
    flat = {name: definition[name] for name in ("name", "description", "strict", "defer_loading") if name in definition}
    return {"type": "function", **flat, "parameters": schema}
