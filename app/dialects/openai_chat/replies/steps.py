"""Renders steps of server tools: as a note in the reasoning, and images as OpenRouter does."""

from __future__ import annotations

from typing import Any

from app.conversation.blocks import Inline, ServerTool

# A page that was fetched may be long, and a note is only to be looked at.
LONGEST_NOTE = 4000


def note_of(block: ServerTool) -> str:
    if not block.text:
        return ""
    said = block.text if len(block.text) <= LONGEST_NOTE else block.text[:LONGEST_NOTE] + " [...]"
    return f"[{block.name}] {said}\n"


def write_image(image: Inline) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{image.data}"}}
