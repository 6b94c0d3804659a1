"""Applies tools added or removed during a conversation to its final tool list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from app.conversation.blocks import Block, Opaque
from app.conversation.request import NativeTool, Tool, Turn
from app.dialects.anthropic_messages.content.tools import read_tools
from app.dialects.anthropic_messages.vocabulary import NAME
from app.json_values import object_decoder

CHANGES = ("tool_addition", "tool_removal")
_TOOLSET = "mcp_toolset"


def apply_tool_changes(tools: tuple[Tool, ...], turns: tuple[Turn, ...]) -> tuple[tuple[Tool, ...], tuple[Turn, ...]]:
    """The tools in effect at the end, and the turns without the blocks that changed them; both unchanged if there are
    none.

    Tools added during the conversation follow the others, in order. Raises InvalidRequest for an addition that is no
    tool.
    """
    if not any(_is_change(block) for turn in turns for block in turn.blocks):
        return tools, turns
    known = {_key(tool): tool for tool in tools}
    gone: set[str] = set()
    for turn in turns:
        for block in turn.blocks:
            if isinstance(block, Opaque) and _is_change(block):
                _apply(object_decoder.decode(block.raw), known, gone)
    left = tuple(tool for key, tool in known.items() if key not in gone)
    return left, tuple(replace(turn, blocks=_without_changes(turn.blocks)) for turn in turns)


def _key(tool: Tool) -> str:
    """The key of a tool: its name, or for a toolset, which has none, its server's name."""
    if isinstance(tool, NativeTool) and tool.type == _TOOLSET:
        return _toolset_key(tool.definition.get("mcp_server_name"))
    return tool.name


def _toolset_key(server: object) -> str:
    return f"{_TOOLSET} {server}"


def _apply(change: dict[str, Any], known: dict[str, Tool], gone: set[str]) -> None:
    match change:
        case {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": dict() as definition}}:
            for tool in read_tools([definition]):
                known[_key(tool)] = tool
                gone.discard(_key(tool))
        case {"type": "tool_addition", "tool": {"type": "tool_reference", "name": str(name)}}:
            gone.discard(name)
        case {"type": "tool_removal", "tool": {"type": "tool_reference", "name": str(name)}}:
            gone.add(name)
        case {"type": kind, "tool": {"type": "mcp_tool_reference", "server_name": str(server), "name": str(name)}}:
            _switch(known, server, name, on=kind == "tool_addition")
        case {"type": kind, "tool": {"type": "mcp_toolset_reference", "server_name": str(server)}}:
            _switch(known, server, None, on=kind == "tool_addition")


def _switch(known: dict[str, Tool], server: str, name: str | None, *, on: bool) -> None:
    """Switches one tool of an MCP server, or all of them, on or off. The toolset itself stays, because without one a
    server may do everything."""
    key = _toolset_key(server)
    toolset = known.get(key)
    definition = toolset.definition if isinstance(toolset, NativeTool) else {}
    changed: dict[str, Any]
    if name is None:
        changed = {"default_config": {"enabled": on}, "configs": {}}
    else:
        configs = definition.get("configs")
        before = configs if isinstance(configs, dict) else {}
        changed = {"configs": {**before, name: {"enabled": on}}}
    definition = {"type": _TOOLSET, "mcp_server_name": server, **definition, **changed}
    known[key] = NativeTool(NAME, _TOOLSET, _TOOLSET, definition, server=True)


def _is_change(block: Block) -> bool:
    return isinstance(block, Opaque) and block.type in CHANGES


def _without_changes(blocks: Sequence[Block]) -> tuple[Block, ...]:
    return tuple(block for block in blocks if not _is_change(block))
