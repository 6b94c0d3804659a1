"""Renumbers blocks, for stages that split, add or drop some."""

from __future__ import annotations

from msgspec.structs import replace

from app.conversation.events import BlockClosed, BlockDelta, BlockNoted, BlockOpened, Event


class Numbering:
    """Renumbers blocks in the order in which they are opened. `moved`: some index has changed."""

    def __init__(self) -> None:
        self.moved = False
        self._next = 0
        self._now: dict[int, int] = {}

    def fresh(self) -> int:
        """The index of a block that the upstream did not open."""
        self.moved = True
        return self._count()

    def move(self, event: Event) -> Event:
        """The event with its block's new index; a block is counted when it opens, and events without a block pass
        unchanged."""
        match event:
            case BlockDelta():
                return BlockDelta(self._now[event.index], event.text)
            case BlockOpened():
                self._now[event.index] = index = self._count()
                self.moved = self.moved or index != event.index
                return BlockOpened(index, event.block)
            case BlockNoted():
                return replace(event, index=self._now[event.index])
            case BlockClosed():
                return replace(event, index=self._now.pop(event.index))
            case _:
                return event

    def _count(self) -> int:
        index = self._next
        self._next += 1
        return index
