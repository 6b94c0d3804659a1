"""This file is what a request or reply with Anthropic Messages on both sides still needs: patches and repairs.

Bytes that need nothing pass as they are. A request is searched for the few words that trouble hides behind, and taken
apart only down to the block that needs a change; every other block keeps its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities, Reply
from app.conversation.envelope import is_sealed
from app.conversation.losses import Loss
from app.conversation.response import Usage
from app.dialects.anthropic_messages.errors import render_error
from app.dialects.anthropic_messages.response import read_usage
from app.dialects.anthropic_messages.stream import PING
from app.dialects.contract import Rendered
from app.dialects.json_bodies import (
    Fields,
    encode_body,
    fields_decoder,
    list_decoder,
    read_body,
    read_value,
    replace_model,
)
from app.errors import Failure, InvalidRequest, Unsupported, UpstreamCut
from app.sse import COMMENT_KEEPALIVE, SseDecoder, encode_event

BILLING_PREFIX = "x-anthropic-billing-header"

# A body without any of these holds nothing that a patch would change.
_THINKING_BLOCK = re.compile(rb'"(?:redacted_)?thinking"\s*[,}]')
_EMPTY_TEXT = re.compile(rb'"text"\s*:\s*""')


class _BlockHead(msgspec.Struct):
    """What decides whether a block may stay."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    cache_control: Any = None


_head_decoder = msgspec.json.Decoder(_BlockHead)
_thinking_decoder = msgspec.json.Decoder(dict[str, Any] | None)
_integer_decoder = msgspec.json.Decoder(int)
_event_decoder = msgspec.json.Decoder(dict[str, Any])


def patch_request(body: bytes, capabilities: Capabilities) -> Rendered:
    """A client's body for an upstream of the same dialect: its model name, and repairs where the body needs them.

    Dropped: reasoning that Claude did not sign, empty texts, cache hints on reasoning, the billing line of Claude Code
    for others than the vendor. Raises Unsupported for a `thread` that nobody there holds, InvalidRequest for a body
    that had to be taken apart and could not be.
    """
    losses: list[Loss] = []
    if _needs_patch(body, capabilities):
        fields = read_body(body)
        patched = _patch_fields(dict(fields), capabilities, losses)
        if patched != fields:
            body = encode_body(patched)
    return Rendered(replace_model(body, capabilities.model) if capabilities.model else body, {}, tuple(losses))


def repair_response(body: bytes, reply: Reply, capabilities: Capabilities) -> bytes:
    """An upstream's whole answer with the model's name as the client knows it."""
    return replace_model(body, reply.model)


def strip_reasoning(body: bytes) -> bytes:
    """A request without any past reasoning: what is left to try when the vendor refuses a signature."""

    def drop(head: _BlockHead, raw: msgspec.Raw) -> msgspec.Raw | None:
        return None if head.type in ("thinking", "redacted_thinking") else raw

    fields = read_body(body)
    losses: list[Loss] = []
    fields["messages"] = _patch_messages(fields["messages"], {"assistant": drop})
    _stop_thinking(fields, losses)
    return encode_body(fields)


# Gives a block back as it is or changed, or None to drop it.
_BlockPatch = Callable[[_BlockHead, msgspec.Raw], msgspec.Raw | None]


def _needs_patch(body: bytes, capabilities: Capabilities) -> bool:
    return (
        _THINKING_BLOCK.search(body) is not None
        or _EMPTY_TEXT.search(body) is not None
        or (not capabilities.keep_billing and BILLING_PREFIX.encode() in body)
        or (not capabilities.first_party and b'"thread"' in body)
        or capabilities.reasoning_required
        or capabilities.max_output is not None
        or bool(capabilities.refused_fields or capabilities.extra_body)
    )


def _patch_fields(fields: Fields, capabilities: Capabilities, losses: list[Loss]) -> Fields:
    if "thread" in fields and not capabilities.first_party and bytes(fields["thread"]) != b"null":
        raise Unsupported("thread: this upstream holds no conversations; send the whole history", param="thread")
    if "system" in fields and not capabilities.keep_billing:
        _drop_billing(fields)
    if "messages" in fields:
        patch = _keep_unsigned if capabilities.reasoning_required else _keep_signed
        fields["messages"] = _patch_messages(fields["messages"], {"assistant": patch, "user": _keep_spoken})
        if capabilities.reasoning_required:
            fields["messages"] = _add_reasoning(fields["messages"])
        else:
            _stop_thinking(fields, losses)
    if capabilities.max_output is not None and "max_tokens" in fields:
        _clamp(fields, capabilities.max_output, losses)
    for name in capabilities.refused_fields:
        if fields.pop(name, None) is not None:
            losses.append(Loss("D", name, "the upstream refuses this field"))
    for name, value in capabilities.extra_body.items():
        fields[name] = msgspec.Raw(msgspec.json.encode(value))
    return fields


def _drop_billing(fields: Fields) -> None:
    """Remove Claude Code's line with a hash of each request, which would spoil every prefix cache."""
    system = fields["system"]
    if BILLING_PREFIX.encode() not in bytes(system):
        return
    if bytes(system).startswith(b'"'):
        first, _, rest = msgspec.json.decode(system, type=str).partition("\n")
        kept: Any = rest.lstrip("\n") if first.startswith(BILLING_PREFIX) else None
    else:
        raws = read_value(system, list_decoder, "system")
        kept = [raw for raw in raws if not (_head_of(raw).text or "").startswith(BILLING_PREFIX)]
        kept = None if len(kept) == len(raws) else kept
    if kept:
        fields["system"] = msgspec.Raw(msgspec.json.encode(kept))
    elif kept is not None:
        del fields["system"]


def _patch_messages(messages: msgspec.Raw, patches: dict[str, _BlockPatch]) -> msgspec.Raw:
    """Messages after the patch of their role; one that loses its last block goes, untouched ones keep their bytes."""
    kept: list[Any] = []
    changed = False
    for index, raw in enumerate(read_value(messages, list_decoder, "messages")):
        path = f"messages[{index}]"
        fields = read_value(raw, fields_decoder, path)
        patch = patches.get(bytes(fields.get("role", b"")).decode().strip('"'))
        content = fields.get("content")
        if patch is None or content is None or not bytes(content).startswith(b"["):
            kept.append(raw)
            continue
        blocks = read_value(content, list_decoder, f"{path}.content")
        patched = [new for block in blocks if (new := patch(_head_of(block), block)) is not None]
        if patched == blocks:
            kept.append(raw)
            continue
        changed = True
        if patched:
            kept.append({**fields, "content": patched})
    return msgspec.Raw(msgspec.json.encode(kept)) if changed else messages


def _head_of(raw: msgspec.Raw) -> _BlockHead:
    """A block of unexpected shape is none of ours to judge; the upstream will."""
    try:
        return _head_decoder.decode(raw)
    except (msgspec.ValidationError, RecursionError):
        return _BlockHead()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the request body is not valid JSON: {error}") from error


def _keep_spoken(head: _BlockHead, raw: msgspec.Raw) -> msgspec.Raw | None:
    return None if head.type == "text" and head.text == "" else raw


def _keep_signed(head: _BlockHead, raw: msgspec.Raw) -> msgspec.Raw | None:
    """For Claude: its own reasoning only, without cache hints, and no empty text."""
    match head.type:
        case "thinking" if not head.signature or is_sealed(head.signature):
            return None
        case "redacted_thinking" if head.data is not None and is_sealed(head.data):
            return None
        case "thinking" | "redacted_thinking" if head.cache_control is not None:
            return _without(raw, "cache_control")
        case _:
            return _keep_spoken(head, raw)


def _keep_unsigned(head: _BlockHead, raw: msgspec.Raw) -> msgspec.Raw | None:
    """For servers that want all reasoning back, signed or not; only our own seals are nothing to them."""
    if head.type == "thinking" and is_sealed(head.signature or ""):
        return _without(raw, "signature", "cache_control")
    if head.type == "redacted_thinking" and is_sealed(head.data or ""):
        return None
    if head.type == "thinking" and head.cache_control is not None:
        return _without(raw, "cache_control")
    return _keep_spoken(head, raw)


def _without(raw: msgspec.Raw, *names: str) -> msgspec.Raw:
    fields = fields_decoder.decode(raw)
    return msgspec.Raw(msgspec.json.encode({name: value for name, value in fields.items() if name not in names}))


def _add_reasoning(messages: msgspec.Raw) -> msgspec.Raw:
    """Give each turn with a call at least empty reasoning, without which DeepSeek and Kimi refuse the history."""
    turns: list[Any] = list_decoder.decode(messages)
    changed = False
    for index, raw in enumerate(turns):
        types = _assistant_types(raw)
        if "tool_use" in types and "thinking" not in types:
            fields = fields_decoder.decode(raw)
            blocks = list_decoder.decode(fields["content"])
            turns[index] = {**fields, "content": [{"type": "thinking", "thinking": ""}, *blocks]}
            changed = True
    return msgspec.Raw(msgspec.json.encode(turns)) if changed else messages


def _stop_thinking(fields: Fields, losses: list[Loss]) -> None:
    """Manual thinking demands that a tool loop's last turn begins with reasoning; where none is left, do without."""
    if "thinking" not in fields:
        return
    thinking = read_value(fields["thinking"], _thinking_decoder, "thinking") or {}
    if thinking.get("type") != "enabled":
        return
    for raw in reversed(list_decoder.decode(fields["messages"])):
        if types := _assistant_types(raw):
            if "tool_use" in types and types[0] not in ("thinking", "redacted_thinking"):
                del fields["thinking"]
                losses.append(Loss("W", "thinking", "the history no longer holds the reasoning of its last turn"))
            return


def _assistant_types(raw: msgspec.Raw) -> list[str]:
    """The types of the blocks of an assistant's turn; none for others' turns and plain texts."""
    fields = fields_decoder.decode(raw)
    content = fields.get("content")
    if bytes(fields.get("role", b"")) != b'"assistant"' or content is None or not bytes(content).startswith(b"["):
        return []
    return [_head_of(block).type for block in list_decoder.decode(content)]


def _clamp(fields: Fields, limit: int, losses: list[Loss]) -> None:
    asked = read_value(fields["max_tokens"], _integer_decoder, "max_tokens")
    if asked > limit:
        fields["max_tokens"] = msgspec.Raw(str(limit).encode())
        losses.append(Loss("W", "max_tokens", f"the model answers with {limit} tokens at most"))


class StreamPassthrough:
    """A stream whose bytes pass; only its first event is looked into, for the model's name, and its last ones.

    What an upstream may have got wrong and is repaired: events without their name, line ends other than LF.
    """

    def __init__(self, reply: Reply, capabilities: Capabilities) -> None:
        self._reply = reply
        self._tail = b""  # an event that is not whole yet
        self._started = False
        self._failed = False
        self._decoder: SseDecoder | None = None  # set once events must be framed anew
        self._counts: dict[str, Any] = {}
        self.usage: Usage | None = None
        self.finished = False

    def feed(self, part: bytes) -> bytes:
        if self._decoder is not None:
            return self._pass(self._frame(self._decoder.feed(part)))
        if self._tail:
            part, self._tail = self._tail + part, b""
        if b"\r" in part or part.startswith(b"data:") or b"\n\ndata:" in part:
            self._decoder = SseDecoder()
            return self._pass(self._frame(self._decoder.feed(part)))
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
            out = self._pass(self._frame(self._decoder.close()))
        elif self._tail:
            out, self._tail = self._pass(self._tail.rstrip(b"\n") + b"\n\n"), b""
        if self.finished or self._failed:
            return out
        return out + self.fail(UpstreamCut("the upstream's stream ended before it was complete", began=True).failure)

    def fail(self, failure: Failure) -> bytes:
        if self.finished or self._failed:
            return b""
        self._failed, self._tail = True, b""
        return encode_event(render_error(failure, f"req_{self._reply.id}"), "error")

    def ping(self) -> bytes:
        if self.finished or self._failed:
            return b""
        return PING if self._started else COMMENT_KEEPALIVE

    def _pass(self, events: bytes) -> bytes:
        """Whole events, after a look at those that matter."""
        if not self._started and b"message_start" in events:
            events = self._begin(events)
        if b"message_delta" in events or b"message_stop" in events or b"event: error" in events:
            self._look(events)
        return events

    def _begin(self, events: bytes) -> bytes:
        """Put the client's name of the model into `message_start`, and note the usage there."""
        for data in SseDecoder().feed(events):
            event = _decode_event(data)
            if event.get("type") != "message_start" or not isinstance(event.get("message"), dict):
                continue
            self._started = True
            self._note_usage(event["message"].get("usage"))
            message = bytes(fields_decoder.decode(data)["message"])
            return events.replace(message, replace_model(message, self._reply.model), 1)
        return events

    def _look(self, events: bytes) -> None:
        for data in SseDecoder().feed(events):
            if b"message_" not in data and b'"error"' not in data:
                continue
            event = _decode_event(data)
            match event.get("type"):
                case "message_delta":
                    self._note_usage(event.get("usage"))
                case "message_stop":
                    self.finished = True
                case "error":
                    self._failed = True

    def _note_usage(self, counts: Any) -> None:
        if isinstance(counts, dict):
            self._counts |= {name: value for name, value in counts.items() if value is not None}
            self.usage = read_usage(self._counts)

    def _frame(self, payloads: list[bytes]) -> bytes:
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
