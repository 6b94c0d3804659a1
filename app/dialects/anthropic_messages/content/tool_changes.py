"""Tools that come and go in the middle of a conversation, brought into the tools at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from app.conversation.blocks import Block, Opaque
from app.conversation.request import Tool, Turn
from app.dialects.anthropic_messages.content.tools import read_tools

CHANGES = ("tool_addition", "tool_removal")

_object = msgspec.json.Decoder(dict[str, Any])


def apply_tool_changes(tools: tuple[Tool, ...], turns: tuple[Turn, ...]) -> tuple[tuple[Tool, ...], tuple[Turn, ...]]:
    """The tools in effect at the end, and the turns without what changed them; the very same where nothing did.

    Tools that were defined on the way follow the others in their order. Raises InvalidRequest for one that is none.
    """
    if not any(_is_change(block) for turn in turns for block in turn.blocks):
        return tools, turns
    known = {tool.name: tool for tool in tools}
    gone: set[str] = set()
    for turn in turns:
        for block in turn.blocks:
            if isinstance(block, Opaque) and _is_change(block):
                _apply(_object.decode(block.raw), known, gone)
    left = tuple(tool for name, tool in known.items() if name not in gone)
    return left, tuple(replace(turn, blocks=_without_changes(turn.blocks)) for turn in turns)


def _apply(change: dict[str, Any], known: dict[str, Tool], gone: set[str]) -> None:
    """Servers of MCP, whose tools nobody but Anthropic knows, are left aside."""
    match change:
        case {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": dict() as definition}}:
            for tool in read_tools([definition]):
                known[tool.name] = tool
                gone.discard(tool.name)
        case {"type": "tool_addition", "tool": {"type": "tool_reference", "name": str(name)}}:
            gone.discard(name)
        case {"type": "tool_removal", "tool": {"type": "tool_reference", "name": str(name)}}:
            gone.add(name)


def _is_change(block: Block) -> bool:
    return isinstance(block, Opaque) and block.type in CHANGES


def _without_changes(blocks: Sequence[Block]) -> tuple[Block, ...]:
    return tuple(block for block in blocks if not _is_change(block))
