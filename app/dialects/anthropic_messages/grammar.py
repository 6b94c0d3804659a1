"""Checks the order of stream events. From the first event out of order, a stream is parsed and rendered anew.

Source: Anthropic API reference, "Streaming messages".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from app.conversation.capabilities import RenderContext
from app.conversation.literals import EMPTY, NOTHING, Resent, begins_object, join
from app.dialects.anthropic_messages.response_parser import is_true_reason
from app.dialects.anthropic_messages.stream_parser import StreamParser
from app.dialects.anthropic_messages.stream_renderer import StreamRenderer
from app.dialects.json_bodies import encode_body
from app.dialects.rewriting import Rewriter
from app.json_values import UNREADABLE, decode_or_none, object_decoder

# Counts that `message_start` must contain, because clients add to them.
_COUNTS = ("input_tokens", "output_tokens")
# Stand-ins for the deltas of a block that have passed.
_DELTAS = {
    "text": {"type": "text_delta", "text": "x"},
    "thinking": {"type": "thinking_delta", "thinking": "x"},
    "tool_use": {"type": "input_json_delta", "partial_json": "x"},
}
# The types of the deltas that belong in a block. Deltas of any other block, and of types from the future, pass.
_OWN = {
    "text": (b'"text_delta"', b'"citations_delta"'),
    "thinking": (b'"thinking_delta"', b'"signature_delta"'),
    "tool_use": (b'"input_json_delta"',),
}
_INDEX = re.compile(rb'"index"\s*:\s*(\d{1,9})')


class _Arguments(msgspec.Struct):
    partial_json: msgspec.Raw


class _ArgumentsDelta(msgspec.Struct):
    delta: _Arguments


_decode_arguments = msgspec.json.Decoder(_ArgumentsDelta).decode


class Grammar:
    """Follows a stream by the events that begin and end something, and by the arguments of calls."""

    def __init__(self) -> None:
        self.open = ""  # the type of the open block
        self._started = False
        self.index = -1  # of the last block
        self._ids: set[str] = set()  # of calls
        self._arguments: list[bytes] = []  # the literals in the deltas of the open call
        self._resent = Resent()
        self._reason: str | None = None
        self._passed: list[bytes] = []

    def allows(self, payload: bytes, event: dict[str, Any]) -> bool:
        """Whether an event is in order at this point; if so, it is noted as passed. The client may know better what to
        do with an unreadable one, of which `event` is empty."""
        match event.get("type"):
            case "message_start":
                allowed = not self._started and _is_whole(_object(event, "message"))
                self._started = True
            case "content_block_start":
                block = _object(event, "content_block")
                allowed = self._started and not self.open and self._reason is None
                allowed = (
                    allowed
                    and event.get("index") == self.index + 1
                    and _is_sound(block)
                    and not self._repeats_call(block)
                )
                if allowed:
                    self.open, self.index = str(block.get("type") or "unknown"), self.index + 1
                    self._arguments, self._resent = [], Resent()
                    if self.open == "tool_use":
                        self._ids.add(block["id"])
            case "content_block_stop":
                allowed = bool(self.open) and event.get("index") == self.index
                self.open = "" if allowed else self.open
            case "message_delta":
                reason = _object(event, "delta").get("stop_reason")
                allowed = self._started and not self.open and self._reason is None  # a second one is merged
                self._reason = reason if isinstance(reason, str) else None
                allowed = allowed and is_true_reason(self._reason, called=bool(self._ids))
                allowed = allowed and isinstance(_object(event, "usage").get("output_tokens"), int)
            case "message_stop":
                allowed = self._reason is not None
            case "message":  # a whole answer
                return False
            case _:
                return True
        if allowed:
            self._passed.append(payload)
        return allowed

    def _repeats_call(self, block: dict[str, Any]) -> bool:
        call_id = block.get("id")
        return isinstance(call_id, str) and call_id in self._ids

    def continues(self, delta: bytes) -> bool:
        """Whether the event of a delta adds to the open block what belongs there; if so, it is noted as passed."""
        found = _INDEX.search(delta)
        if found is None or not self.open or int(found[1]) != self.index:
            return False
        own = _OWN.get(self.open)
        if own is None:
            return True
        payload = delta.partition(b"\ndata: ")[2]
        if own[0] not in delta and own[-1] not in delta:
            return _is_new(payload)
        return self.open != "tool_use" or self._adds_arguments(payload)

    def continues_all(self, texts: Sequence[bytes]) -> bool:
        """The same for the texts of several deltas like the last one."""
        if self.open != "tool_use":
            return True
        whole = b"".join(texts)
        if b"{" in whole and any(text.startswith(b"{") for text in texts):
            return False  # they may repeat the arguments
        self._arguments.append(b'"%b"' % whole)
        return True

    def _adds_arguments(self, payload: bytes) -> bool:
        """Whether a delta has a new piece of arguments: some servers send all of them again, or an empty object
        first."""
        try:
            piece = bytes(_decode_arguments(payload).delta.partial_json)
        except UNREADABLE:
            return False
        so_far = self._arguments
        odd = not so_far and piece != EMPTY and (piece == NOTHING or not begins_object(piece))
        if piece[:1] != b'"' or odd or self._resent.rest_of(so_far, piece) != piece:
            return False
        if piece != EMPTY:
            so_far.append(piece)
        return True

    def rewrite(self, context: RenderContext) -> Rewriter:
        """A rewriter for the rest of the stream, in the state as if it had processed the stream from the start."""
        rewriter = Rewriter(StreamParser(), StreamRenderer(context))
        for payload in self._passed:
            rewriter.feed([payload])
            event = object_decoder.decode(payload)
            if event["type"] == "content_block_start" and (delta := self._deltas_of(event)):
                rewriter.feed([encode_body({"type": "content_block_delta", "index": event["index"], "delta": delta})])
        return rewriter

    def _deltas_of(self, start: dict[str, Any]) -> dict[str, Any] | None:
        """A delta in place of those of a block that have passed: only the arguments of an open call matter later."""
        kind = str(_object(start, "content_block").get("type"))
        if kind == "tool_use" and self.open and start["index"] == self.index:
            message = join(self._arguments) if self._arguments else EMPTY
            return {"type": "input_json_delta", "partial_json": msgspec.Raw(message)}
        return _DELTAS.get(kind)


def _object(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _is_whole(message: dict[str, Any]) -> bool:
    """Whether a message has what clients add to, and says nothing itself."""
    usage = _object(message, "usage")
    return message.get("content") == [] and all(isinstance(usage.get(name), int) for name in _COUNTS)


def _is_new(payload: bytes) -> bool:
    """Whether a delta is of a type that nobody here knows."""
    kind = _object(decode_or_none(payload, object_decoder) or {}, "delta").get("type")
    return isinstance(kind, str) and not any(b'"%b"' % kind.encode() in own for own in _OWN.values())


def _is_sound(block: dict[str, Any]) -> bool:
    """Whether clients can add to a block: they append to texts, and need a call's id and name."""
    kind = block.get("type")
    if kind == "tool_use":
        named = all(isinstance(block.get(name), str) and block[name] for name in ("id", "name"))
        return named and block.get("input") == {}
    return kind not in ("text", "thinking") or isinstance(block.get(kind), str)
