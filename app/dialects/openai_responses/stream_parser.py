"""Parses Responses streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from app.conversation.blocks import Block, Compaction, Proof, Reasoning, Refusal, Text, ToolCall, ToolKind
from app.conversation.events import BlockClosed, BlockDelta, BlockNoted, BlockOpened, Event, Failed, Started, UsageSeen
from app.conversation.literals import (
    EMPTY,
    NOTHING,
    HalfPairs,
    Resent,
    Snapshots,
    as_object,
    begins_object,
    hide_halves,
    is_blank,
    join,
    literal,
    text_of,
)
from app.conversation.streams.fold import split
from app.dialects.error_kinds import decode_error, decode_named_error, judge_reported
from app.dialects.json_bodies import repair_surrogates
from app.dialects.malformed import decode_tolerantly, malformed
from app.dialects.openai_responses.items.items import logprobs_of, parse_item
from app.dialects.openai_responses.items.sparse_items import lacks_arguments, output_of, settle_item
from app.dialects.openai_responses.response_object import parse_finish
from app.dialects.openai_responses.usage import parse_usage
from app.dialects.openai_responses.vocabulary import (
    CALLS,
    NULL,
    TEXTS,
    Item,
    WireResponse,
    item_decoder,
    response_decoder,
)
from app.errors import Failure, InvalidRequest, UpstreamCut, UpstreamMalformed
from app.json_values import UNREADABLE, Index, decode_or_none, object_decoder

_TEXT_DELTA = "response.output_text.delta"
# Events that repeat a whole block, with the field that contains it. Some upstreams send them without deltas before.
WHOLES = {f"{event}.done": field for field, event in TEXTS.values()}
WHOLES["response.reasoning.done"] = "text"  # Open Responses' spelling
_DELTAS = {whole.replace(".done", ".delta") for whole in WHOLES}
CONTENTS = {*_DELTAS, *WHOLES}
GOOD_ENDS = {"response.completed", "response.incomplete", "response.done"}
ENDS = {*GOOD_ENDS, "response.failed", "response.cancelled"}
BEGINNINGS = {"response.created", "response.queued", "response.in_progress"}
ITEM_ADDED = "response.output_item.added"
ITEM_DONE = "response.output_item.done"
_ANNOTATED = "response.output_text.annotation.added"
_PARTS = ("response.content_part.added", "response.reasoning_part.added")
# Events that repeat a whole part. Some upstreams send a text only there.
PART_ENDS = ("response.content_part.done", "response.reasoning_part.done", "response.reasoning_summary_part.done")
_TEXTS_OF_PARTS = {**TEXTS, "text": TEXTS["output_text"]}
_ERRORS = ("error", "response.error")
_READ = {*CONTENTS, *ENDS, *BEGINNINGS, ITEM_ADDED, ITEM_DONE, *PART_ENDS, _ANNOTATED, *_ERRORS, ""}
_PARAGRAPH = b'"\\n\\n"'
_QUOTE = ord('"')
ARGUMENTS = "response.function_call_arguments"
_INPUT = "response.custom_tool_call_input"


class _Chunk(msgspec.Struct):
    """The fields of an event in the plain case."""

    type: str = ""
    output_index: Index = 0
    content_index: Index = 0
    delta: msgspec.Raw = NULL
    logprobs: list[dict[str, Any]] | None = None


class WirePart(msgspec.Struct):
    """The fields of a part that an event repeats."""

    type: str = ""
    text: msgspec.Raw = NULL
    refusal: msgspec.Raw = NULL


class WireEvent(msgspec.Struct):
    """The fields of any event that are read in the same way wherever it goes."""

    type: str = ""
    summary_index: Index | None = None
    delta: msgspec.Raw = NULL
    item: msgspec.Raw = NULL
    text: msgspec.Raw = NULL
    arguments: msgspec.Raw = NULL
    input: msgspec.Raw = NULL
    refusal: msgspec.Raw = NULL
    part: WirePart | None = None
    error: Any = None
    code: Any = None
    message: str | None = None
    param: str | None = None


class _FullChunk(WireEvent):
    output_index: Index = 0
    content_index: Index = 0
    logprobs: list[dict[str, Any]] | None = None
    response: WireResponse | None = None
    annotation: dict[str, Any] | None = None


class _Kind(msgspec.Struct):
    type: str = ""


_kind_decoder = msgspec.json.Decoder(_Kind)
_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_full = msgspec.json.Decoder(_FullChunk).decode
_decode_lax = msgspec.json.Decoder(_FullChunk, strict=False).decode  # reads numbers that are texts


class _OpenBlock:
    """`pieces` are the literals passed on so far; `part` is the part of the item to which the last of them belonged.
    `place` is where an open text block is kept for the plain case."""

    __slots__ = ("begin", "citations", "compared", "held", "index", "part", "pieces", "place", "resent", "snapshots")

    def __init__(self, index: int) -> None:
        self.index = index
        self.resent = Resent()
        self.snapshots = Snapshots()  # of the last part
        self.pieces: list[bytes] = []
        self.held: list[bytes] = []  # arguments that do not begin like an object, until the item ends
        self.begin = 0  # the first piece of the last part
        self.compared = False  # its whole with its pieces
        self.citations = 0
        self.part: tuple[str, int] | None = None
        self.place: tuple[int, int] | None = None

    def take(self, kind: str, added: bytes) -> bytes:
        """The new part of a delta in an event of this kind."""
        if kind.startswith(ARGUMENTS):
            # After an empty object the arguments may still come; at the end of a call they are that anyway.
            return EMPTY if not self.pieces and added == NOTHING else self.resent.rest_of(self.pieces, added)
        return added if kind.startswith(_INPUT) else self.snapshots.take(added)

    def add(self, text: bytes, events: list[Event]) -> None:
        if text != EMPTY:
            self.pieces.append(text)
            events.append(BlockDelta(self.index, text))

    def begin_part(self, events: list[Event]) -> None:
        self.add(self.snapshots.flush(), events)
        self.add(_PARAGRAPH, events)
        self.snapshots = Snapshots()
        self.begin, self.compared = len(self.pieces), False

    def complete(self, whole: bytes, events: list[Event]) -> None:
        """Adds what the literal of the whole part has beyond the pieces."""
        text = text_of(whole)
        self.add(self.snapshots.settle(text), events)
        # The whole usually ends like its last piece. Only another is compared in full, and once: a server could send
        # any number of them.
        if self.compared or whole.endswith(self.pieces[-1][1:]):
            return
        self.compared = True
        if rest := _rest_of(text, self.pieces[self.begin :]):
            self.add(rest, events)


class _UpstreamItem:
    """An announced item; `blocks` by the position of their part (0 for items without parts)."""

    __slots__ = ("blocks", "done", "item", "logprobs")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.logprobs = False  # some have been passed on
        self.blocks: dict[int, _OpenBlock] = {}
        self.done = False


class StreamParser:
    """Parses an upstream's stream.

    Events are matched to items by `output_index`, because some servers change an item's id with each event. An item's
    content may come in deltas, in its `done` events, in the finished item or only in the terminal response; each piece
    is passed on once.
    """

    ending = False  # the terminal event is the end
    snapshots = None  # no run begins before they are settled

    def __init__(self) -> None:
        self._items: dict[int, _UpstreamItem] = {}
        self._by_call: dict[str, _UpstreamItem] = {}  # the first item of each call
        self._texts: dict[tuple[int, int], _OpenBlock] = {}  # the open text blocks, for the plain case
        self.steady = False
        self.growing: list[bytes] | None = None
        self._started = False
        self._ended = False
        self._call_ids: set[str] = set()
        self._blocks = 0
        self._parts: set[tuple[int, int]] = set()  # announced parts of items
        self._settled: set[str | None] = set()  # ids of finished items, and of their calls
        self._halves = HalfPairs()

    def feed(self, data: Sequence[bytes]) -> list[Event]:
        events: list[Event] = []
        texts, quote = self._texts, _QUOTE
        for payload in data:
            self.steady = False
            try:
                chunk = _decode_chunk(payload)
                if chunk.type == _TEXT_DELTA:
                    block = texts.get((chunk.output_index, chunk.content_index))
                    text = bytes(chunk.delta)
                    if block is not None and text[0] == quote:
                        block.pieces.append(text)
                        events.append(BlockDelta(block.index, text))
                        if chunk.logprobs:
                            self._items[chunk.output_index].logprobs = True
                            events.append(BlockNoted(block.index, logprobs=tuple(chunk.logprobs)))
                        else:
                            self.steady, self.growing = True, block.pieces
                        continue
                self._read(payload, events)
            except (*UNREADABLE, InvalidRequest):
                self._read_malformed(payload, events)
        return events

    def close(self) -> list[Event]:
        if self._ended:
            return []
        cut = UpstreamCut("the upstream's stream ended before the response was complete", began=True)
        return [Failed(cut.failure)]

    def _read_malformed(self, payload: bytes, events: list[Event]) -> None:
        """Handles a payload that is no event: the end mark, half a surrogate pair, or an invalid one."""
        if self._ended or payload.strip() == b"[DONE]" or not is_read(payload):
            return
        try:
            chunk = decode_tolerantly(_decode_lax, hide_halves(payload))
            if bytes(chunk.delta).startswith(b'"'):
                place = chunk.type, chunk.output_index, chunk.content_index, chunk.summary_index
                self._add_delta(chunk, msgspec.Raw(self._halves.join(place, bytes(chunk.delta))), events)
            else:
                whole = repair_surrogates(payload)
                self._take(decode_tolerantly(_decode_lax, whole), whole, events)
        except (*UNREADABLE, InvalidRequest):
            self._fail(decode_error(payload) or malformed("an event", payload).failure, events)

    def _read(self, payload: bytes, events: list[Event]) -> None:
        if not self._ended:
            self._take(_decode_full(payload), payload, events)

    def _take(self, chunk: _FullChunk, payload: bytes, events: list[Event]) -> None:
        kind = chunk.type
        if kind in _DELTAS:
            self._add_delta(chunk, chunk.delta, events)
        elif kind in WHOLES:
            whole: msgspec.Raw = getattr(chunk, WHOLES[kind])
            self._add_delta(chunk, whole, events, unless_shown=True)
        elif kind == ITEM_ADDED:
            self._open_item(chunk.output_index, item_decoder.decode(chunk.item), events)
        elif kind == ITEM_DONE:
            self._settle_item(chunk.output_index, chunk.item, events)
        elif kind in _PARTS:
            self._parts.add((chunk.output_index, chunk.content_index))
        elif kind in PART_ENDS and chunk.part is not None and chunk.part.type in _TEXTS_OF_PARTS:
            chunk.type = f"{_TEXTS_OF_PARTS[chunk.part.type][1]}.done"
            text = chunk.part.refusal if chunk.part.type == "refusal" else chunk.part.text
            self._add_delta(chunk, text, events, unless_shown=True)
        elif kind == _ANNOTATED and chunk.annotation is not None:
            self._add_citation(chunk, chunk.annotation, events)
        elif kind in ENDS and chunk.response is not None:
            self._end(chunk.response, events, chunk.error)
        elif kind in _ERRORS or (not kind and chunk.error is not None):
            error = chunk.error or {"code": chunk.code, "message": chunk.message, "param": chunk.param}
            self._fail(judge_reported(error, payload), events)
        elif kind in BEGINNINGS and chunk.response is not None:
            self._start(chunk.response, events)
        elif kind in GOOD_ENDS and chunk.error is None:
            self._end(WireResponse(status="incomplete" if "incomplete" in kind else "completed"), events)
        elif not kind and (answer := whole_response(payload)) is not None:
            self._end(answer, events)
        elif kind in ENDS or (not kind and payload.strip() != b"{}"):
            # A failure without a response, an error in another shape, or an event of another dialect.
            self._fail(decode_error(payload) or malformed("an event", payload).failure, events)
        elif not kind.startswith("response.") and (failure := decode_named_error((kind, chunk.code), payload)):
            self._fail(failure, events)

    def _start(self, response: WireResponse, events: list[Event]) -> None:
        if not self._started:
            self._started = True
            created = None if response.created_at is None else int(response.created_at)
            tier = response.service_tier
            events.append(Started(response.id or "", response.model or "", created, service_tier=tier))

    def _open_item(self, position: int, item: Item, events: list[Event]) -> None:
        before = self._items.get(position)
        if before is not None and not before.done:
            if _is_same(before.item, item):  # announced twice
                return
            self._close_blocks(before, events)  # two items with one index: the first has ended
        opened = self._note_item(position, item)
        # A call without a name yet waits for its end.
        if item.type in CALLS and item.name and (item.call_id or item.id):
            self._open_block(position, opened, 0, _head_of(item), events)

    def _note_item(self, position: int, item: Item) -> _UpstreamItem:
        opened = self._items[position] = _UpstreamItem(item)
        if item.call_id is not None:
            self._by_call.setdefault(item.call_id, opened)
        return opened

    def _add_delta(
        self, chunk: _FullChunk, raw: msgspec.Raw, events: list[Event], *, unless_shown: bool = False
    ) -> None:
        text = bytes(raw)
        block = self._block_at(chunk, events)
        if block is None or text[0] != _QUOTE:
            return
        if not block.pieces and chunk.type.startswith(ARGUMENTS) and (is_blank(text) or text == b'"null"'):
            return
        if chunk.type.startswith(ARGUMENTS) and not block.pieces and (block.held or not begins_object(text)):
            block.held.append(EMPTY if unless_shown and block.held else text)
            return
        part = self._part_of(chunk) if ".reasoning" in chunk.type else None
        if block.pieces and block.part != part:
            block.begin_part(events)
        elif block.pieces and unless_shown:
            block.complete(text, events)
            return
        block.part = part
        block.add(text if unless_shown else block.take(chunk.type, text), events)
        if block.snapshots.settled and chunk.type == _TEXT_DELTA:
            block.place = chunk.output_index, chunk.content_index
            self._texts[block.place] = block
            self.steady, self.growing = not chunk.logprobs, block.pieces
        if chunk.logprobs:
            self._items[chunk.output_index].logprobs = True
            events.append(BlockNoted(block.index, logprobs=tuple(chunk.logprobs)))

    def _part_of(self, chunk: _FullChunk) -> tuple[str, int]:
        """The part of a reasoning item. vLLM increments the index with each word, and announces no parts."""
        if "summary" in chunk.type:
            return "summary", chunk.content_index if chunk.summary_index is None else chunk.summary_index
        announced = (chunk.output_index, chunk.content_index) in self._parts
        return "content", chunk.content_index if announced else 0

    def _add_citation(self, chunk: _FullChunk, citation: dict[str, Any], events: list[Event]) -> None:
        block = self._block_at(chunk, events)
        if block is not None:
            block.citations += 1
            events.append(BlockNoted(block.index, citation=citation))

    def _block_at(self, chunk: _FullChunk, events: list[Event]) -> _OpenBlock | None:
        """The block of an event, opened if needed; None if only the finished item can provide it."""
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
        if isinstance(head, ToolCall):
            if head.id in self._call_ids:  # Kimi gives parallel calls one id
                head = msgspec.structs.replace(head, id=f"{head.id}_{block.index}")
            self._call_ids.add(head.id)
        self._blocks += 1
        events.append(BlockOpened(block.index, head))
        return block

    def _settle_item(self, position: int, raw: msgspec.Raw, events: list[Event], *, last: bool = False) -> None:
        """Passes on the remaining content of a finished item, and closes its blocks. A call without arguments stays
        open until the `last` chance of getting them, the terminal response."""
        item = item_decoder.decode(settle_item(raw))
        opened = self._find_finished(position, item)
        if opened.done:
            return  # the same once more
        opened.item = item
        if not last and lacks_arguments(raw) and all(not block.pieces for block in opened.blocks.values()):
            return
        proof = None
        for place, whole in enumerate(parse_item(item, raw, "output")):
            head, text, _ = split(whole)
            block = opened.blocks.get(place) or self._open_block(position, opened, place, head, events)
            if block.held and lacks_arguments(raw):
                text = as_object(text_of(join(block.held)))[0]
            if rest := _rest_of(text, block.pieces):
                block.snapshots.flush()
                block.add(rest, events)
            if isinstance(whole, Text):
                self._note_rest(opened, block, whole, raw, events)
            if isinstance(whole, Reasoning | ToolCall | Compaction):
                proof = whole.proof
        self._close_blocks(opened, events, proof, incomplete=item.status == "incomplete")
        self._settled.update((item.id, item.call_id))

    def _find_finished(self, position: int, item: Item) -> _UpstreamItem:
        """The announced item of which this is the finished form; a new one if none was announced."""
        opened = self._items.get(position)
        if opened is not None and not opened.done:
            return opened
        if item.call_id is not None and item.type in CALLS:
            # Copilot ends a call under another id and place than it began with.
            opened = self._by_call.get(item.call_id)
        elif opened is not None and not _is_same(opened.item, item):
            opened = None
        return opened or self._note_item(position, item)

    @staticmethod
    def _note_rest(
        opened: _UpstreamItem, block: _OpenBlock, whole: Text, raw: msgspec.Raw, events: list[Event]
    ) -> None:
        """Adds the probabilities and citations of a finished text that did not come before it."""
        if not opened.logprobs and (entries := logprobs_of(raw)):
            opened.logprobs = True
            events.append(BlockNoted(block.index, logprobs=tuple(entries)))
        events += (BlockNoted(block.index, citation=citation) for citation in whole.citations[block.citations :])
        block.citations = max(block.citations, len(whole.citations))

    def _close_blocks(
        self, opened: _UpstreamItem, events: list[Event], proof: Proof | None = None, *, incomplete: bool = False
    ) -> None:
        opened.done = True
        for block in opened.blocks.values():
            block.add(block.snapshots.flush(), events)
        events.extend(BlockClosed(block.index, proof, incomplete) for block in opened.blocks.values())
        for block in opened.blocks.values():
            if block.place is not None:
                self._texts.pop(block.place, None)

    def _end(self, response: WireResponse, events: list[Event], beside: Any = None) -> None:
        """Handles the terminal response. `beside` is an error next to it, where some servers put it."""
        self._start(response, events)
        if response.status in ("failed", "cancelled"):
            error = response.error or beside or {"message": f"the response {response.status}"}
            self._fail(judge_reported(error), events)
            return
        output = response.output if self._items else output_of(response.output, response.output_text)
        for position, raw in enumerate(output or ()):
            if not self._is_settled(position, item_decoder.decode(raw)):
                self._settle_item(position, raw, events, last=True)
        for opened in self._items.values():
            if opened.item.type is None and not opened.blocks:
                self._fail(
                    UpstreamMalformed("the upstream's stream has arguments of a call without a name").failure, events
                )
                return
            if not opened.done:
                self._close_blocks(opened, events)
        usage = parse_usage(response)
        if usage is not None:
            events.append(UsageSeen(usage))
        events.append(parse_finish(response, calls=bool(self._call_ids)))
        self._ended = True
        self._texts.clear()

    def _is_settled(self, position: int, item: Item) -> bool:
        """Whether an item of the terminal response is known, by its id, or by its position if ids change."""
        opened = self._items.get(position)
        at_its_place = opened is not None and opened.done and opened.item.type == item.type
        return at_its_place or any(known is not None and known in self._settled for known in (item.id, item.call_id))

    def _fail(self, failure: Failure, events: list[Event]) -> None:
        events.append(Failed(failure))
        self._ended = True
        self._texts.clear()


def _is_same(item: Item, other: Item) -> bool:
    """Whether two items are one, by their ids."""
    ids = {known for known in (item.id, item.call_id) if known}
    return not ids.isdisjoint((other.id, other.call_id))


def is_read(payload: bytes) -> bool:
    """Whether the payload could matter here; false for event types that are skipped."""
    kind = decode_or_none(payload, _kind_decoder)
    return kind is None or kind.type in _READ


def whole_response(payload: bytes) -> WireResponse | None:
    """A whole answer in place of an event."""
    if b'"response"' not in payload or (decode_or_none(payload, object_decoder) or {}).get("object") != "response":
        return None
    response: WireResponse = decode_tolerantly(response_decoder.decode, payload)
    return response


def _head_of(item: Item) -> ToolCall:
    kind: ToolKind = "custom" if item.type == "custom_tool_call" else "function"
    return ToolCall(item.call_id or item.id or "", item.name or "", "", kind, item.namespace)


def _rest_of(text: str, so_far: Sequence[bytes]) -> bytes | None:
    """The literal of the part of `text` that has not been passed on. If the two differ, what was passed on remains."""
    if not so_far:
        return literal(text) if text else None
    before = text_of(join(so_far))
    return literal(text[len(before) :]) if len(text) > len(before) and text.startswith(before) else None
