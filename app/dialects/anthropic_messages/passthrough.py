"""Passes replies of the same dialect: sets the model's name and repairs errors.

All other bytes pass unchanged.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Any, Literal

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.literals import hide_halves
from app.conversation.response import Usage
from app.dialects.anthropic_messages.errors import parse_stream_error, render_error
from app.dialects.anthropic_messages.grammar import Grammar
from app.dialects.anthropic_messages.stream_parser import FAILED
from app.dialects.anthropic_messages.stream_renderer import PING
from app.dialects.anthropic_messages.usage import merge_usage, read_usage
from app.dialects.error_kinds import decode_error
from app.dialects.json_bodies import replace_model
from app.dialects.malformed import malformed
from app.dialects.rewriting import Rewriter
from app.dialects.runs import RunReader, join_events, last_event
from app.errors import Failure, UpstreamCut, UpstreamRefused
from app.json_values import UNREADABLE, fields_decoder, object_decoder
from app.known_secrets import known_secrets
from app.sse import COMMENT_KEEPALIVE, SseDecoder, encode_event, read_events

_DELTA = b"event: content_block_delta"

_END = b"event: message_delta"
_MAX_LEADING = 4096


class _State(Enum):
    EXPECTING = auto()
    RUNNING = auto()
    ENDED = auto()


# Prefixes of the vendor's own events. Others may contain anything, so secrets in them are masked.
_KNOWN = (b"event: message_", b"event: content_block_", b"event: ping\n")
# An event without a name, or with the default one, by which no client knows it.
_UNNAMED = re.compile(rb"\n\ndata:|(?:^|\n)event: ?message\n")
_PING = re.compile(rb"event: ping\n(?:data:[^\n]{0,200}\n)?\n")


class StreamPassthrough:
    """A stream whose bytes pass; only the first event, for the model's name, and events that begin or end something are
    decoded.

    Repairs events without a name and line ends other than LF. From the first event that is out of order, the stream is
    rewritten. A failure before the first event raises UpstreamRefused, because it can still become an HTTP status or
    another attempt.
    """

    def __init__(self, context: RenderContext, capabilities: Capabilities) -> None:
        self._context = context
        self._state = _State.EXPECTING
        self._grammar = Grammar()
        self._rewriter: Rewriter | None = None  # set once the rest is rewritten
        self._leading = b""  # bytes before the first event
        self._ending: list[bytes] = []  # events from the one that names the end, until the last
        self._events = SseDecoder(context.max_event)
        self._runs = RunReader()
        self._nameless = False  # events must be named by their payloads
        self._counts: dict[str, Any] = {}
        self._reason: object = None  # why the answer ended
        self.usage: Usage | None = None
        self._stopped = False  # the last event has come
        self.failed: Failure | None = None
        self.finished = False  # the end was named; the last event may still be missing

    def run(self, part: bytes) -> tuple[bytes, bytes]:
        frame = self._runs.frame
        texts, rest = self._runs.take(part, self._events.unfinished)
        if not texts or frame is None:
            return b"", part
        events = frame.write(texts)
        return (events if self._grammar.continues_all(texts) else self.feed(events)), rest

    def feed(self, part: bytes) -> bytes:
        whole = self._events.take(part)
        if not whole:
            return b""
        out = self._pass(whole)
        if not self._runs.tired:
            event = last_event(whole)
            passes = self._state is _State.RUNNING and self._rewriter is None and out.endswith(event)
            self._runs.learn(event, _text_of(event) if passes and not self._events.after_cr else None)
        return out

    def close(self) -> bytes:
        rest = self._events.unfinished.drain().rstrip(b"\n")
        out = self._pass(rest + b"\n\n") if rest else b""
        if self._state is _State.RUNNING and self._reason is not None:
            out += join_events(self._ending) + self._end()  # some servers omit the last event
        if self._stopped and self._rewriter is not None:
            out += self._rewriter.close()
        if self._state is _State.ENDED:
            return out
        cut = UpstreamCut("the upstream's stream ended before it was complete", began=True).failure
        if self._state is _State.EXPECTING:
            self._state = _State.ENDED
            raise UpstreamRefused(cut)
        return out + self.fail(cut)

    def fail(self, failure: Failure) -> bytes:
        if self._state is _State.ENDED:
            return b""
        self._events.unfinished.drain()
        if self._reason is not None and failure.origin == "upstream":
            return self.close()
        return self._break(failure)

    def ping(self) -> bytes:
        if self._state is _State.RUNNING:
            return PING
        return COMMENT_KEEPALIVE if self._state is _State.EXPECTING else b""

    def _end(self) -> bytes:
        """The last event, for an upstream that reported the stop reason and nothing after it."""
        self._stopped = self.finished = True
        self._state = _State.ENDED
        return encode_event(b'{"type":"message_stop"}', "message_stop") if self._rewriter is None else b""

    def _pass(self, events: bytes) -> bytes:
        """Whole events, after a check of those that matter."""
        if self._state is _State.ENDED and not self._stopped:
            return b""  # nothing may follow an error
        if self._rewriter is not None:
            return self._rewrite(read_events(events))
        expecting = self._state is _State.EXPECTING
        if self._nameless or events.startswith(b"data:") or (expecting and _UNNAMED.search(events) is not None):
            self._nameless = True
            events = _frame(read_events(events))
        return self._look(self._begin(events) if expecting else events)

    def _begin(self, events: bytes) -> bytes:
        """The stream so far, with the client's name of the model, once its first event has arrived."""
        payloads = read_events(events)
        events, self._leading = self._leading + events, b""
        for data in payloads:
            event = _decode_event(data)
            match event.get("type"):
                case "error":
                    self._state = _State.ENDED
                    raise UpstreamRefused(parse_stream_error(event.get("error"), data))
                case "message_start":
                    self._state = _State.RUNNING
                    message = event.get("message")
                    if not isinstance(message, dict):
                        return events
                    self._note_usage(message.get("usage"))
                    raw = bytes(fields_decoder.decode(data)["message"])
                    before, name, after = events.partition(b"event: message_start\n")
                    before = known_secrets.mask_bytes(before)
                    events = _PING.sub(b"", before) + name + after  # clients expect no event before message_start
                    return events.replace(raw, replace_model(raw, self._context.model), 1)
                case "ping":
                    continue
                case None:
                    if (failure := _fault_of(data)) is not None:
                        self._state = _State.ENDED
                        raise UpstreamRefused(failure)
                case _:
                    self._state = _State.RUNNING
                    return events
        # Comments are passed on; anything else before the first event is useless to clients.
        self._leading = events if len(events) <= _MAX_LEADING else b""
        return b""

    def _look(self, events: bytes) -> bytes:
        """The events up to the first that is out of order, and the rewritten rest."""
        blocks = events.split(b"\n\n")
        odd = False
        for position, block in enumerate(blocks):
            is_delta = block.startswith(_DELTA)
            ordered = is_delta and self._grammar.continues(block)
            if ordered and block.endswith(b"}"):
                continue
            payloads = read_events(block + b"\n\n")
            decoded = [_decode_event(data) for data in payloads]
            if not is_delta:
                ordered = all(map(self._grammar.allows, payloads, decoded))
            if not block:
                continue
            if self._state is _State.ENDED:  # nothing may follow
                return join_events(blocks[:position])
            if not ordered:
                return join_events(blocks[:position]) + self._turn(blocks[position:])
            if block.startswith(b"{"):  # without the fields of an event
                block = _frame(payloads)[:-2]
            if (failure := self._read(payloads, decoded)) is not None:
                return join_events(blocks[:position]) + self.fail(failure)
            passed = self._hold_end(block if block.startswith(_KNOWN) else known_secrets.mask_bytes(block))
            if passed is not blocks[position]:
                odd = True
                blocks[position] = passed
        return (join_events(blocks[:-1]) + blocks[-1]) if odd else events

    def _read(self, payloads: list[bytes], decoded: list[dict[str, Any]]) -> Failure | None:
        """Notes what events say; returns a failure that one of them reports."""
        for data, event in zip(payloads, decoded, strict=True):
            if (failure := _failure_of(event, data, ended=self._reason is not None)) is not None:
                return failure
            self._note(event)
        return None

    def _hold_end(self, block: bytes) -> bytes:
        """The block, or nothing from the one that names the end until the last one, because more blocks may follow
        instead."""
        if not self._ending and not block.startswith(_END):
            return block
        self._ending.append(block)
        if self._state is not _State.ENDED:
            return b""
        ending, self._ending = self._ending, []
        return b"\n\n".join(ending)

    def _turn(self, blocks: list[bytes]) -> bytes:
        """Starts to rewrite the stream, beginning with these blocks."""
        self._rewriter = self._grammar.rewrite(self._context)
        self._ending = []
        return self._rewrite(read_events(join_events(blocks)))

    def _rewrite(self, payloads: list[bytes]) -> bytes:
        assert self._rewriter is not None
        failure: Failure | None = None
        for position, data in enumerate(payloads):
            event = _decode_event(data)
            failure = _failure_of(event, data, ended=self._reason is not None)
            if failure is not None:
                payloads = payloads[:position]
                break
            self._note(event)
        written = self._rewriter.feed(payloads)
        if self._rewriter.failed is not None:
            self._stopped = self.finished = False
            return written + self._break(self._rewriter.failed)
        return written if failure is None else written + self.fail(failure)

    def _break(self, failure: Failure) -> bytes:
        self._state, self.failed = _State.ENDED, failure
        return encode_event(render_error(failure, f"req_{self._context.id}"), "error")

    def _note(self, event: dict[str, Any]) -> None:
        match event.get("type"):
            case "message_delta":
                self._note_usage(event.get("usage"))
                delta = event.get("delta")
                self._reason = (delta.get("stop_reason") if isinstance(delta, dict) else None) or self._reason
                self.finished = self._reason is not None
            case "message_stop" | "message":
                self._note_usage(event.get("usage"))
                self._stopped = self.finished = True
                self._state = _State.ENDED
            case "error":
                self._state, self.failed = _State.ENDED, parse_stream_error(event.get("error"), b"")

    def _note_usage(self, counts: Any) -> None:
        if isinstance(counts, dict):
            merge_usage(self._counts, counts)
            self.usage = read_usage(self._counts)


class _Said(msgspec.Struct):
    text: msgspec.Raw = msgspec.Raw()
    thinking: msgspec.Raw = msgspec.Raw()
    partial_json: msgspec.Raw = msgspec.Raw()


class _Delta(msgspec.Struct):
    type: Literal["content_block_delta"]
    delta: _Said


_decode_delta = msgspec.json.Decoder(_Delta).decode


def _text_of(event: bytes) -> bytes | None:
    """The literal that an event adds to its block, if it does nothing else."""
    try:
        delta = _decode_delta(event.partition(b"\ndata: ")[2]).delta
    except UNREADABLE:
        return None
    texts = [raw for raw in (delta.text, delta.thinking, delta.partial_json) if len(raw)]
    return bytes(texts[0]) if len(texts) == 1 and bytes(texts[0]).startswith(b'"') else None


def _frame(payloads: list[bytes]) -> bytes:
    """Events named by the type in their payloads."""
    out = []
    for data in payloads:
        name = _decode_event(data).get("type")
        if isinstance(name, str):
            out.append(encode_event(data.replace(b"\n", b" "), name))
        elif _fault_of(data) is not None:
            out.append(encode_event(data.replace(b"\n", b" ")))
    return b"".join(out)


def _failure_of(event: dict[str, Any], data: bytes, *, ended: bool) -> Failure | None:
    """The failure that an event reports, unless it can pass: clients can read it, and the answer had not `ended`."""
    match event.get("type"):
        case None:
            return _fault_of(data)
        case "error":
            match event.get("error"):
                case {"type": str(), "message": str(message)} as error if not ended:
                    failure = parse_stream_error(error, data)
                    # agents recognize a full context by the vendor's words alone
                    return (
                        failure if failure.kind == "context_overflow" and "prompt is too long" not in message else None
                    )
                case error:
                    return parse_stream_error(error, data)
        case str(kind) if kind.endswith(FAILED):
            return decode_error(data)
        case _:
            return None


def _fault_of(data: bytes) -> Failure | None:
    """The failure that a payload without a type means; None if it says nothing."""
    if data.strip() in (b"", b"{}", b"[DONE]") or hide_halves(data) != data:
        return None
    return decode_error(data) or malformed("an event", data).failure


def _decode_event(data: bytes) -> dict[str, Any]:
    try:
        return object_decoder.decode(data)
    except UNREADABLE:
        return {}
