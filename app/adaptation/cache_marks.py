"""Limits cache breakpoints to the number that vendors accept.

Every vendor refuses a request with a fifth mark. Later marks cover the prefix of earlier ones, so the earliest go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from msgspec.structs import replace

from app.adaptation.notes import Notes, field
from app.conversation.blocks import Block, ToolResult
from app.conversation.capabilities import Capabilities
from app.conversation.request import Request

MAX_MARKS = 4

T = TypeVar("T")


def adapt_cache_marks(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    if capabilities.cache_hints == "none":
        return request
    over = _count(request) - MAX_MARKS
    if over <= 0:
        return request
    notes.lose(
        "ignorable", field(request.dialect, "cache"), f"only {MAX_MARKS} are accepted: the earliest are left out"
    )
    taker = _Taker(over)
    # In the order in which they form the prefix.
    tools = tuple(taker.take(tool) for tool in request.tools)
    instructions = tuple(taker.take(text) for text in request.instructions)
    turns = tuple(replace(turn, blocks=tuple(map(taker.take_block, turn.blocks))) for turn in request.turns)
    return replace(request, tools=tools, instructions=instructions, turns=turns)


def _count(request: Request) -> int:
    count = int(request.cache is not None)
    count += _marked(request.tools) + _marked(request.instructions)
    for turn in request.turns:
        count += _marked(turn.blocks)
        for block in turn.blocks:
            if type(block) is ToolResult:
                count += _marked(block.blocks)
    return count


def _marked(holders: Iterable[Any]) -> int:
    return sum([getattr(holder, "cache", None) is not None for holder in holders])


class _Taker:
    """Removes marks until few enough are left."""

    def __init__(self, over: int) -> None:
        self._over = over

    def take(self, holder: T) -> T:
        if self._over <= 0 or getattr(holder, "cache", None) is None:
            return holder
        self._over -= 1
        return replace(holder, cache=None)  # type: ignore[type-var]

    def take_block(self, block: Block) -> Block:
        if isinstance(block, ToolResult) and _marked(block.blocks):
            block = replace(block, blocks=tuple(self.take(inner) for inner in block.blocks))
        return self.take(block)
