"""This file is what a request or reply with Anthropic Messages on both sides still needs: patches and repairs.

Bytes that need nothing pass as they are. An outline of the request, one fast pass, tells whether it holds trouble; only
then it is taken apart, down to the block that needs a change, and every other block keeps its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities, Reply
from app.conversation.envelope import is_sealed
from app.conversation.literals import hide_halves
from app.conversation.losses import Loss
from app.conversation.response import Usage
from app.dialects.anthropic_messages.errors import parse_stream_error, render_error
from app.dialects.anthropic_messages.response import read_usage
from app.dialects.anthropic_messages.sse_events import PING
from app.dialects.anthropic_messages.vocabulary import NAME
from app.dialects.contract import Rendered
from app.dialects.error_bodies import read_error_body
from app.dialects.json_bodies import (
    Fields,
    encode_body,
    fields_decoder,
    list_decoder,
    read_body,
    read_value,
    repair_surrogates,
    replace_model,
)
from app.errors import Failure, Unsupported, UpstreamCut, UpstreamMalformed, UpstreamRefused
from app.sse import COMMENT_KEEPALIVE, SseDecoder, encode_event

BILLING_PREFIX = "x-anthropic-billing-header"

# A stream's last events stand within this many bytes of the end of a read.
TAIL = 4096

_EMPTY = b'""'
_EMPTY_TEXT = re.compile(rb'"text"\s*:\s*""')
_REASONING = ("thinking", "redacted_thinking")


class _State(Enum):
    EXPECTING = auto()
    RUNNING = auto()
    ENDED = auto()


class _Head(msgspec.Struct):
    """What decides whether a block may stay; the rest of it is skipped, not decoded."""

    type: str = ""
    text: msgspec.Raw = msgspec.Raw()
    signature: str | None = None
    data: str | msgspec.UnsetType | None = msgspec.UNSET
    cache_control: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()


class _Turn(msgspec.Struct):
    role: str = ""
    content: str | list[_Head] | None = None


class _Thinking(msgspec.Struct):
    type: str = ""


class _Outline(msgspec.Struct):
    """A request as far as trouble hides in it."""

    thread: msgspec.Raw = msgspec.Raw()
    system: msgspec.Raw = msgspec.Raw()
    thinking: _Thinking | None = None
    max_tokens: int | None = None
    messages: list[_Turn] = []


_outline_decoder = msgspec.json.Decoder(_Outline)
_head_decoder = msgspec.json.Decoder(_Head)
_turn_decoder = msgspec.json.Decoder(_Turn)
_text_decoder = msgspec.json.Decoder(str)
_event_decoder = msgspec.json.Decoder(dict[str, Any])


def patch_request(body: bytes, capabilities: Capabilities) -> Rendered:
    """A client's body for an upstream of the same dialect: its model name, and repairs where the body needs them.

    Dropped: reasoning that the upstream did not sign, empty texts, cache hints on reasoning, the billing line of Claude
    Code for others than the vendor. Replaced: escaped halves of surrogate pairs, for which the vendor refuses a body.
    Raises Unsupported for a `thread`, where the upstream holds none.
    """
    losses: list[Loss] = []
    outline = _read_outline(body)
    if outline is None:
        body = repair_surrogates(body)
        outline = _read_outline(body) or _Outline()  # a body of an unexpected shape is the upstream's to judge
    if _needs_patch(outline, capabilities):
        body = encode_body(_patch_fields(read_body(body), outline, capabilities, losses))
    return Rendered(replace_model(body, capabilities.model) if capabilities.model else body, {}, tuple(losses))


def repair_response(body: bytes, reply: Reply, capabilities: Capabilities) -> bytes:
    """An upstream's whole answer with the model's name as the client knows it.

    Raises UpstreamRefused for an error that came with status 200, UpstreamMalformed for what is no JSON object.
    """
    try:
        error = _verdict_decoder.decode(hide_halves(body)).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as reason:
        said = read_error_body(200, {}, body).message[:300]
        raise UpstreamMalformed(f"the upstream sent something else than a message: {said}") from reason
    if error:
        raise UpstreamRefused(parse_stream_error(error))
    return replace_model(body, reply.model)


class _Verdict(msgspec.Struct):
    error: Any = None


_verdict_decoder = msgspec.json.Decoder(_Verdict)


def _read_outline(body: bytes) -> _Outline | None:
    try:
        return _outline_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _needs_patch(outline: _Outline, capabilities: Capabilities) -> bool:
    judge = _Judge(capabilities)
    return (
        (not capabilities.first_party and bool(bytes(outline.thread)))
        or (not capabilities.keep_billing and BILLING_PREFIX.encode() in bytes(outline.system))
        or _is_above(outline.max_tokens, capabilities.max_output)
        or bool(capabilities.refused_fields or capabilities.extra_body)
        or _has_empty(outline.system)
        or any(judge.objects_to(turn) for turn in outline.messages)
        or _lacks_lead(outline.messages, outline.thinking)
    )


class _Judge:
    """Decides about blocks, by what the upstream does with reasoning.

    Claude takes only what it signed itself. Servers that demand reasoning back take any, but our own seals are nothing
    to them.
    """

    def __init__(self, capabilities: Capabilities) -> None:
        self._required = capabilities.reasoning_required
        self._signed = NAME in capabilities.proofs

    def objects_to(self, turn: _Turn) -> bool:
        blocks = turn.content
        if not isinstance(blocks, list):
            return False
        if turn.role == "assistant" and self._required and _lacks_reasoning(blocks):
            return True
        return any(not self.may_stay(block) or self.unwanted_fields(block) or _holds_empty(block) for block in blocks)

    def may_stay(self, block: _Head) -> bool:
        match block.type:
            case "text":
                return bytes(block.text) != _EMPTY
            case "thinking":
                return self._required or (
                    self._signed and bool(block.signature) and not is_sealed(block.signature or "")
                )
            case "redacted_thinking":
                sealed = isinstance(block.data, str) and is_sealed(block.data)
                return not sealed and (self._required or self._signed)
            case _:
                return True

    def unwanted_fields(self, block: _Head) -> tuple[str, ...]:
        """Fields that must not go along with a block that may stay."""
        if block.type not in _REASONING:
            return ()
        sealed = ("signature",) if is_sealed(block.signature or "") else ()
        return (*sealed, "cache_control") if bytes(block.cache_control) else sealed


def _holds_empty(block: _Head) -> bool:
    """Whether a tool's result is a list with empty texts in it; a result as a string may be empty."""
    return block.type == "tool_result" and bytes(memoryview(block.content)[:1]) == b"[" and _has_empty(block.content)


def _has_empty(texts: msgspec.Raw) -> bool:
    return _EMPTY_TEXT.search(memoryview(texts)) is not None


def _lacks_reasoning(content: str | list[_Head] | None) -> bool:
    types = {block.type for block in content} if isinstance(content, list) else ()
    return "tool_use" in types and "thinking" not in types


def _lacks_lead(turns: Sequence[_Turn], thinking: _Thinking | None) -> bool:
    """Whether manual thinking is on, but the last turn of a tool loop does not begin with reasoning, as it must."""
    if thinking is None or thinking.type != "enabled":
        return False
    for turn in reversed(turns):
        if turn.role == "assistant" and isinstance(turn.content, list) and turn.content:
            called = any(block.type == "tool_use" for block in turn.content)
            return called and turn.content[0].type not in _REASONING
    return False


def _is_above(asked: int | None, limit: int | None) -> bool:
    return asked is not None and limit is not None and asked > limit


def _patch_fields(fields: Fields, outline: _Outline, capabilities: Capabilities, losses: list[Loss]) -> Fields:
    if not capabilities.first_party and bytes(fields.get("thread", b"null")) != b"null":
        raise Unsupported("thread: this upstream holds no conversations; send the whole history", param="thread")
    if not capabilities.keep_billing and BILLING_PREFIX.encode() in bytes(outline.system):
        _drop_billing(fields)
    if "system" in fields and _has_empty(fields["system"]):
        fields["system"] = _without_empty(fields["system"])
        if bytes(fields["system"]) == b"[]":
            del fields["system"]
    if _is_above(outline.max_tokens, capabilities.max_output):
        fields["max_tokens"] = msgspec.Raw(str(capabilities.max_output).encode())
        losses.append(Loss("W", "max_tokens", f"the model answers with {capabilities.max_output} tokens at most"))
    if outline.messages:
        _patch_messages(fields, capabilities)
        turns = _outline_decoder.decode(msgspec.json.encode({"messages": fields["messages"]})).messages
        if not capabilities.reasoning_required and _lacks_lead(turns, outline.thinking):
            del fields["thinking"]
            losses.append(Loss("W", "thinking", "the history no longer holds the reasoning of its last turn"))
    for name in capabilities.refused_fields:
        if fields.pop(name, None) is not None:
            losses.append(Loss("D", name, "the upstream refuses this field"))
    for name, value in capabilities.extra_body.items():
        fields[name] = msgspec.Raw(msgspec.json.encode(value))
    return fields


def _drop_billing(fields: Fields) -> None:
    """Remove Claude Code's line with a hash of each request, which would spoil every prefix cache."""
    system = fields["system"]
    line = f'"{BILLING_PREFIX}'.encode()
    kept: Any
    if bytes(system).startswith(b'"'):
        first, _, rest = read_value(system, _text_decoder, "system").partition("\n")
        kept = rest.lstrip("\n") if first.startswith(BILLING_PREFIX) else None
    else:
        blocks = read_value(system, list_decoder, "system")
        spoken = [raw for raw in blocks if not bytes(_head_decoder.decode(raw).text).startswith(line)]
        kept = None if len(spoken) == len(blocks) else spoken
    if kept:
        fields["system"] = msgspec.Raw(msgspec.json.encode(kept))
    elif kept is not None:
        del fields["system"]


def _patch_messages(fields: Fields, capabilities: Capabilities) -> None:
    """Put judged messages in place. One that loses its last block goes; untouched ones keep their bytes."""
    judge = _Judge(capabilities)
    kept: list[Any] = []
    messages: list[msgspec.Raw] = list_decoder.decode(fields["messages"])
    for raw in messages:
        turn = _turn_decoder.decode(raw)
        if not judge.objects_to(turn):
            kept.append(raw)
            continue
        message = fields_decoder.decode(raw)
        blocks = _patch_blocks(list_decoder.decode(message["content"]), judge)
        if capabilities.reasoning_required and turn.role == "assistant" and _lacks_reasoning(turn.content):
            blocks.insert(0, msgspec.Raw(b'{"type":"thinking","thinking":""}'))
        if blocks:
            kept.append({**message, "content": blocks})
    fields["messages"] = msgspec.Raw(msgspec.json.encode(kept))


def _patch_blocks(blocks: Sequence[msgspec.Raw], judge: _Judge) -> list[msgspec.Raw]:
    kept = []
    for raw in blocks:
        block = _head_decoder.decode(raw)
        if not judge.may_stay(block):
            continue
        if unwanted := judge.unwanted_fields(block):
            fields = fields_decoder.decode(raw)
            raw = msgspec.Raw(msgspec.json.encode({name: fields[name] for name in fields if name not in unwanted}))
        if _holds_empty(block):
            fields = fields_decoder.decode(raw)
            raw = msgspec.Raw(msgspec.json.encode({**fields, "content": _without_empty(block.content)}))
        kept.append(raw)
    return kept


def _without_empty(texts: msgspec.Raw) -> msgspec.Raw:
    """A list of blocks without its empty texts; anything else as it is."""
    try:
        blocks: list[msgspec.Raw] = list_decoder.decode(texts)
        kept = [raw for raw in blocks if bytes(_head_decoder.decode(raw).text) != _EMPTY]
    except msgspec.DecodeError:
        return texts
    return msgspec.Raw(msgspec.json.encode(kept))


_PING = re.compile(rb"event: ping\n.*?\n\n", re.DOTALL)


class StreamPassthrough:
    """A stream whose bytes pass; only its first event is looked into, for the model's name, and its last ones.

    What an upstream may have got wrong and is repaired: events without their name, line ends other than LF. A failure
    before the first event raises UpstreamRefused, for it can still become an HTTP status or another attempt.
    """

    def __init__(self, reply: Reply, capabilities: Capabilities) -> None:
        self._reply = reply
        self._state = _State.EXPECTING
        self._held = b""  # what came before the first event
        self._tail = b""  # an event that is not whole yet
        self._decoder: SseDecoder | None = None  # set once events must be framed anew
        self._counts: dict[str, Any] = {}
        self.usage: Usage | None = None
        self.finished = False

    def feed(self, part: bytes) -> bytes:
        if self._decoder is not None:
            return self._pass(_frame(self._decoder.feed(part)))
        if self._tail:
            part, self._tail = self._tail + part, b""
        if b"\r" in part or part.startswith(b"data:") or (self._state is _State.EXPECTING and b"\n\ndata:" in part):
            self._decoder = SseDecoder()
            return self._pass(_frame(self._decoder.feed(part)))
        if not part.endswith(b"\n\n"):
            end = part.rfind(b"\n\n") + 2
            if end == 1:
                self._tail = part
                return b""
            part, self._tail = part[:end], part[end:]
        return self._pass(part)

    def close(self) -> bytes:
        out = b""
        if self._decoder is not None:
            out = self._pass(_frame(self._decoder.close()))
        elif self._tail:
            out, self._tail = self._pass(self._tail.rstrip(b"\n") + b"\n\n"), b""
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
        self._state, self._tail = _State.ENDED, b""
        return encode_event(render_error(failure, f"req_{self._reply.id}"), "error")

    def ping(self) -> bytes:
        if self._state is _State.RUNNING:
            return PING
        return COMMENT_KEEPALIVE if self._state is _State.EXPECTING else b""

    def _pass(self, events: bytes) -> bytes:
        """Whole events, after a look at those that matter."""
        if self._state is _State.EXPECTING:
            events = self._begin(self._held + events)
        tail = events[-TAIL:]
        if b"message_delta" in tail or b"message_stop" in tail or b"event: error" in tail:
            self._look(events)
        return events

    def _begin(self, events: bytes) -> bytes:
        """The stream up to here, once its first event is there, with the client's name of the model."""
        for data in SseDecoder().feed(events):
            event = _decode_event(data)
            match event.get("type"):
                case "error":
                    self._state = _State.ENDED
                    raise UpstreamRefused(parse_stream_error(event.get("error")))
                case "message_start":
                    self._state, self._held = _State.RUNNING, b""
                    message = event.get("message")
                    if not isinstance(message, dict):
                        return events
                    self._note_usage(message.get("usage"))
                    raw = bytes(fields_decoder.decode(data)["message"])
                    before, name, after = events.partition(b"event: message_start\n")
                    events = _PING.sub(b"", before) + name + after  # clients expect no other event before the first
                    return events.replace(raw, replace_model(raw, self._reply.model), 1)
                case "ping" | None:
                    continue
                case _:
                    self._state, self._held = _State.RUNNING, b""
                    return events
        self._held = events
        return b""

    def _look(self, events: bytes) -> None:
        """Note what the last events say; those before them are not decoded."""
        names = (b"message_delta", b"message_stop", b"error")
        last = [found for name in names if (found := events.rfind(b"event: " + name)) >= 0]
        for data in SseDecoder().feed(events[min(last, default=0) :]):
            event = _decode_event(data)
            match event.get("type"):
                case "message_delta":
                    self._note_usage(event.get("usage"))
                case "message_stop":
                    self.finished, self._state = True, _State.ENDED
                case "error":
                    self._state = _State.ENDED

    def _note_usage(self, counts: Any) -> None:
        if isinstance(counts, dict):
            self._counts |= {name: value for name, value in counts.items() if value is not None}
            self.usage = read_usage(self._counts)


def _frame(payloads: list[bytes]) -> bytes:
    """Events with the names that their payloads tell."""
    out = []
    for data in payloads:
        name = _decode_event(data).get("type")
        if isinstance(name, str):
            out.append(encode_event(data.replace(b"\n", b" "), name))
    return b"".join(out)


def _decode_event(data: bytes) -> dict[str, Any]:
    try:
        return _event_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
