"""Parses legacy Completions streams."""

from __future__ import annotations

from collections.abc import Sequence

from app.conversation.blocks import Text
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Event, Failed, Finished, Started, UsageSeen
from app.conversation.literals import literal
from app.dialects.error_bodies import read_error_value
from app.dialects.error_kinds import judge_error
from app.dialects.openai_chat.usage import read_usage
from app.dialects.openai_completions.vocabulary import FINISH_REASONS, completion_decoder
from app.errors import Failure, UpstreamCut, UpstreamMalformed
from app.json_values import decode_or_none


class StreamParser:
    """Parses an upstream's stream; its first choice is one block of text."""

    def __init__(self) -> None:
        self._started = False
        self._finished: Finished | None = None
        self.ending = False
        self._ended = False

    def feed(self, data: Sequence[bytes]) -> list[Event]:
        events: list[Event] = []
        for payload in data:
            if self._ended:
                break
            if payload.strip() == b"[DONE]":
                events.extend(self.close())
            else:
                self._read(payload, events)
        return events

    steady = False
    growing = snapshots = None

    def close(self) -> list[Event]:
        if self._ended:
            return []
        self._ended = True
        if self._finished is None:
            return [Failed(UpstreamCut("the upstream's stream ended before it was complete", began=True).failure)]
        return [self._finished]

    def _read(self, payload: bytes, events: list[Event]) -> None:
        chunk = decode_or_none(payload, completion_decoder)
        if chunk is None:
            self._fail(UpstreamMalformed("the upstream sent an event that is not valid").failure, events)
            return
        if chunk.error:
            self._fail(judge_error(0, read_error_value(chunk.error)), events)
            return
        if not self._started:
            self._started = True
            events += (Started(chunk.id or "", chunk.model or ""), BlockOpened(0, Text("")))
        if chunk.choices and self._finished is None:
            choice = chunk.choices[0]
            if choice.text:
                events.append(BlockDelta(0, literal(choice.text)))
            if choice.finish_reason is not None:
                events.append(BlockClosed(0))
                reason = FINISH_REASONS.get(choice.finish_reason, "stop")
                self._finished = Finished(reason, choice.finish_reason)
                self.ending = True
        if chunk.usage is not None:
            events.append(UsageSeen(read_usage(chunk.usage)))

    def _fail(self, failure: Failure, events: list[Event]) -> None:
        events.append(Failed(failure))
        self._ended = True
