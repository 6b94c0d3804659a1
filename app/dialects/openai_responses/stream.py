"""This file reads the streams of upstreams and writes those of clients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum, auto
from typing import Any

import msgspec

from app.conversation.blocks import Block, Compaction, Proof, Reasoning, Refusal, Text, ToolCall, ToolKind
from app.conversation.capabilities import Reply
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
from app.conversation.literals import EMPTY, join, literal, text_of
from app.conversation.response import Usage
from app.conversation.sequence import Sequencer
from app.dialects.json_bodies import repair_surrogates
from app.dialects.openai_responses.errors import error_object, parse_error_event
from app.dialects.openai_responses.items import logprobs_of, parse_item
from app.dialects.openai_responses.output import OpenItem, Output, open_item
from app.dialects.openai_responses.response_object import ResponseObject, parse_finish, parse_usage
from app.dialects.openai_responses.vocabulary import NULL, STATUSES, Item, WireResponse, item_decoder
from app.errors import Failure, InvalidRequest, UpstreamCut, UpstreamMalformed
from app.sse import COMMENT_KEEPALIVE, DONE

_TEXT_DELTA = "response.output_text.delta"
# Other events whose `delta` adds to a block.
_DELTAS = {
    "response.refusal.delta",
    "response.function_call_arguments.delta",
    "response.custom_tool_call_input.delta",
    "response.reasoning_summary_text.delta",
    "response.reasoning_text.delta",
    "response.reasoning.delta",  # as Open Responses spells it
}
# Events that repeat all of a block, with the field that does. Some upstreams send them without any delta before.
_WHOLES = {
    "response.output_text.done": "text",
    "response.refusal.done": "refusal",
    "response.function_call_arguments.done": "arguments",
    "response.custom_tool_call_input.done": "input",
    "response.reasoning_summary_text.done": "text",
    "response.reasoning_text.done": "text",
    "response.reasoning.done": "text",
}
ENDS = {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
_PARAGRAPH = b'"\\n\\n"'
_STREAMED_CALLS = ("function_call", "custom_tool_call")


class _Chunk(msgspec.Struct):
    """What the plain case needs of an event."""

    type: str = ""
    output_index: int = 0
    content_index: int = 0
    delta: msgspec.Raw = NULL
    logprobs: list[dict[str, Any]] | None = None


class _FullChunk(msgspec.Struct):
    """What any event may need."""

    type: str = ""
    output_index: int = 0
    content_index: int = 0
    summary_index: int | None = None
    delta: msgspec.Raw = NULL
    logprobs: list[dict[str, Any]] | None = None
    item: msgspec.Raw = NULL
    response: WireResponse | None = None
    annotation: dict[str, Any] | None = None
    text: msgspec.Raw = NULL
    arguments: msgspec.Raw = NULL
    input: msgspec.Raw = NULL
    refusal: msgspec.Raw = NULL
    error: Any = None
    code: Any = None
    message: str | None = None
    param: str | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_full = msgspec.json.Decoder(_FullChunk).decode


class _OpenBlock:
    """`said` are the literals that were given on; `part` is the part of the item that the last of them belonged to."""

    __slots__ = ("citations", "index", "part", "said")

    def __init__(self, index: int) -> None:
        self.index = index
        self.said: list[bytes] = []
        self.citations = 0
        self.part: tuple[str, int] | None = None


class _UpstreamItem:
    """An item that was announced; `blocks` by the place of their part (0 for items that have none)."""

    __slots__ = ("blocks", "done", "item", "logprobs")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.logprobs = False  # some have been given on
        self.blocks: dict[int, _OpenBlock] = {}
        self.done = False


class StreamParser:
    """Reads an upstream's stream.

    Events are bound to items by `output_index`: there are servers that give an item another id in each event. What an
    item says may come in deltas, in its `done` events, in the finished item or only in the terminal response; each
    piece is given on once.
    """

    def __init__(self) -> None:
        self._items: dict[int, _UpstreamItem] = {}
        self._texts: dict[tuple[int, int], _OpenBlock] = {}  # the open text blocks, for the plain case
        self._started = False
        self._ended = False
        self._calls = False
        self._blocks = 0
        self._settled = 0

    def feed(self, data: Sequence[bytes]) -> list[Event]:
        events: list[Event] = []
        texts = self._texts
        for payload in data:
            try:
                chunk = _decode_chunk(payload)
                if chunk.type == _TEXT_DELTA:
                    block = texts.get((chunk.output_index, chunk.content_index))
                    if block is not None and not self._ended:
                        text = bytes(chunk.delta)
                        block.said.append(text)
                        events.append(BlockDelta(block.index, text))
                        if chunk.logprobs:
                            self._items[chunk.output_index].logprobs = True
                            events.append(BlockNoted(block.index, logprobs=tuple(chunk.logprobs)))
                        continue
                self._read(payload, events)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidRequest):
                self._read_malformed(payload, events)
        return events

    def close(self) -> list[Event]:
        if self._ended:
            return []
        events: list[Event] = []
        self._fail(
            UpstreamCut("the upstream's stream ended before the response was complete", began=True).failure, events
        )
        return events

    def _read_malformed(self, payload: bytes, events: list[Event]) -> None:
        """A payload that is no event: the end mark, half a surrogate pair, or what the server should not have sent."""
        if self._ended or payload.strip() == b"[DONE]":
            return
        try:
            half = _decode_half(payload)
            if half is not None:
                self._add_delta(half, half.delta, events)
            else:
                self._read(repair_surrogates(payload), events)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidRequest):
            self._fail(UpstreamMalformed("the upstream sent an event that is not valid").failure, events)

    def _read(self, payload: bytes, events: list[Event]) -> None:
        if self._ended:
            return
        chunk = _decode_full(payload)
        kind = chunk.type
        if kind in _DELTAS or kind == _TEXT_DELTA:
            self._add_delta(chunk, chunk.delta, events)
        elif kind in _WHOLES:
            whole: msgspec.Raw = getattr(chunk, _WHOLES[kind])
            self._add_delta(chunk, whole, events, unless_said=True)
        elif kind == "response.output_item.added":
            self._open_item(chunk.output_index, item_decoder.decode(chunk.item), events)
        elif kind == "response.output_item.done":
            self._settle_item(chunk.output_index, chunk.item, events)
        elif kind == "response.output_text.annotation.added" and chunk.annotation is not None:
            self._add_citation(chunk, chunk.annotation, events)
        elif kind in ENDS and chunk.response is not None:
            self._end(chunk.response, events)
        elif kind == "error" or (not kind and chunk.error is not None):
            error = chunk.error or {"code": chunk.code, "message": chunk.message, "param": chunk.param}
            self._fail(parse_error_event(error), events)
        elif chunk.response is not None:
            self._start(chunk.response, events)

    def _start(self, response: WireResponse, events: list[Event]) -> None:
        if not self._started:
            self._started = True
            created = None if response.created_at is None else int(response.created_at)
            tier = response.service_tier
            events.append(Started(response.id or "", response.model or "", created, service_tier=tier))

    def _open_item(self, position: int, item: Item, events: list[Event]) -> None:
        before = self._items.get(position)
        if before is not None and not before.done:  # two items with one index: the first is over
            self._close_blocks(before, events)
        self._items[position] = opened = _UpstreamItem(item)
        # A call whose name is not known yet waits for its end.
        if item.type in _STREAMED_CALLS and item.name and (item.call_id or item.id):
            self._open_block(position, opened, 0, _head_of(item), events)

    def _add_delta(
        self, chunk: _FullChunk, raw: msgspec.Raw, events: list[Event], *, unless_said: bool = False
    ) -> None:
        text = bytes(raw)
        block = self._block_at(chunk, events)
        if block is None or text == b"null":
            return
        part = None
        if ".reasoning" in chunk.type:
            place = chunk.content_index if chunk.summary_index is None else chunk.summary_index
            part = ("summary" if "summary" in chunk.type else "content", place)
        if unless_said and block.said and block.part == part:
            return
        if block.said and block.part != part:
            _say(block, _PARAGRAPH, events)
        block.part = part
        _say(block, text, events)
        if chunk.logprobs:
            self._items[chunk.output_index].logprobs = True
            events.append(BlockNoted(block.index, logprobs=tuple(chunk.logprobs)))

    def _add_citation(self, chunk: _FullChunk, citation: dict[str, Any], events: list[Event]) -> None:
        block = self._block_at(chunk, events)
        if block is not None:
            block.citations += 1
            events.append(BlockNoted(block.index, citation=citation))

    def _block_at(self, chunk: _FullChunk, events: list[Event]) -> _OpenBlock | None:
        """The block that an event belongs to, opened if need be; None where only the finished item will tell."""
        opened = self._items.get(chunk.output_index)
        if opened is None:
            opened = self._items[chunk.output_index] = _UpstreamItem(Item())
        if opened.done:
            return None
        head: Block | None = None
        place = 0
        if "output_text" in chunk.type:
            head, place = Text("", phase=opened.item.phase), chunk.content_index
        elif "refusal" in chunk.type:
            head, place = Refusal(""), chunk.content_index
        elif ".reasoning" in chunk.type:
            head = Reasoning("")
        block = opened.blocks.get(place)
        if block is None and head is not None:
            block = self._open_block(chunk.output_index, opened, place, head, events)
        return block

    def _open_block(
        self, position: int, opened: _UpstreamItem, place: int, head: Block, events: list[Event]
    ) -> _OpenBlock:
        block = opened.blocks[place] = _OpenBlock(self._blocks)
        self._blocks += 1
        events.append(BlockOpened(block.index, head))
        if isinstance(head, Text):
            self._texts[position, place] = block
        elif isinstance(head, ToolCall):
            self._calls = True
        return block

    def _settle_item(self, position: int, raw: msgspec.Raw, events: list[Event]) -> None:
        """Give on what of a finished item has not been said, and close its blocks."""
        item = item_decoder.decode(raw)
        opened = self._items.get(position)
        if opened is None or opened.done:
            opened = self._items[position] = _UpstreamItem(item)
        for place, whole in enumerate(parse_item(item, raw, "output")):
            head, text = _split_block(whole)
            block = opened.blocks.get(place)
            if block is None:
                block = self._open_block(position, opened, place, head, events)
            if rest := _rest_of(text, block.said):
                _say(block, rest, events)
            if isinstance(whole, Text):
                if not opened.logprobs and (entries := logprobs_of(raw)):
                    opened.logprobs = True
                    events.append(BlockNoted(block.index, logprobs=tuple(entries)))
                for citation in whole.citations[block.citations :]:
                    block.citations += 1
                    events.append(BlockNoted(block.index, citation=citation))
        proof = whole.proof if isinstance(whole, Reasoning | ToolCall | Compaction) else None
        self._close_blocks(opened, events, proof, incomplete=item.status == "incomplete")
        self._settled += 1

    def _close_blocks(
        self, opened: _UpstreamItem, events: list[Event], proof: Proof | None = None, *, incomplete: bool = False
    ) -> None:
        opened.done = True
        events.extend(BlockClosed(block.index, proof, incomplete) for block in opened.blocks.values())
        if self._texts:
            closed = {block.index for block in opened.blocks.values()}
            self._texts = {place: block for place, block in self._texts.items() if block.index not in closed}

    def _end(self, response: WireResponse, events: list[Event]) -> None:
        self._start(response, events)
        if response.status in ("failed", "cancelled"):
            error = response.error or {"message": f"the response {response.status}"}
            self._fail(parse_error_event(error), events)
            return
        output = response.output or []
        if len(output) > self._settled:
            for position, raw in enumerate(output):
                opened = self._items.get(position)
                if opened is None or not opened.done:
                    self._settle_item(position, raw, events)
        for opened in self._items.values():
            if not opened.done:
                self._close_blocks(opened, events)
        usage = parse_usage(response)
        if usage is not None:
            events.append(UsageSeen(usage))
        events.append(parse_finish(response, calls=self._calls))
        self._ended = True

    def _fail(self, failure: Failure, events: list[Event]) -> None:
        events.append(Failed(failure))
        self._ended = True


def _decode_half(payload: bytes) -> _FullChunk | None:
    """A delta that a strict decoder refuses, for it ends in the middle of a surrogate pair; the other half follows."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(delta := value.pop("delta", None), str):
        return None
    return msgspec.structs.replace(msgspec.convert(value, _FullChunk), delta=msgspec.Raw(literal(delta)))


def _say(block: _OpenBlock, text: bytes, events: list[Event]) -> None:
    block.said.append(text)
    events.append(BlockDelta(block.index, text))


def _head_of(item: Item) -> ToolCall:
    kind: ToolKind = "custom" if item.type == "custom_tool_call" else "function"
    return ToolCall(item.call_id or item.id or "", item.name or "", "", kind, item.namespace)


def _split_block(block: Block) -> tuple[Block, str]:
    """The head with which a block opens, and its text."""
    match block:
        case Text():
            return msgspec.structs.replace(block, text="", citations=()), block.text
        case Refusal():
            return Refusal(""), block.text
        case Reasoning() if block.text:
            return Reasoning(""), block.text
        case ToolCall():
            return msgspec.structs.replace(block, arguments=""), block.arguments
        case Compaction():
            return Compaction(None), block.text or ""
        case _:
            return block, ""


def _rest_of(text: str, said: Sequence[bytes]) -> bytes | None:
    """The literal of what of `text` has not been said. Where the two disagree what was said stands."""
    if not said:
        return literal(text) if text else None
    before = text_of(join(said))
    return literal(text[len(before) :]) if len(text) > len(before) and text.startswith(before) else None


def write_failure(output: Output, response: ResponseObject, failure: Failure, usage: Usage | None) -> bytes:
    """End a stream by an error; the failed response is returned.

    It takes two events: the vendor's SDK raises for one that holds an `error`, while Codex reads over that and waits
    for `response.failed`.
    """
    error = error_object(failure)
    output.write("error", code=error["code"], message=error["message"], param=error["param"], error=error)
    failed = response.render("failed", output.items, usage=usage, failure=failure)
    output.write("response.failed", response=msgspec.Raw(failed))
    output.parts.append(DONE)
    return failed


class _State(Enum):
    WAITING = auto()  # nothing has been written
    RUNNING = auto()
    HELD = auto()  # all but the terminal event: the usage may still come
    ENDED = auto()


class StreamRenderer:
    """Writes a client's stream: items one after the other, then one terminal event with all of them.

    An item is done when the next one begins or the answer ends, for only then it is known whether it goes on and
    whether a limit has cut it.
    """

    def __init__(self, reply: Reply) -> None:
        self._show_reasoning = reply.show_reasoning
        self._object = ResponseObject(reply)
        self._output = Output(reply.id)
        self._sequencer = Sequencer()
        self._item: OpenItem | None = None
        self._usage: Usage | None = None
        self._finished: Finished | None = None
        self._response = b""
        self._status = "completed"
        self._spoken = False  # something other than reasoning has been said
        self._refused = False
        self._state = _State.WAITING

    def feed(self, events: Sequence[Event]) -> bytes:
        if self._state is _State.ENDED:
            return b""
        output = self._output
        for event in self._sequencer.feed(events):
            # Here and not in the item, for nearly all events come this way.
            if type(event) is BlockDelta and (item := self._item) is not None and item.prefix is not None:
                text = event.text
                if text != EMPTY:
                    item.said.append(text)
                    output.parts.append(b"%b%b%b%d}\n\n" % (item.prefix, text, item.suffix, output.number))
                    output.number += 1
            else:
                self._write(event)
        return output.take()

    def close(self) -> bytes:
        if self._state is _State.HELD:
            self._end()
        elif self._state is not _State.ENDED:
            self._fail(UpstreamCut("the answer ended before it was complete", began=True).failure)
        return self._output.take()

    def ping(self) -> bytes:
        """An event of its own, for comments do not reset the idle timer of Codex.

        Its type is unknown to all clients, which read it over. A repeated `response.in_progress` would be known, but
        it repeats the whole request, and none may follow the first item. Before `response.created` the vendor's SDK
        accepts no event at all, so until then a comment has to do.
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
        match event:
            case Started():
                self._start(event)
            case BlockOpened(block=block):
                self._open(block)
            case BlockDelta(text=text) if self._item is not None:
                self._item.say(text)
            case BlockNoted() if self._item is not None:
                self._item.note(event)
            case BlockClosed() if self._item is not None:
                self._item.close(event)
            case UsageSeen(usage=usage):
                self._usage = usage
                if self._state is _State.HELD:
                    self._end()
            case Finished():
                self._finish(event)
            case Failed(failure=failure):
                self._fail(failure)

    def _start(self, started: Started | None = None) -> None:
        if self._state is not _State.WAITING:
            return
        self._state = _State.RUNNING
        if started is not None and started.service_tier:
            self._object.service_tier = started.service_tier
        begun = msgspec.Raw(self._object.render("in_progress"))
        self._output.write("response.created", response=begun)
        self._output.write("response.in_progress", response=begun)

    def _open(self, block: Block) -> None:
        self._start()
        self._spoken = self._spoken or not isinstance(block, Reasoning)
        self._refused = self._refused or isinstance(block, Refusal)
        if self._item is not None and self._item.takes(block):
            self._item.open(block)
            return
        self._end_item()
        self._item = open_item(block, self._output, show_reasoning=self._show_reasoning)

    def _end_item(self, *, incomplete: bool = False) -> None:
        if self._item is not None:
            self._item.end(incomplete=incomplete)
            self._item = None

    def _finish(self, finished: Finished) -> None:
        self._start()
        self._finished = finished
        self._status = STATUSES[finished.finish_reason][0]
        explanation = finished.stop_detail.explanation if finished.stop_detail else None
        if finished.finish_reason == "content_filter" and explanation and not self._spoken:
            self._open(Refusal(""))
            self._write(BlockDelta(0, literal(explanation)))
            self._write(BlockClosed(0))
        if self._refused:  # whoever was refused has got a whole answer; only a text that broke off is incomplete
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
