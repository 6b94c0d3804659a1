"""Steps of server tools: written as notes in the reasoning, and images in OpenRouter's form."""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.blocks import Inline, ServerTool, Step, Text
from app.conversation.steps import describe_step
from app.dialects.openai_chat.vocabulary import NAME
from app.dialects.readable import inline_image

# A fetched page may be long, and a note is only for display.
LONGEST_NOTE = 4000


def note_of(block: ServerTool) -> str:
    if not block.text:
        return ""
    note = block.text if len(block.text) <= LONGEST_NOTE else block.text[:LONGEST_NOTE] + " [...]"
    return f"[{block.name}] {note}\n"


def read_image(raw: bytes, identifier: str) -> ServerTool | Text | None:
    """An image that the model made: as a step of an upstream's tool, or as a text with its address."""
    match msgspec.json.decode(raw):
        case {"image_url": {"url": str(url)} | str(url)} | {"url": str(url)} | {"b64_json": str(url)} | str(url):
            pass
        case _:
            return None
    image = inline_image(url)
    if image is None:
        return Text(f"![image]({url})") if url.startswith("http") else None
    step = Step("image", identifier, "image_generation", "{}", "", images=(image,))
    return ServerTool(NAME, step.name, raw, describe_step(step), step)


def write_image(image: Inline) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{image.data}"}}
