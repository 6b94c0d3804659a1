"""Rewrites tool call ids to the spelling that each vendor expects."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable

from msgspec.structs import replace

from app.adaptation.notes import Notes
from app.conversation.blocks import Block, ToolCall, ToolResult
from app.conversation.capabilities import Capabilities
from app.conversation.request import Request

# style of ids: what is legal, how many characters of hash make a new one and what stands before them
_STYLES: dict[str, tuple[Callable[[str], object], int, str]] = {
    "any": (bool, 24, "call_"),
    "anthropic": (re.compile(r"[a-zA-Z0-9_-]+").fullmatch, 24, "call_"),
    "responses": (re.compile(r".{1,64}", re.DOTALL).fullmatch, 24, "call_"),
    "mistral": (re.compile(r"[a-zA-Z0-9]{9}").fullmatch, 9, ""),
}


def adapt_tool_ids(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    """Ids of calls and results that the upstream takes; a legal one stays as it is.

    Nothing is undone on the way back: the client sends its own ids again, and they give the same ones.
    """
    legal = _STYLES[capabilities.tool_id][0]
    turns = list(request.turns)
    changed = False
    for position, turn in enumerate(turns):
        for block in turn.blocks:
            id_ = block.id if type(block) is ToolCall else block.call_id if type(block) is ToolResult else None
            if id_ is not None and not legal(id_):
                blocks = tuple(_spell_block(block, capabilities.tool_id) for block in turn.blocks)
                turns[position] = replace(turn, blocks=blocks)
                changed = True
                break
    return replace(request, turns=tuple(turns)) if changed else request


def spell_id(old: str, style: str) -> str:
    """The id itself where it is legal in `style`, else a new one that depends on nothing but the old one.

    Replacing single characters would do less, but then `a.b` and `a_b` are the same id.
    """
    legal, length, prefix = _STYLES[style]
    return old if legal(old) else prefix + digest_id(old, length)


def digest_id(seed: str, length: int = 24) -> str:
    """Lower-case letters and digits that stand for `seed`, at most 52 of them."""
    digest = hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest()
    return base64.b32encode(digest).decode("ascii").rstrip("=").lower()[:length]


def _spell_block(block: Block, style: str) -> Block:
    match block:
        case ToolCall():
            return replace(block, id=spell_id(block.id, style))
        case ToolResult():
            return replace(block, call_id=spell_id(block.call_id, style))
        case _:
            return block
