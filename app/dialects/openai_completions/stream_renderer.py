"""Renders legacy Completions streams."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.conversation.blocks import Refusal, Text
from app.conversation.capabilities import RenderContext
from app.conversation.events import BlockDelta, BlockOpened, Event, Failed, Finished, Started, UsageSeen
from app.conversation.literals import EMPTY, literal
from app.conversation.response import Usage
from app.dialects.json_bodies import encode_body
from app.dialects.openai_chat.errors import error_event
from app.dialects.openai_chat.usage import write_usage
from app.dialects.openai_completions.response_renderer import choice_of, echoed_prompt, head_of
from app.dialects.openai_completions.vocabulary import FINISH_NAMES
from app.dialects.runs import Run
from app.errors import UpstreamCut
from app.sse import COMMENT_KEEPALIVE, DONE, encode_event


class StreamRenderer:
    """Renders a client's stream. Only visible text is written; reasoning has no form here."""

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

    def feed_run(self, run: Run) -> bytes:
        return self.feed(run.deltas())

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
