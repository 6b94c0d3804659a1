"""This file remembers the reasoning of clients that do not send it back.

Some models want what they thought before a tool call back with the call's result, or answer worse without it; plain
Chat clients drop all fields that they do not know. What is not remembered (any more, or by this worker) is missing as
it would be without this file: nothing fails.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import msgspec

from app.conversation.blocks import Block, Reasoning, Text, ToolCall, ToolResult
from app.conversation.capabilities import Capabilities
from app.conversation.events import BlockDelta, BlockOpened, Event, Finished
from app.conversation.fold import fold
from app.conversation.request import Request, Turn

# The most that is remembered, in bytes of a worker's memory, and for how long, in seconds.
MOST_BYTES = 16 * 1024 * 1024
LIFETIME = 6 * 3600.0


class _Entry(msgspec.Struct, frozen=True):
    blocks: tuple[Block, ...]
    size: int
    until: float


class Recollection:
    """Reasoning by the conversation and the calls that it led to, the oldest forgotten first. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._size = 0

    def recall(self, request: Request, place: str) -> Request:
        """The request with the reasoning that its client left out of turns with calls. `place` is the tenant and the
        upstream: reasoning is of use, and may be shown, nowhere else."""
        if not self._entries:
            return request
        turns = list(request.turns)
        for index, turn in enumerate(turns):
            if index and turn.role == "assistant" and not any(isinstance(block, Reasoning) for block in turn.blocks):
                calls = [block for block in turn.blocks if isinstance(block, ToolCall)]
                found = self._find(key_of(place, request.turns[0], request.turns[index - 1], calls)) if calls else ()
                if found:
                    turns[index] = msgspec.structs.replace(turn, blocks=(*found, *turn.blocks))
        return msgspec.structs.replace(request, turns=tuple(turns))

    def remember(self, key: bytes, blocks: tuple[Block, ...]) -> None:
        size = sum(_size_of(block) for block in blocks)
        self._forget(key)
        self._entries[key] = _Entry(blocks, size, self._clock() + LIFETIME)
        self._size += size
        while self._size > MOST_BYTES:
            self._forget(next(iter(self._entries)))

    def _find(self, key: bytes) -> tuple[Block, ...]:
        entry = self._entries.get(key)
        if entry is None or entry.until < self._clock():
            return ()
        return entry.blocks

    def _forget(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry.size


class Listener:
    """A stage that changes nothing, and has the reasoning before a call remembered."""

    def __init__(self, recollection: Recollection, place: str, turns: Sequence[Turn]) -> None:
        self._recollection = recollection
        self._place = place
        self._turns = turns
        self._heard: list[Event] = []
        self._thoughts: set[int] = set()
        self._calls: list[ToolCall] = []

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        thoughts = self._thoughts
        for event in events:
            if type(event) is BlockDelta:
                if event.index in thoughts:
                    self._heard.append(event)
            elif type(event) is Finished:
                self._end(event)
            elif type(event) is BlockOpened and isinstance(event.block, ToolCall):
                self._calls.append(event.block)
            elif type(event) is BlockOpened and isinstance(event.block, Reasoning):
                thoughts.add(event.index)
                self._heard.append(event)
            elif getattr(event, "index", None) in thoughts:
                self._heard.append(event)
        return events

    def _end(self, finished: Finished) -> None:
        if self._calls and self._heard:
            blocks = fold([*self._heard, finished]).blocks
            key = key_of(self._place, self._turns[0], self._turns[-1], self._calls)
            self._recollection.remember(key, blocks)


def wants_recollection(request: Request, capabilities: Capabilities) -> bool:
    """Whether the upstream has a use for past reasoning, and its client is likely not to send it."""
    if request.dialect != "openai_chat" or not request.tools or not request.turns:
        return False
    return capabilities.reasoning_replay != "none" or capabilities.dialect in capabilities.proofs


def key_of(place: str, first: Turn, before: Turn, calls: Sequence[ToolCall]) -> bytes:
    """What tells one turn with calls from all others. Ids alone do not: some servers count their calls from zero."""
    digest = hashlib.sha256(place.encode())
    for word in (*_words_of(first), *_words_of(before), *(word for call in calls for word in (call.id, call.name))):
        digest.update(b"\0" + word.encode("utf-8", "surrogatepass"))
    return digest.digest()


def _words_of(turn: Turn) -> Iterator[str]:
    for block in turn.blocks:
        match block:
            case Text():
                yield block.text
            case ToolResult():
                yield block.call_id
                yield from (inner.text for inner in block.blocks if isinstance(inner, Text))
            case _:
                yield type(block).__name__


def _size_of(block: Block) -> int:
    if not isinstance(block, Reasoning):
        return 0
    proofs = block.proof.originals if block.proof is not None else ()
    return len(block.text) + sum(len(original) for original in proofs) + 500
