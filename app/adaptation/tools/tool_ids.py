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

# id style → legal ids, hash characters of a new id, and its prefix
_STYLES: dict[str, tuple[Callable[[str], object], int, str]] = {
    "any": (bool, 24, "call_"),
    "anthropic": (re.compile(r"[a-zA-Z0-9_-]+").fullmatch, 24, "call_"),
    "responses": (re.compile(r".{1,64}", re.DOTALL).fullmatch, 24, "call_"),
    "openai": (re.compile(r".{1,40}", re.DOTALL).fullmatch, 24, "call_"),
    "mistral": (re.compile(r"[a-zA-Z0-9]{9}").fullmatch, 9, ""),
}


def adapt_tool_ids(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    """The request with ids of calls and results that the upstream accepts; legal ids stay unchanged.

    Nothing is undone in the reply: the client sends its own ids again, which always give the same new ones.
    """
    legal = _STYLES[capabilities.tool_id][0]
    turns = list(request.turns)
    changed = False
    for position, turn in enumerate(turns):
        for block in turn.blocks:
            id_ = block.id if type(block) is ToolCall else block.call_id if type(block) is ToolResult else None
            if id_ is not None and not legal(id_):
                blocks = tuple(_legalize_ids(block, capabilities.tool_id) for block in turn.blocks)
                turns[position] = replace(turn, blocks=blocks)
                changed = True
                break
    return replace(request, turns=tuple(turns)) if changed else request


def legal_id(old: str, style: str) -> str:
    """The id itself if it is legal in `style`, else a new one that depends only on the old one.

    Replacing single characters would change less, but would make `a.b` and `a_b` the same id.
    """
    legal, length, prefix = _STYLES[style]
    return old if legal(old) else prefix + digest_id(old, length)


def digest_id(seed: str, length: int = 24) -> str:
    """A hash of `seed` in lower-case letters and digits, at most 52 characters."""
    digest = hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest()
    return base64.b32encode(digest).decode("ascii").rstrip("=").lower()[:length]


def _legalize_ids(block: Block, style: str) -> Block:
    match block:
        case ToolCall():
            return replace(block, id=legal_id(block.id, style))
        case ToolResult():
            return replace(block, call_id=legal_id(block.call_id, style))
        case _:
            return block
