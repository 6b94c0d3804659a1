"""Limits cache breakpoints to the number that vendors accept, and orders their lifetimes.

Every vendor refuses a request with a fifth mark. Later marks cover the prefix of earlier ones, so the earliest go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from msgspec.structs import replace

from app.adaptation.features import find_hints
from app.adaptation.notes import Notes, field
from app.conversation.blocks import Block, CacheHint, ToolResult
from app.conversation.capabilities import Capabilities
from app.conversation.request import Request

MAX_MARKS = 4
# Lifetimes of five minutes, the default.
_SHORT = (None, "5m")

T = TypeVar("T")


def adapt_cache_marks(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    if capabilities.cache_hints == "none":
        return request
    hints = find_hints(request)
    over = len(hints) - MAX_MARKS
    if over > 0:
        why = f"only {MAX_MARKS} are accepted: the earliest are left out"
    elif _is_ordered(hints):
        return request
    else:
        why = "longer lifetimes must come before shorter ones: the later are shortened"
    notes.lose("ignorable", field(request.dialect, "cache"), why)
    marks = _Marks(over)
    # In the order in which they form the prefix.
    tools = tuple(marks.fit(tool) for tool in request.tools)
    instructions = tuple(marks.fit(text) for text in request.instructions)
    turns = tuple(replace(turn, blocks=tuple(map(marks.fit_block, turn.blocks))) for turn in request.turns)
    return marks.fit(replace(request, tools=tools, instructions=instructions, turns=turns))


def _is_ordered(hints: Sequence[CacheHint]) -> bool:
    """Whether no longer lifetime follows a shorter one: Anthropic refuses that."""
    lasting = [hint.ttl not in _SHORT for hint in hints]
    return lasting == sorted(lasting, reverse=True)


class _Marks:
    """Removes marks until few enough are left, and shortens those after a short one."""

    def __init__(self, over: int) -> None:
        self._over = over
        self._shortened = False

    def fit(self, holder: T) -> T:
        hint = getattr(holder, "cache", None)
        if hint is None:
            return holder
        if self._over > 0:
            self._over -= 1
            return replace(holder, cache=None)  # type: ignore[type-var]
        if hint.ttl in _SHORT:
            self._shortened = True
        elif self._shortened:
            return replace(holder, cache=CacheHint())  # type: ignore[type-var]
        return holder

    def fit_block(self, block: Block) -> Block:
        if isinstance(block, ToolResult) and any(getattr(inner, "cache", None) for inner in block.blocks):
            block = replace(block, blocks=tuple(map(self.fit, block.blocks)))
        return self.fit(block)
