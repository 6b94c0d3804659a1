"""Ends a reply at a stop sequence that the upstream was not asked to watch for."""

from __future__ import annotations

from collections.abc import Sequence

from app.adaptation.replies.partial_match import beginnings, held_length
from app.conversation.blocks import Text
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Event, Finished, UsageSeen
from app.conversation.literals import literal, text_of


class StopMatcher:
    """Watches the visible text. The text before the first complete sequence is given out, then the reply is finished.

    Text waits only while it may be the beginning of a sequence. After the end only usage passes, so a caller that keeps
    reading gets the true counts; reading on serves no other purpose.
    """

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = tuple(sequence for sequence in sequences if sequence)
        self._begun = beginnings(self._sequences)
        self._longest = max(map(len, self._sequences), default=0)
        self._texts: dict[int, str] = {}  # open text blocks, each with its waiting text
        self._open: list[int] = []  # all open blocks
        self._over = False

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        out: list[Event] = []
        for event in events:
            if self._over:
                if isinstance(event, UsageSeen):
                    out.append(event)
                continue
            match event:
                case BlockDelta() if event.index in self._texts:
                    self._read(event, out)
                case BlockOpened():
                    self._open.append(event.index)
                    if isinstance(event.block, Text):
                        self._texts[event.index] = ""
                    out.append(event)
                case BlockClosed():
                    self._open.remove(event.index)
                    if waiting := self._texts.pop(event.index, ""):
                        out.append(BlockDelta(event.index, literal(waiting)))
                    out.append(event)
                case _:
                    out.append(event)
        return out

    def _read(self, event: BlockDelta, out: list[Event]) -> None:
        waiting = self._texts[event.index]
        text = waiting + text_of(event.text)
        found = self._find(text)
        if found is not None:
            start, sequence = found
            self._finish(event.index, text[:start], sequence, out)
            return
        held = held_length(text, self._begun, self._longest)
        self._texts[event.index] = text[len(text) - held :]
        if not held and not waiting:
            out.append(event)
        elif before := text[: len(text) - held]:
            out.append(BlockDelta(event.index, literal(before)))

    def _find(self, text: str) -> tuple[int, str] | None:
        """Start and text of the sequence that is completed first, however the text was split into pieces."""
        ends = [(at + len(sequence), at, sequence) for sequence in self._sequences if (at := text.find(sequence)) >= 0]
        return min(ends)[1:] if ends else None

    def _finish(self, index: int, before: str, sequence: str, out: list[Event]) -> None:
        if before:
            out.append(BlockDelta(index, literal(before)))
        out.extend(BlockClosed(open_index, incomplete=open_index != index) for open_index in self._open)
        out.append(Finished("stop_sequence", stop_sequence=sequence))
        self._over = True
