"""Folds events into a response, and unfolds a response into events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from app.conversation.blocks import Block, Compaction, Proof, Reasoning, Refusal, Text, ToolCall
from app.conversation.events import (
    BlockClosed,
    BlockDelta,
    BlockNoted,
    BlockOpened,
    Event,
    Failed,
    Finished,
    Started,
    UsageSeen,
)
from app.conversation.literals import join, literal, text_of
from app.conversation.response import Response, Usage
from app.errors import UpstreamCut, UpstreamRefused


class Folder:
    """Collects events; `response()` returns the response that they add up to.

    Raises UpstreamRefused for a `Failed`, UpstreamCut if the stream ended without `Finished`.
    """

    def __init__(self) -> None:
        self._started = Started(id="", model="")
        self._finished: Finished | None = None
        self._usage: Usage | None = None
        self._blocks: dict[int, _OpenBlock] = {}

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case BlockDelta():
                    self._blocks[event.index].deltas.append(event.text)
                case BlockOpened():
                    self._blocks[event.index] = _OpenBlock(event.block)
                case BlockNoted():
                    self._blocks[event.index].note(event)
                case BlockClosed():
                    self._blocks[event.index].closed = event
                case UsageSeen():
                    self._usage = event.usage
                case Started():
                    self._started = event
                    self._usage = event.usage or self._usage
                case Finished():
                    self._finished = event
                case Failed():
                    raise UpstreamRefused(event.failure)

    @property
    def finished(self) -> bool:
        return self._finished is not None

    def response(self) -> Response:
        finished = self._finished
        if finished is None:
            raise UpstreamCut("the upstream's reply ended before it was complete", began=True)
        opened = [self._blocks[index] for index in sorted(self._blocks)]
        return Response(
            id=self._started.id,
            model=self._started.model,
            created=self._started.created,
            service_tier=self._started.service_tier,
            blocks=tuple(block.whole() for block in opened),
            logprobs=tuple(entry for block in opened for entry in block.logprobs),
            finish_reason=finished.finish_reason,
            raw_finish_reason=finished.raw_finish_reason,
            stop_sequence=finished.stop_sequence,
            stop_detail=finished.stop_detail,
            extensions=finished.extensions,
            usage=self._usage,
        )


def fold(events: Iterable[Event]) -> Response:
    """The response that a complete stream of events adds up to; errors as in `Folder`."""
    folder = Folder()
    folder.feed(events)
    return folder.response()


def unfold(response: Response) -> list[Event]:
    """The events of a complete response: each block opens, gets all its text in one delta, and closes."""
    events: list[Event] = [
        Started(
            id=response.id,
            model=response.model,
            created=response.created,
            service_tier=response.service_tier,
        )
    ]
    logprobs = response.logprobs
    for index, block in enumerate(response.blocks):
        head, text, proof = split(block)
        events.append(BlockOpened(index, head))
        if text:
            events.append(BlockDelta(index, literal(text)))
        if type(block) is Text:
            if block.citations:
                events.extend(BlockNoted(index, citation=citation) for citation in block.citations)
            if logprobs:
                events.append(BlockNoted(index, logprobs=logprobs))
                logprobs = ()
        events.append(BlockClosed(index, proof))
    if response.usage is not None:
        events.append(UsageSeen(response.usage))
    if response.finish_reason is not None:
        events.append(
            Finished(
                response.finish_reason,
                response.raw_finish_reason,
                response.stop_sequence,
                response.stop_detail,
                response.extensions,
            )
        )
    return events


class _OpenBlock:
    __slots__ = ("citations", "closed", "deltas", "head", "logprobs")

    def __init__(self, head: Block) -> None:
        self.head = head
        self.deltas: list[bytes] = []
        self.closed: BlockClosed | None = None
        self.logprobs: list[dict[str, Any]] = []
        self.citations: list[dict[str, Any]] = []

    def note(self, event: BlockNoted) -> None:
        if event.citation is not None:
            self.citations.append(event.citation)
        self.logprobs.extend(event.logprobs)

    def whole(self) -> Block:
        head = self.head
        text = text_of(join(self.deltas)) if self.deltas else ""
        proof = self.closed.proof if self.closed else None
        match head:
            case Text():
                citations = head.citations + tuple(self.citations)
                return msgspec.structs.replace(head, text=head.text + text, citations=citations)
            case Refusal():
                return Refusal(head.text + text)
            case Reasoning():
                return Reasoning(head.text + text, proof or head.proof)
            case ToolCall():
                return msgspec.structs.replace(head, arguments=head.arguments + text, proof=proof or head.proof)
            case Compaction():
                return Compaction((head.text or "") + text if head.text or text else None, proof or head.proof)
            case _:
                return head


def split(block: Block) -> tuple[Block, str, Proof | None]:
    """The head with which a block opens, its text, and the proof that comes at its end."""
    match block:
        case Text():
            return msgspec.structs.replace(block, text="", citations=()), block.text, None
        case Refusal():
            return Refusal(""), block.text, None
        case Reasoning():
            if not block.text and block.proof is not None:
                return block, "", block.proof
            return Reasoning(""), block.text, block.proof
        case ToolCall():
            return msgspec.structs.replace(block, arguments="", proof=None), block.arguments, block.proof
        case Compaction():
            return Compaction(None), block.text or "", block.proof
        case _:
            return block, "", None
