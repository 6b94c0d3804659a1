"""Parses Anthropic Messages streams."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any

import msgspec

from app.conversation.blocks import Compaction, Proof, Reasoning, Text, ToolCall
from app.conversation.envelope import is_sealed, unseal
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
from app.conversation.literals import (
    EMPTY,
    NOTHING,
    HalfPairs,
    Resent,
    as_object,
    begins_object,
    hide_halves,
    is_blank,
    join,
    literal,
    text_of,
)
from app.dialects.anthropic_messages.content.blocks import (
    decode_fields,
    ignore_field,
    other_fields,
    read_arguments,
    read_block,
)
from app.dialects.anthropic_messages.errors import parse_stream_error
from app.dialects.anthropic_messages.response_parser import (
    is_broken,
    read_extensions,
    read_finish_reason,
    read_stop_detail,
)
from app.dialects.anthropic_messages.usage import merge_usage, read_tier, read_usage
from app.dialects.anthropic_messages.vocabulary import NAME
from app.dialects.error_kinds import decode_error
from app.dialects.json_bodies import repair_surrogates
from app.dialects.malformed import decode_tolerantly, malformed, split_documents
from app.errors import InvalidRequest, UpstreamCut, UpstreamMalformed
from app.json_values import UNREADABLE, Fields, Index, decode_or_none, fields_decoder, object_decoder

_QUOTE = ord('"')
_TEXTS = ("text", "thinking", "partial_json")  # the fields of deltas that are texts
# How the types of other dialects' events about failures end.
FAILED = (".failed", ".error")


class _Delta(msgspec.Struct):
    """The fields of all block deltas; they stay JSON literals."""

    text: msgspec.Raw = msgspec.Raw()
    thinking: msgspec.Raw = msgspec.Raw()
    partial_json: msgspec.Raw = msgspec.Raw()
    signature: msgspec.Raw = msgspec.Raw()
    citation: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()
    encrypted_content: msgspec.Raw = msgspec.Raw()


class _Chunk(msgspec.Struct):
    """The fields of frequent payloads; other payloads are decoded separately, once per stream each."""

    type: str = ""
    index: Index = 0
    delta: _Delta | None = None
    content_block: msgspec.Raw = msgspec.Raw()


class _Typed(msgspec.Struct):
    type: str = ""


class _EndDelta(msgspec.Struct, frozen=True):
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None


class _End(msgspec.Struct):
    """What `message_delta` says about the end; there may be several, and the last one counts."""

    delta: _EndDelta = _EndDelta()


_chunk_decoder = msgspec.json.Decoder(_Chunk)
_decode_chunk = _chunk_decoder.decode
_decode_lax = msgspec.json.Decoder(_Chunk, strict=False).decode  # reads numbers that are texts
_typed = msgspec.json.Decoder(_Typed)
_end = msgspec.json.Decoder(_End)

_KNOWN_TYPES = {
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "error",
}


class _State(Enum):
    EXPECTING = auto()
    RUNNING = auto()
    ENDED = auto()


class _WireBlock:
    """A block that is open on the wire. `index` is its neutral index; `texts` are the literals of its deltas, if the
    end needs them all; `fields` are those of its start. Arguments that do not begin like an object are `held` until
    the end."""

    __slots__ = ("fields", "held", "index", "resent", "signature", "texts", "type")

    def __init__(self, kind: str, index: int, fields: Fields) -> None:
        self.type = kind
        self.index = index
        self.fields = fields
        self.texts: list[bytes] = []
        self.signature = b""
        self.held: list[bytes] = []
        self.resent = Resent()


class StreamParser:
    """Events of an upstream's stream, which ends normally with `message_stop`, or with the end of input after a
    `stop_reason`.

    Repairs: a missing `message_start`; deltas of blocks that were not begun, or with a wrong index; reasoning deltas
    inside a text block and the reverse, and both inside a call, which become separate blocks; arguments in the start of
    a call; content in the start of the message; a whole message as one event; blocks that are never closed.
    """

    snapshots = None

    def __init__(self) -> None:
        self._state = _State.EXPECTING
        self._blocks: dict[int, _WireBlock] = {}
        self._next = 0
        self._ids: set[str] = set()  # of calls
        self._id = ""
        self._end = _EndDelta()
        self._extensions: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self.growing: list[bytes] | None = None
        self.steady = False
        self.ending = False
        self._halves = HalfPairs()

    def feed(self, data: Sequence[bytes]) -> list[Event]:
        events: list[Event] = []
        blocks = self._blocks
        for payload in data:
            if self._state is _State.ENDED:  # nothing after the end belongs to the answer
                break
            try:
                chunk = _decode_chunk(payload)
                delta = chunk.delta
                if delta is not None and chunk.type == "content_block_delta":
                    block = blocks.get(chunk.index)
                    if block is not None and block.type == "text":
                        text = bytes(delta.text)
                        if len(text) > 2 and text[0] == _QUOTE:
                            events.append(BlockDelta(block.index, text))
                            self.growing, self.steady = None, True
                            continue
                    count = len(events)
                    self._add(chunk.index, delta, events)
                    block = blocks.get(chunk.index)
                    self.growing = None if block is None or block.type == "text" else block.texts
                    self.steady = len(events) == count + 1 and type(events[-1]) is BlockDelta
                else:
                    self.steady = False
                    self._take(chunk, payload, events)
            except (*UNREADABLE, InvalidRequest) as error:
                self.steady = False
                self._handle_unreadable(payload, error, events)
        return events

    def close(self) -> list[Event]:
        if self._state is _State.ENDED:
            return []
        if self._end.stop_reason:
            events: list[Event] = []
            self._finish(events)
            return events
        self._state = _State.ENDED
        return [Failed(UpstreamCut("the upstream's stream ended before it was complete", began=True).failure)]

    def _take(self, chunk: _Chunk, payload: bytes, events: list[Event]) -> None:
        match chunk.type:
            case "message_start":
                self._start(object_decoder.decode(payload).get("message"), events)
            case "message":
                self._take_whole(object_decoder.decode(payload), events)
            case "content_block_start":
                self._open(chunk.index, fields_decoder.decode(chunk.content_block), events)
            case "content_block_stop":
                self._shut(chunk.index, events)
            case "message_delta":
                self._end = _merge_ends(self._end, _end.decode(payload).delta)
                self.ending = bool(self._end.stop_reason)
                self._note_end(object_decoder.decode(payload))
            case "message_stop":
                self._finish(events)
            case "error":
                if self.ending:  # the answer is complete
                    return
                self._state = _State.ENDED
                events.append(Failed(parse_stream_error(object_decoder.decode(payload).get("error"), payload)))
            case "" if payload.strip() != b"{}":  # no event: an error in another shape, or another dialect
                self._state = _State.ENDED
                events.append(Failed(decode_error(payload) or malformed("an event", payload).failure))
            case kind if kind.endswith(FAILED) and (failure := decode_error(payload)) is not None:
                self._state = _State.ENDED
                events.append(Failed(failure))
            case _:
                pass  # an event type from the future

    def _handle_unreadable(self, payload: bytes, error: Exception, events: list[Event]) -> None:
        """Handles an unreadable payload: skips an event of an unknown type, recovers texts that contain half of a
        surrogate pair, and fails otherwise."""
        wrong_type = isinstance(error, msgspec.ValidationError)
        if self.ending or payload.strip() == b"[DONE]" or (wrong_type and _is_unknown(payload)):
            return
        try:
            documents = split_documents(payload) or [payload]
            if len(documents) > 1 or decode_or_none(payload, _chunk_decoder) is not None:
                raise error
            whole = hide_halves(documents[0])
            chunk = decode_tolerantly(_decode_lax, whole)
            if chunk.delta is None or not self._join_halves(chunk.index, chunk.delta):
                whole = repair_surrogates(documents[0])
                chunk = decode_tolerantly(_decode_lax, whole)
            if chunk.type == "content_block_delta" and chunk.delta is not None:
                self._add(chunk.index, chunk.delta, events)
            else:
                self._take(chunk, whole, events)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidRequest):
            self._state = _State.ENDED
            events.append(Failed(decode_error(payload) or malformed("an event", payload).failure))

    def _join_halves(self, index: int, delta: _Delta) -> bool:
        """Shows the hidden halves in the text of a delta, if it has one; the other half comes with the next."""
        texts = [name for name in _TEXTS if bytes(getattr(delta, name)).startswith(b'"')]
        for name in texts:
            setattr(delta, name, msgspec.Raw(self._halves.join((index, name), bytes(getattr(delta, name)))))
        return bool(texts)

    def _refuse(self, message: str, events: list[Event]) -> None:
        self._state = _State.ENDED
        events.append(Failed(UpstreamMalformed(message).failure))

    def _start(self, message: Any, events: list[Event]) -> None:
        if self._state is not _State.EXPECTING:
            return
        self._state = _State.RUNNING
        fields: dict[str, Any] = message if isinstance(message, dict) else {}
        merge_usage(self._usage, fields.get("usage"))
        self._extensions |= read_extensions(fields, {})
        self._id = str(fields.get("id") or "")
        model = str(fields.get("model") or "")
        events.append(Started(self._id, model, None, read_usage(self._usage), read_tier(self._usage)))
        blocks = fields.get("content")
        for index, block in enumerate(blocks if isinstance(blocks, list) else ()):
            self._open(index, fields_decoder.decode(msgspec.json.encode(block)), events)
            self._shut(index, events)

    def _take_whole(self, message: dict[str, Any], events: list[Event]) -> None:
        self._start(message, events)
        self._end = _merge_ends(self._end, msgspec.convert(message, _EndDelta))
        self._note_end(message)
        self._finish(events)

    def _open(self, index: int, fields: Fields, events: list[Event]) -> None:
        if self._state is _State.EXPECTING:
            self._start({}, events)
        if index in self._blocks:
            self._shut(index, events)
        kind = _text_field(fields, "type")
        block = _WireBlock(kind, self._next, fields)
        self._blocks[index] = block
        match kind:
            case "text":
                self._announce(block, Text(""), events)
                self._add_text(block, bytes(fields.get("text", b"")), events)
            case "thinking":
                self._announce(block, Reasoning(""), events)
                self._add_text(block, bytes(fields.get("thinking", b"")), events)
                block.signature = bytes(fields.get("signature", b""))
            case "tool_use":
                identifier = _text_field(fields, "id")
                if not identifier or identifier in self._ids:  # Kimi gives parallel calls one id
                    identifier = f"toolu_{self._id}_{block.index}"
                self._ids.add(identifier)
                others = decode_fields(other_fields(fields)) or None
                self._announce(block, ToolCall(identifier, _text_field(fields, "name"), "", extensions=others), events)
            case _:
                pass  # any other block is announced at its end, when it is complete

    def _announce(self, block: _WireBlock, head: Text | Reasoning | ToolCall, events: list[Event]) -> None:
        self._next += 1
        events.append(BlockOpened(block.index, head))

    def _add_text(self, block: _WireBlock, text: bytes, events: list[Event]) -> None:
        """Adds a delta of a text, reasoning or call; empty ones are dropped."""
        if len(text) > 2 and text[0] == _QUOTE:
            if block.type != "text":
                block.texts.append(text)
            events.append(BlockDelta(block.index, text))

    def _add(self, index: int, delta: _Delta, events: list[Event]) -> None:
        block = self._blocks.get(index) or self._find_meant(index, delta, events)
        if block is None:
            if bytes(delta.partial_json):
                self._refuse("the upstream's stream continues a block that is not open", events)
            return
        text, thinking = bytes(delta.text), bytes(delta.thinking)
        if block.type == "thinking" and text:
            block = self._switch(index, "text", events)
        elif block.type == "text" and thinking:
            block = self._switch(index, "thinking", events)
        elif block.type == "tool_use" and (text or thinking):
            block = self._open_beside(index, "text" if text else "thinking", events)
        match block.type:
            case "text":
                self._add_text(block, text, events)
                if citation := bytes(delta.citation):
                    events.append(BlockNoted(block.index, citation=object_decoder.decode(citation)))
            case "thinking":
                self._add_text(block, thinking, events)
                block.signature = bytes(delta.signature) or block.signature
            case "tool_use":
                fragment = bytes(delta.partial_json)
                if fragment.startswith(b"{"):  # the object instead of its text; {} is the default for missing arguments
                    fragment = literal(fragment.decode()) if fragment.strip(b"{} \n\r\t") else EMPTY
                if block.held or not (block.texts or is_blank(fragment) or begins_object(fragment)):
                    block.held.append(fragment)
                elif block.texts or not (is_blank(fragment) or fragment == NOTHING):
                    self._add_text(block, block.resent.rest_of(block.texts, fragment), events)
            case _:
                fragment = bytes(delta.partial_json)
                if fragment.startswith(b'"'):
                    block.texts.append(fragment)
                block.fields |= {
                    name: value
                    for name, value in (("content", delta.content), ("encrypted_content", delta.encrypted_content))
                    if bytes(value)
                }

    def _find_meant(self, index: int, delta: _Delta, events: list[Event]) -> _WireBlock | None:
        """The block for a delta whose index is not open: the only open one of its kind, else a new one if the delta is
        enough to start it."""
        kind = "tool_use" if bytes(delta.partial_json) else "text" if bytes(delta.text) else "thinking"
        alike = [block for block in self._blocks.values() if block.type == kind]
        if len(alike) == 1:
            return alike[0]
        if kind == "tool_use" or not (bytes(delta.text) or bytes(delta.thinking)):
            return None
        self._open(index, {"type": msgspec.Raw(literal(kind))}, events)
        return self._blocks[index]

    def _switch(self, index: int, kind: str, events: list[Event]) -> _WireBlock:
        self._shut(index, events)
        self._open(index, {"type": msgspec.Raw(literal(kind))}, events)
        return self._blocks[index]

    def _open_beside(self, index: int, kind: str, events: list[Event]) -> _WireBlock:
        """The block for what SGLang sends inside a call, whose arguments may continue after it."""
        beside = self._blocks.get(~index)
        if beside is None or beside.type != kind:
            self._open(~index, {"type": msgspec.Raw(literal(kind))}, events)
        return self._blocks[~index]

    def _shut(self, index: int, events: list[Event]) -> None:
        if index >= 0:
            self._shut(~index, events)
        block = self._blocks.pop(index, None)
        match block:
            case None:
                return
            case _WireBlock(type="text"):
                events.append(BlockClosed(block.index))
            case _WireBlock(type="thinking"):
                events.append(BlockClosed(block.index, _prove(block)))
            case _WireBlock(type="tool_use"):
                if block.held:
                    self._add_text(block, literal(as_object(text_of(join(block.held)))[0]), events)
                elif not block.texts:
                    # Calls without arguments stream none, though a whole message has {}.
                    arguments = read_arguments(bytes(block.fields.get("input", b"")))
                    self._add_text(block, literal(arguments if arguments.startswith("{") else "{}"), events)
                events.append(BlockClosed(block.index))
            case _:
                self._close_collected(block, events)

    def _close_collected(self, block: _WireBlock, events: list[Event]) -> None:
        """Announces and closes a block that had to be collected."""
        if block.texts and (arguments := text_of(join(block.texts))):
            block.fields["input"] = msgspec.Raw(arguments.encode("utf-8", "replace"))
        raw = repair_surrogates(msgspec.json.encode(block.fields))
        whole = read_block(msgspec.Raw(raw), "content", ignore_field)
        block.index = self._next
        self._next += 1
        match whole:
            case Compaction(text=text, proof=proof):
                events.append(BlockOpened(block.index, Compaction(None)))
                self._add_text(block, literal(text or ""), events)
                events.append(BlockClosed(block.index, proof))
            case Reasoning(proof=proof):
                events += (BlockOpened(block.index, whole), BlockClosed(block.index, proof))
            case _:
                events += (BlockOpened(block.index, whole), BlockClosed(block.index))

    def _note_end(self, payload: dict[str, Any]) -> None:
        merge_usage(self._usage, payload.get("usage"))
        self._extensions |= read_extensions(payload, {})
        if isinstance(payload.get("delta"), dict):
            self._extensions |= read_extensions(payload["delta"], {})

    def _finish(self, events: list[Event]) -> None:
        for index in list(self._blocks):
            self._shut(index, events)
        self._state = _State.ENDED
        if is_broken(self._end.stop_reason):
            self._refuse(f"the upstream broke off with stop_reason {str(self._end.stop_reason)[:80]!r}", events)
            return
        if (usage := read_usage(self._usage)) is not None:
            events.append(UsageSeen(usage))
        events.append(
            Finished(
                read_finish_reason(self._end.stop_reason, bool(self._ids)),
                self._end.stop_reason,
                self._end.stop_sequence,
                read_stop_detail(self._end.stop_details),
                self._extensions | read_extensions({}, self._usage),
            )
        )


def _merge_ends(first: _EndDelta, then: _EndDelta) -> _EndDelta:
    return _EndDelta(
        then.stop_reason or first.stop_reason,
        then.stop_sequence or first.stop_sequence,
        then.stop_details or first.stop_details,
    )


def _is_unknown(payload: bytes) -> bool:
    typed = decode_or_none(payload, _typed)
    return typed is not None and typed.type not in _KNOWN_TYPES


def _text_field(fields: Fields, name: str) -> str:
    """A text among raw fields; numbers count as text, because some servers number their calls."""
    raw = fields.get(name)
    value = msgspec.json.decode(raw) if raw is not None else None
    return str(value) if isinstance(value, str | int) else ""


def _prove(block: _WireBlock) -> Proof | None:
    """The proof of a reasoning block. One sealed by another gateway of this kind is unsealed."""
    signature = text_of(block.signature) if block.signature[:1] == b'"' else ""
    if not signature:
        return None
    if is_sealed(signature):
        return unseal(signature)
    fields = block.fields | {"thinking": msgspec.Raw(join(block.texts)), "signature": msgspec.Raw(block.signature)}
    return Proof(NAME, "thinking", (repair_surrogates(msgspec.json.encode(fields)),))
