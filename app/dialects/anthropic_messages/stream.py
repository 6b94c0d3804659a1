"""This file is a streamed response of Anthropic Messages, parsed from an upstream and rendered for a client."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any

import msgspec

from app.conversation.blocks import Compaction, Opaque, Proof, Reasoning, Refusal, ServerTool, Text, ToolCall
from app.conversation.capabilities import Reply
from app.conversation.envelope import is_sealed, seal, unseal
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
from app.conversation.response import Usage
from app.conversation.sequence import Sequencer
from app.dialects.anthropic_messages.blocks import read_block, seal_reasoning, thinking_block
from app.dialects.anthropic_messages.errors import parse_stream_error, render_error
from app.dialects.anthropic_messages.response import (
    own_citations,
    read_extras,
    read_finish_reason,
    read_stop_detail,
    read_tier,
    read_usage,
    write_head,
    write_stop,
    write_usage,
)
from app.dialects.anthropic_messages.vocabulary import NAME, RESPONSE_EXTRAS
from app.dialects.json_bodies import Fields, encode_body, fields_decoder
from app.errors import InvalidRequest, UpstreamCut, UpstreamMalformed
from app.sse import COMMENT_KEEPALIVE

PING = b'event: ping\ndata: {"type":"ping"}\n\n'

_QUOTE = ord('"')


class _Delta(msgspec.Struct):
    """The fields of all deltas of blocks; they stay JSON literals."""

    text: msgspec.Raw = msgspec.Raw()
    thinking: msgspec.Raw = msgspec.Raw()
    partial_json: msgspec.Raw = msgspec.Raw()
    signature: msgspec.Raw = msgspec.Raw()
    citation: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()
    encrypted_content: msgspec.Raw = msgspec.Raw()


class _Chunk(msgspec.Struct):
    """What the frequent payloads hold; the others are decoded anew, once a stream each."""

    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: msgspec.Raw = msgspec.Raw()


class _Typed(msgspec.Struct):
    type: str = ""


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_typed = msgspec.json.Decoder(_Typed)
_object = msgspec.json.Decoder(dict[str, Any])
_citation = msgspec.json.Decoder(dict[str, Any])

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
    """A block that is open on the wire. `index` is its neutral one; `texts` are the literals of its deltas, where the
    whole is needed at the end; `fields` those of its start."""

    __slots__ = ("fields", "index", "signature", "texts", "type")

    def __init__(self, kind: str, index: int, fields: Fields) -> None:
        self.type = kind
        self.index = index
        self.fields = fields
        self.texts: list[bytes] = []
        self.signature = b""


class StreamParser:
    """Events of an upstream's stream. Only `message_stop` is a normal end.

    Repairs: a missing `message_start`; deltas of reasoning inside a text block and the reverse, which become blocks of
    their own; arguments that stand in the start of a call; blocks that are never closed.
    """

    def __init__(self) -> None:
        self._state = _State.EXPECTING
        self._blocks: dict[int, _WireBlock] = {}
        self._next = 0
        self._called = False
        self._id = ""
        self._message: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}

    def feed(self, data: Sequence[bytes]) -> list[Event]:
        events: list[Event] = []
        blocks = self._blocks
        for payload in data:
            try:
                chunk = _decode_chunk(payload)
                delta = chunk.delta
                if delta is not None and chunk.type == "content_block_delta":
                    block = blocks.get(chunk.index)
                    if block is not None and block.type == "text":
                        text = bytes(delta.text)
                        if len(text) > 2 and text[0] == _QUOTE:
                            events.append(BlockDelta(block.index, text))
                            continue
                    self._add(chunk.index, delta, events)
                else:
                    self._take(chunk, payload, events)
            except msgspec.ValidationError:
                self._excuse(payload, events)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidRequest) as error:
                self._refuse(f"the upstream's stream is malformed: {error}", events)
            if self._state is _State.ENDED:
                break
        return events

    def close(self) -> list[Event]:
        if self._state is _State.ENDED:
            return []
        self._state = _State.ENDED
        return [Failed(UpstreamCut("the upstream's stream ended before it was complete", began=True).failure)]

    def _take(self, chunk: _Chunk, payload: bytes, events: list[Event]) -> None:
        match chunk.type:
            case "message_start":
                self._start(_object.decode(payload).get("message"), events)
            case "content_block_start":
                self._open(chunk.index, fields_decoder.decode(chunk.content_block), events)
            case "content_block_stop":
                self._shut(chunk.index, events)
            case "message_delta":
                self._note_end(_object.decode(payload))
            case "message_stop":
                self._finish(events)
            case "error":
                self._state = _State.ENDED
                events.append(Failed(parse_stream_error(_object.decode(payload).get("error"))))

    def _excuse(self, payload: bytes, events: list[Event]) -> None:
        """A payload of an unexpected shape is harmless when its type is unknown too."""
        try:
            harmless = _typed.decode(payload).type not in _KNOWN_TYPES
        except msgspec.ValidationError:
            harmless = payload.strip() in (b"[DONE]", b"null")
        if not harmless:
            self._refuse("the upstream's stream is malformed", events)

    def _refuse(self, message: str, events: list[Event]) -> None:
        self._state = _State.ENDED
        events.append(Failed(UpstreamMalformed(message).failure))

    def _start(self, message: Any, events: list[Event]) -> None:
        if self._state is not _State.EXPECTING:
            return
        self._state = _State.RUNNING
        self._message = message if isinstance(message, dict) else {}
        self._merge_usage(self._message.get("usage"))
        self._id = str(self._message.get("id") or "")
        model = str(self._message.get("model") or "")
        events.append(Started(self._id, model, None, read_usage(self._usage), read_tier(self._usage)))

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
                self._say(block, bytes(fields.get("text", b"")), events)
            case "thinking":
                self._announce(block, Reasoning(""), events)
                self._say(block, bytes(fields.get("thinking", b"")), events)
                block.signature = bytes(fields.get("signature", b""))
            case "tool_use":
                self._called = True
                identifier = _text_field(fields, "id") or f"toolu_{self._id}_{block.index}"
                self._announce(block, ToolCall(identifier, _text_field(fields, "name"), ""), events)
            case _:
                pass  # any other block is complete only at its end, and is announced then

    def _announce(self, block: _WireBlock, head: Text | Reasoning | ToolCall, events: list[Event]) -> None:
        self._next += 1
        events.append(BlockOpened(block.index, head))

    def _say(self, block: _WireBlock, text: bytes, events: list[Event]) -> None:
        """A delta of a text, reasoning or call; empty ones say nothing."""
        if len(text) > 2 and text[0] == _QUOTE:
            if block.type != "text":
                block.texts.append(text)
            events.append(BlockDelta(block.index, text))

    def _add(self, index: int, delta: _Delta, events: list[Event]) -> None:
        block = self._blocks.get(index)
        if block is None:
            self._refuse("the upstream's stream continues a block that is not open", events)
            return
        text, thinking = bytes(delta.text), bytes(delta.thinking)
        if block.type == "thinking" and text:
            block = self._switch(index, "text", events)
        elif block.type == "text" and thinking:
            block = self._switch(index, "thinking", events)
        match block.type:
            case "text":
                self._say(block, text, events)
                if citation := bytes(delta.citation):
                    events.append(BlockNoted(block.index, citation=_citation.decode(citation)))
            case "thinking":
                self._say(block, thinking, events)
                block.signature = bytes(delta.signature) or block.signature
            case "tool_use":
                self._say(block, bytes(delta.partial_json), events)
            case _:
                if fragment := bytes(delta.partial_json):
                    block.texts.append(fragment)
                block.fields |= {
                    name: value
                    for name, value in (("content", delta.content), ("encrypted_content", delta.encrypted_content))
                    if bytes(value)
                }

    def _switch(self, index: int, kind: str, events: list[Event]) -> _WireBlock:
        self._shut(index, events)
        self._open(index, {"type": msgspec.Raw(literal(kind))}, events)
        return self._blocks[index]

    def _shut(self, index: int, events: list[Event]) -> None:
        block = self._blocks.pop(index, None)
        match block:
            case None:
                return
            case _WireBlock(type="text"):
                events.append(BlockClosed(block.index))
            case _WireBlock(type="thinking"):
                events.append(BlockClosed(block.index, _prove(block)))
            case _WireBlock(type="tool_use"):
                if not block.texts:
                    # Calls without arguments stream none, though the whole message has {}.
                    arguments = bytes(block.fields.get("input", b"")).decode()
                    self._say(block, literal(arguments if arguments.startswith("{") else "{}"), events)
                events.append(BlockClosed(block.index))
            case _:
                self._shut_whole(block, events)

    def _shut_whole(self, block: _WireBlock, events: list[Event]) -> None:
        """Announce and close a block that had to be collected."""
        if block.texts and (arguments := text_of(join(block.texts))):
            block.fields["input"] = msgspec.Raw(arguments.encode())
        whole = read_block(msgspec.Raw(msgspec.json.encode(block.fields)), "content", _ignore)
        block.index = self._next
        self._next += 1
        match whole:
            case Compaction(text=text, proof=proof):
                events.append(BlockOpened(block.index, Compaction(None)))
                self._say(block, literal(text or ""), events)
                events.append(BlockClosed(block.index, proof))
            case Reasoning(proof=proof):
                events += (BlockOpened(block.index, whole), BlockClosed(block.index, proof))
            case _:
                events += (BlockOpened(block.index, whole), BlockClosed(block.index))

    def _note_end(self, payload: dict[str, Any]) -> None:
        self._merge_usage(payload.get("usage"))
        delta = payload.get("delta")
        for source in (payload, delta if isinstance(delta, dict) else {}):
            self._message |= {name: value for name, value in source.items() if value is not None}

    def _merge_usage(self, usage: Any) -> None:
        """Later counts are totals and replace earlier ones; null says nothing."""
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}

    def _finish(self, events: list[Event]) -> None:
        for index in list(self._blocks):
            self._shut(index, events)
        self._state = _State.ENDED
        if (usage := read_usage(self._usage)) is not None:
            events.append(UsageSeen(usage))
        message = self._message
        raw = message.get("stop_reason")
        details = message.get("stop_details")
        events.append(
            Finished(
                read_finish_reason(raw or "end_turn", self._called) or "stop",
                raw,
                message.get("stop_sequence"),
                read_stop_detail(details if isinstance(details, dict) else None),
                read_extras(message, self._usage),
            )
        )


class StreamRenderer:
    """A stream for a client: one block open at a time, and the end held back until the usage is known.

    A reasoning block begins only with its first text: without any, it is a redacted block, whole at once.
    """

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._sequencer = Sequencer()
        self._state = _State.EXPECTING
        self._index = 0
        self._head: object = None  # of the open block
        self._shown = False  # whether the open block has begun on the wire
        self._prefix = b""  # of a delta that needs no care; empty where one does
        self._texts: list[bytes] = []  # of a block that needs its whole text at the end
        self._refused: list[str] = []
        self._usage: Usage | None = None
        self._usage_known = False
        self._tier: str | None = None
        self._finished: Finished | None = None

    def feed(self, events: Sequence[Event]) -> bytes:
        out: list[bytes] = []
        for event in self._sequencer.feed(events):
            if type(event) is BlockDelta:
                if self._prefix:
                    out.append(self._prefix + event.text + b"}}\n\n")
                else:
                    self._add(event.text, out)
            elif self._state is not _State.ENDED:
                self._take(event, out)
        return b"".join(out)

    def close(self) -> bytes:
        out: list[bytes] = []
        if self._finished is not None:
            self._end(self._finished, out)
        return b"".join(out)

    def ping(self) -> bytes:
        """A ping event; a comment before the stream's first event, which must be `message_start`."""
        if self._state is _State.RUNNING:
            return PING
        return COMMENT_KEEPALIVE if self._state is _State.EXPECTING else b""

    def _take(self, event: Event, out: list[bytes]) -> None:
        if self._state is _State.EXPECTING and not isinstance(event, Failed):
            self._begin(event if isinstance(event, Started) else Started("", ""), out)
        match event:
            case BlockOpened(block=block):
                self._open(block, out)
            case BlockClosed(proof=proof):
                self._shut(proof, out)
            case BlockNoted(citation=citation):
                if citation is not None and isinstance(self._head, Text) and own_citations((citation,)):
                    self._write_delta({"type": "citations_delta", "citation": citation}, out)
            case UsageSeen(usage=usage):
                self._usage, self._usage_known = usage, True
                if self._finished is not None:
                    self._end(self._finished, out)
            case Finished():
                self._finished = event
                if self._usage_known:
                    self._end(event, out)
            case Failed(failure=failure):
                self._state = _State.ENDED
                self._head, self._prefix, self._finished = None, b"", None
                out.append(b"event: error\ndata: %b\n\n" % render_error(failure, f"req_{self._reply.id}"))
            case _:
                pass

    def _begin(self, started: Started, out: list[bytes]) -> None:
        self._state = _State.RUNNING
        self._usage, self._tier = started.usage, started.service_tier
        message = {
            **write_head(started.id, self._reply),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(started.usage, self._reply, None, started.service_tier),
        }
        _write_event("message_start", {"message": message}, out)

    def _open(self, block: object, out: list[bytes]) -> None:
        self._head, self._shown, self._prefix = block, False, b""
        self._texts.clear()
        match block:
            case Text():
                self._show({"type": "text", "text": ""}, out)
                self._prefix = self._delta_prefix("text_delta", "text")
            case ToolCall(id=identifier, name=name):
                self._show({"type": "tool_use", "id": identifier, "name": name, "input": {}}, out)
                self._prefix = self._delta_prefix("input_json_delta", "partial_json")
            case Refusal():
                self._show({"type": "text", "text": ""}, out)
            case ServerTool(dialect=dialect, raw=raw) | Opaque(dialect=dialect, raw=raw) if dialect == NAME:
                self._show_whole(raw, out)
            case _:
                pass  # reasoning waits for its text, and other blocks have no form here

    def _add(self, text: bytes, out: list[bytes]) -> None:
        """A delta of a block that needs care."""
        match self._head:
            case Reasoning():
                self._show({"type": "thinking", "thinking": "", "signature": ""}, out)
                self._prefix = self._delta_prefix("thinking_delta", "thinking")
                out.append(self._prefix + text + b"}}\n\n")
            case Refusal():
                self._texts.append(text)
                out.append(self._delta_prefix("text_delta", "text") + text + b"}}\n\n")
            case Compaction():
                self._texts.append(text)
            case _:
                pass

    def _shut(self, proof: Proof | None, out: list[bytes]) -> None:
        head, self._head, self._prefix = self._head, None, b""
        match head:
            case Reasoning():
                self._sign(proof or head.proof, out)
            case Refusal():
                self._refused.append(text_of(join(self._texts)))
            case Compaction():
                self._show({"type": "compaction", "content": None}, out)
                self._write_delta(_compaction_delta(text_of(join(self._texts)), proof), out)
            case _:
                pass
        if self._shown:
            out.append(b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % self._index)
            self._index += 1
            self._shown = False

    def _sign(self, proof: Proof | None, out: list[bytes]) -> None:
        """The signature of the open reasoning block; or the whole block, if it never had text."""
        own = proof is not None and proof.dialect == NAME and proof.originals
        if self._shown:
            signature = _signature_of(proof.originals[0]) if proof and own else seal_reasoning(proof)
            self._write_delta({"type": "signature_delta", "signature": signature}, out)
        elif proof and own:
            for original in proof.originals[:-1]:
                self._show_whole(original, out)
                self._shut(None, out)
            self._show_whole(proof.originals[-1], out)
        elif proof:
            self._show({"type": "redacted_thinking", "data": seal(proof)}, out)

    def _end(self, finished: Finished, out: list[bytes]) -> None:
        self._state, self._finished = _State.ENDED, None
        stop = write_stop(
            finished.finish_reason,
            finished.raw_finish_reason,
            finished.stop_sequence,
            finished.stop_detail,
            refused=self._refused,
        )
        extras = {name: finished.extras[name] for name in RESPONSE_EXTRAS if name in finished.extras}
        if "container" in extras:
            stop["container"] = extras.pop("container")
        usage = write_usage(self._usage, self._reply, finished.extras, self._tier)
        _write_event("message_delta", {"delta": stop, "usage": usage, **extras}, out)
        _write_event("message_stop", {}, out)

    def _show(self, block: Any, out: list[bytes]) -> None:
        self._shown = True
        _write_event("content_block_start", {"index": self._index, "content_block": block}, out)

    def _show_whole(self, raw: bytes, out: list[bytes]) -> None:
        """A block of this dialect's own; the input of a server's call travels in a delta, as everywhere."""
        fields = fields_decoder.decode(raw)
        arguments = bytes(fields.get("input", b""))
        if not arguments:
            self._show(fields, out)
            return
        self._show({**fields, "input": {}}, out)
        self._write_delta({"type": "input_json_delta", "partial_json": arguments.decode()}, out)

    def _write_delta(self, delta: dict[str, Any], out: list[bytes]) -> None:
        _write_event("content_block_delta", {"index": self._index, "delta": delta}, out)

    def _delta_prefix(self, kind: str, field: str) -> bytes:
        """A delta's sse event up to its text; `}}` and the blank line follow it."""
        return (
            f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":{self._index},'
            f'"delta":{{"type":"{kind}","{field}":'
        ).encode()


def _write_event(name: str, fields: dict[str, Any], out: list[bytes]) -> None:
    out.append(b"event: %b\ndata: %b\n\n" % (name.encode(), encode_body({"type": name, **fields})))


def _text_field(fields: Fields, name: str) -> str:
    """A text among raw fields; numbers count as text, for some servers number their calls."""
    raw = fields.get(name)
    value = msgspec.json.decode(raw) if raw is not None else None
    return str(value) if isinstance(value, str | int) else ""


def _prove(block: _WireBlock) -> Proof | None:
    """The proof of a reasoning block. One that another gateway of this kind sealed is taken out of its envelope."""
    signature = text_of(block.signature) if block.signature[:1] == b'"' else ""
    if not signature:
        return None
    if is_sealed(signature):
        return unseal(signature)
    fields = block.fields | {"thinking": msgspec.Raw(join(block.texts)), "signature": msgspec.Raw(block.signature)}
    return Proof(NAME, "thinking", (thinking_block(fields),))


def _signature_of(original: bytes) -> str:
    return _text_field(fields_decoder.decode(original), "signature")


def _compaction_delta(text: str, proof: Proof | None) -> dict[str, Any]:
    """A native compaction gets its own fields back, a foreign one travels sealed."""
    delta: dict[str, Any] = {"type": "compaction_delta", "content": text or None}
    if proof is None:
        return delta
    if proof.dialect == NAME and proof.originals:
        original = fields_decoder.decode(proof.originals[0])
        return delta | {name: value for name, value in original.items() if name not in ("type", "content")}
    return delta | {"encrypted_content": seal(proof)}


def _ignore(name: str, raw: msgspec.Raw) -> None:
    """Unknown fields of a response's blocks are for newer clients than any translation serves."""
