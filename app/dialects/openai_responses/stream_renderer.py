"""Renders Responses streams, from `response.created` to the terminal event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, auto

import msgspec

from app.conversation.blocks import Block, Reasoning, Refusal
from app.conversation.capabilities import RenderContext
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
from app.conversation.literals import EMPTY, literal
from app.conversation.response import Usage
from app.conversation.streams.sequence import Sequencer
from app.dialects.openai_responses.errors import error_object
from app.dialects.openai_responses.items.output import OpenItem, Output, open_item
from app.dialects.openai_responses.response_object import ResponseObject
from app.dialects.openai_responses.vocabulary import STATUSES
from app.dialects.runs import Run
from app.errors import Failure, UpstreamCut
from app.sse import COMMENT_KEEPALIVE, DONE

# How an event ends from its number on; most answers have fewer events than these.
_END = b"%d}\n\n"
_ENDS = [_END % number for number in range(1000)]


class _State(Enum):
    WAITING = auto()  # nothing has been written
    RUNNING = auto()
    HELD = auto()  # all but the terminal event, because the usage may still come
    ENDED = auto()


class StreamRenderer:
    """Renders a client's stream: items one after the other, then one terminal event with all of them.

    An item ends only when the next one begins or the answer ends: until then it may continue, or be cut by a limit.
    If the answer is asked for as a `whole`, only its `response` is made.
    """

    def __init__(self, context: RenderContext, *, whole: bool = False) -> None:
        self._object = ResponseObject(context)
        self._output = Output(context.id, whole=whole)
        self._sequencer = Sequencer()
        self._item: OpenItem | None = None
        self._usage: Usage | None = None
        self._finished: Finished | None = None
        self._response = b""
        self._status = "completed"
        self._spoken = False  # something other than reasoning has been written
        self._refused = False
        self._state = _State.WAITING

    def resume(self, number: int) -> None:
        """Continues a stream whose response was announced; `number` is the next event's."""
        self._output.number = number
        self._state = _State.RUNNING

    def skip(self, item: bytes) -> None:
        """Notes a finished item of a stream that was resumed."""
        self._output.items.append(item)

    def adopt(self, ids: Mapping[int, str]) -> None:
        """Notes items that were announced but are not finished: their ids by their index."""
        self._output.announced.update(ids)

    def name(self, response_id: str) -> None:
        """Gives the response the id by which its server knows it."""
        self._object.id = response_id

    def feed(self, events: Sequence[Event]) -> bytes:
        if self._state is _State.ENDED:
            return b""
        output = self._output
        for event in self._sequencer.feed(events):
            # Handled here rather than in the item, because nearly all events take this path.
            if type(event) is BlockDelta and (item := self._item) is not None and item.prefix is not None:
                text = event.text
                if text != EMPTY:
                    item.pieces.append(text)
                    output.parts.append(b"%b%b%b%d}\n\n" % (item.prefix, text, item.suffix, output.number))
                    output.number += 1
            else:
                self._write(event)
        return output.take()

    def feed_run(self, run: Run) -> bytes:
        item, output = self._item, self._output
        if item is None or item.prefix is None or not self._sequencer.is_next(run.index):
            return self.feed(run.deltas())
        item.pieces.append(run.whole)
        first, count = output.number, len(run.texts)
        output.number += count
        if count == 1:
            return b"%b%b%b%d}\n\n" % (item.prefix, run.whole, item.suffix, first)
        # Each event has its own number, which a frame lacks. To fill a list in slices takes a third of the time of a
        # template with a place for each text and number.
        parts = [item.prefix + b'"', b"", b'"' + item.suffix, b""] * count
        parts[1::4] = run.texts
        known = first + count <= len(_ENDS)
        parts[3::4] = _ENDS[first : first + count] if known else map(_END.__mod__, range(first, first + count))
        return b"".join(parts)

    def close(self) -> bytes:
        if self._state is _State.HELD:
            self._end()
        elif self._state is not _State.ENDED:
            self._fail(UpstreamCut("the answer ended before it was complete", began=True).failure)
        return self._output.take()

    def ping(self) -> bytes:
        """A separate event, because comments do not reset Codex's idle timer.

        Its type is unknown to all clients, which ignore it. A repeated `response.in_progress` would be known, but it
        repeats the whole request, and none may follow the first item. Before `response.created` the vendor's SDK
        accepts no event, so until then a comment is used.
        """
        if self._state is _State.WAITING:
            return COMMENT_KEEPALIVE
        if self._state is _State.ENDED:
            return b""
        self._output.write("ping")
        return self._output.take()

    @property
    def response(self) -> bytes:
        """The whole response, once the stream has ended."""
        return self._response

    def _write(self, event: Event) -> None:
        if type(event) is Started:
            self._start(event)
        elif type(event) is BlockOpened:
            self._open(event.block)
        elif type(event) is UsageSeen:
            self._usage = event.usage
            if self._state is _State.HELD:
                self._end()
        elif type(event) is Finished:
            self._finish(event)
        elif type(event) is Failed:
            self._fail(event.failure)
        elif self._item is not None:
            self._write_in(self._item, event)

    @staticmethod
    def _write_in(item: OpenItem, event: Event) -> None:
        if type(event) is BlockDelta:
            item.say(event.text)
        elif type(event) is BlockNoted:
            item.note(event)
        elif type(event) is BlockClosed:
            item.close(event)

    def _start(self, started: Started | None = None) -> None:
        if self._state is not _State.WAITING:
            return
        self._state = _State.RUNNING
        if started is not None and started.service_tier:
            self._object.service_tier = started.service_tier
        if self._output.whole:
            return
        begun = msgspec.Raw(self._object.render("in_progress"))
        self._output.write("response.created", response=begun)
        self._output.write("response.in_progress", response=begun)

    def _open(self, block: Block) -> None:
        self._start()
        self._spoken = self._spoken or type(block) is not Reasoning
        self._refused = self._refused or type(block) is Refusal
        if self._item is not None and self._item.takes(block):
            self._item.open(block)
            return
        self._end_item()
        self._item = open_item(block, self._output)

    def _end_item(self, *, incomplete: bool = False) -> None:
        if self._item is not None:
            self._item.end(incomplete=incomplete)
            self._item = None

    def _finish(self, finished: Finished) -> None:
        self._start()
        self._finished = finished
        self._status = STATUSES[finished.finish_reason][0]
        explanation = finished.stop_detail.explanation if finished.stop_detail else None
        if finished.finish_reason == "content_filter" and explanation and not self._refused:
            whole = not self._spoken
            self._open(Refusal(""))
            self._write(BlockDelta(0, literal(explanation)))
            self._write(BlockClosed(0))
            self._refused = whole
        if self._refused:  # a refusal is a complete answer; only a text that broke off is incomplete
            self._status = "completed"
        self._end_item(incomplete=self._status == "incomplete")
        self._state = _State.HELD
        if self._usage is not None:
            self._end()

    def _end(self) -> None:
        items, usage = self._output.items, self._usage
        self._response = self._object.render(self._status, items, finished=self._finished, usage=usage)
        self._output.write(f"response.{self._status}", response=msgspec.Raw(self._response))
        self._output.parts.append(DONE)
        self._state = _State.ENDED

    def _fail(self, failure: Failure) -> None:
        self._start()
        self._response = write_failure(self._output, self._object, failure, self._usage)
        self._state = _State.ENDED


def write_failure(output: Output, response: ResponseObject, failure: Failure, usage: Usage | None) -> bytes:
    """Ends a stream with an error and returns the failed response.

    Two events are needed: the vendor's SDK raises for one that contains an `error`, while Codex ignores that and waits
    for `response.failed`.
    """
    write_error(output, failure)
    failed = response.render("failed", output.items, usage=usage, failure=failure)
    output.write("response.failed", response=msgspec.Raw(failed))
    output.parts.append(DONE)
    return failed


def write_error(output: Output, failure: Failure) -> None:
    """Writes the error event, in the vendor's and in Open Responses' form at once."""
    error = error_object(failure)
    output.write("error", code=error["code"], message=error["message"], param=error["param"], error=error)
