"""Keeps what is made of the tools that a client declares anew with each request.

The definitions of an agent's tools are often most of a request, and the same hundreds of times. They are recognised by
their bytes, and what is made of them for an upstream is kept beside them. Whatever is kept is shared by all requests
and never changed. Only tools that clients run are kept: a vendor's own may contain credentials.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import msgspec

from app.conversation.blocks import DialectName
from app.conversation.request import NativeTool, Tool

T = TypeVar("T")
Tools = tuple[Tool, ...]

# Maximum weight of all that a process keeps; beyond it everything is dropped.
MAX_WEIGHT = 4 * 1024 * 1024
# Bytes that a value in a definition takes beyond its text, roughly.
_VALUE = 64


class _Kept(msgspec.Struct):
    """Tools with their definition as received. `made` is what was made of them, by what for; each with the object that
    it also depends on. `weight` is about how many bytes the tools take."""

    raw: msgspec.Raw
    tools: Tools
    weight: int
    made: dict[Hashable, tuple[object, Any]] = {}


class _Keeper:
    def __init__(self) -> None:
        self.weight = 0
        self.by_size: dict[tuple[DialectName, int], _Kept] = {}
        # By the identity of the tools, which are kept alive: those that were read, and those that were made of them.
        self.by_tools: dict[int, tuple[Tools, _Kept]] = {}

    def add(self, tools: Tools, kept: _Kept) -> None:
        self.make_room(kept.weight)
        self.by_tools[id(tools)] = tools, kept

    def make_room(self, weight: int) -> None:
        if self.weight + weight > MAX_WEIGHT:
            self.forget_all()
        self.weight += weight

    def forget_all(self) -> None:
        self.by_size.clear()
        self.by_tools.clear()
        self.weight = 0

    def find(self, tools: Tools) -> _Kept | None:
        found = self.by_tools.get(id(tools))
        return found[1] if found is not None and found[0] is tools else None


_keeper = _Keeper()
forget_all = _keeper.forget_all


def read_repeated(raw: msgspec.Raw, dialect: DialectName, read: Callable[[], Tools]) -> Tools:
    """The tools in a field of a request of this dialect: those that `read` returned for the same bytes, if kept."""
    place = dialect, len(raw)
    kept = _keeper.by_size.get(place)
    if kept is not None and kept.raw == raw:
        return kept.tools
    tools = read()
    weight = _weigh(bytes(raw))
    if tools and weight <= MAX_WEIGHT // 4 and not any(type(tool) is NativeTool for tool in tools):
        kept = _Kept(raw.copy(), tools, weight)
        _keeper.add(tools, kept)
        _keeper.by_size[place] = kept
    return tools


def is_repeated(tools: Tools) -> bool:
    """Whether what is made of these tools is kept."""
    return _keeper.find(tools) is not None


def derive(tools: Tools, purpose: Hashable, by: object, make: Callable[[], T]) -> T:
    """What `make` makes of the tools for a purpose, depending on nothing else but `by`: made once if they are kept."""
    kept = _keeper.find(tools)
    if kept is None:
        return make()
    place = purpose, id(by), id(tools)
    known = kept.made.get(place)
    if known is not None and known[0] is by:
        found: T = known[1]
        return found
    made = make()
    _keeper.make_room(kept.weight)
    kept.made[place] = by, made
    return made


def keep_beside(tools: Tools, made: Tools) -> Tools:
    """Notes that `made` was derived from `tools`, so that what is made of it is kept as well. Returns `made`."""
    kept = _keeper.find(tools)
    if kept is not None and _keeper.find(made) is None:
        _keeper.add(made, kept)
    return made


def _weigh(raw: bytes) -> int:
    return len(raw) + _VALUE * (raw.count(b",") + raw.count(b"{") + raw.count(b"["))
