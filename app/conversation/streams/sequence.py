"""Queues events so that a dialect sees one open block at a time.

Upstreams may interleave the fragments of parallel tool calls; Anthropic's stream grammar forbids two open blocks and
OpenAI's Responses never shows them. The first block passes live; later ones wait until it is closed.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from app.conversation.events import BlockClosed, BlockDelta, BlockNoted, BlockOpened, Event, Failed, Finished


class Sequencer:
    """`feed` returns the same events with blocks one after another and indices renumbered 0, 1, 2 …

    `Finished` closes the blocks that are still open. `Failed` drops those still waiting because they will never be
    complete.
    """

    def __init__(self) -> None:
        self._live: int | None = None
        self._waiting: dict[int, list[Event]] = {}
        self._next = 0

    def is_next(self, index: int) -> bool:
        """Whether deltas of this block pass unchanged."""
        return index == self._live == self._next

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        for position, event in enumerate(events):
            if type(event) is BlockDelta and event.index == self._live == self._next:
                continue
            if not self._follows(event):
                return [*events[:position], *self._order(events[position:])]
        return events

    def _follows(self, event: Event) -> bool:
        """Whether an event is in its place already, with the right index: in most streams all are."""
        # For these structs, `isinstance` takes ten times as long to say no.
        if type(event) is BlockOpened:
            if self._live is not None or event.index != self._next:
                return False
            self._live = event.index
        elif type(event) is BlockClosed:
            if self._waiting or event.index != self._live or event.index != self._next:
                return False
            self._live = None
            self._next += 1
        elif type(event) is BlockDelta or type(event) is BlockNoted:
            return event.index == self._live == self._next
        elif type(event) is Finished or type(event) is Failed:
            return self._live is None
        return True

    def _order(self, events: Sequence[Event]) -> list[Event]:
        out: list[Event] = []
        for event in events:
            if type(event) is BlockDelta and event.index == self._live:
                out.append(event if event.index == self._next else BlockDelta(self._next, event.text))
                continue
            match event:
                case BlockOpened() | BlockDelta() | BlockNoted() | BlockClosed():
                    self._place(event, out)
                case Finished():
                    self._drain(out, close=True)
                    out.append(event)
                case Failed():
                    self._waiting.clear()
                    out.append(event)
                case _:
                    out.append(event)
        return out

    def _place(self, event: BlockOpened | BlockDelta | BlockNoted | BlockClosed, out: list[Event]) -> None:
        if self._live is None and isinstance(event, BlockOpened):
            self._live = event.index
        if event.index == self._live:
            self._emit(event, out)
            if isinstance(event, BlockClosed):
                self._drain(out, close=False)
        else:
            self._waiting.setdefault(event.index, []).append(event)

    def _emit(self, event: BlockOpened | BlockDelta | BlockNoted | BlockClosed, out: list[Event]) -> None:
        out.append(replace(event, index=self._next))
        if isinstance(event, BlockClosed):
            self._next += 1
            self._live = None

    def _drain(self, out: list[Event], *, close: bool) -> None:
        """Lets waiting blocks through in the order of opening; a block still open becomes the live one."""
        if self._live is not None:
            if not close:
                return
            self._emit(BlockClosed(self._live), out)
        while self._waiting:
            index = next(iter(self._waiting))
            self._live = index
            waited = self._waiting.pop(index)
            for event in waited:
                self._emit(event, out)  # type: ignore[arg-type]
            if type(waited[-1]) is BlockClosed:
                continue
            if not close:
                return
            self._emit(BlockClosed(index), out)
