"""Reads the streams of servers that complete text, and writes those of clients."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.conversation.blocks import Refusal, Text
from app.conversation.capabilities import RenderContext
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Event, Failed, Finished, Started, UsageSeen
from app.conversation.literals import EMPTY, literal
from app.conversation.response import Usage
from app.dialects.error_bodies import read_error_value
from app.dialects.error_kinds import judge_error
from app.dialects.json_bodies import encode_body
from app.dialects.openai_chat.errors import error_event
from app.dialects.openai_chat.usage import read_usage, write_usage
from app.dialects.openai_completions.response import choice_of, echoed_prompt, head_of
from app.dialects.openai_completions.vocabulary import FINISH_NAMES, FINISH_REASONS, completion_decoder
from app.errors import Failure, UpstreamCut, UpstreamMalformed
from app.sse import COMMENT_KEEPALIVE, DONE, encode_event


class StreamParser:
    """Reads an upstream's stream; its first choice is one block of text."""

    def __init__(self) -> None:
        self._started = False
        self._finished: Finished | None = None
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

    def close(self) -> list[Event]:
        if self._ended:
            return []
        self._ended = True
        if self._finished is None:
            return [Failed(UpstreamCut("the upstream's stream ended before it was complete", began=True).failure)]
        return [self._finished]

    def _read(self, payload: bytes, events: list[Event]) -> None:
        try:
            chunk = completion_decoder.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
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
        if chunk.usage is not None:
            events.append(UsageSeen(read_usage(chunk.usage)))

    def _fail(self, failure: Failure, events: list[Event]) -> None:
        events.append(Failed(failure))
        self._ended = True


class StreamRenderer:
    """Writes a client's stream. Only what is said becomes text: reasoning has no place here."""

    def __init__(self, context: RenderContext) -> None:
        self._head = encode_body(head_of(context))[:-1]
        self._echo = literal(echoed_prompt(context))
        self._include_usage = context.include_usage
        self._spoken: set[int] = set()
        self._usage: Usage | None = None
        self._finished = False
        self._failed = False

    def feed(self, events: Sequence[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            match event:
                case _ if self._failed:
                    break
                case Started() if self._echo != EMPTY:
                    out.append(self._chunk(self._echo))
                case BlockOpened(block=Text() | Refusal()):
                    self._spoken.add(event.index)
                case BlockDelta() if event.index in self._spoken and event.text != EMPTY:
                    out.append(self._chunk(event.text))
                case UsageSeen():
                    self._usage = event.usage
                case Finished():
                    self._finished = True
                    out.append(self._chunk(EMPTY, FINISH_NAMES[event.finish_reason]))
                case Failed():
                    self._failed = True
                    out.append(error_event(event.failure))
                case _:
                    pass
        return b"".join(out)

    def close(self) -> bytes:
        if not self._finished:
            cut = UpstreamCut("the answer ended before it was complete", began=True)
            return self.feed([Failed(cut.failure)])
        if not self._include_usage:
            return DONE
        counts = encode_body({"choices": [], "usage": write_usage(self._usage or Usage())})
        return encode_event(self._head + b"," + counts[1:]) + DONE

    def ping(self) -> bytes:
        return COMMENT_KEEPALIVE

    def _chunk(self, text: bytes, finish: str | None = None) -> bytes:
        choice = {**choice_of("", finish), "text": msgspec.Raw(text)}
        return encode_event(self._head + b',"choices":[' + encode_body(choice) + b"]}")
