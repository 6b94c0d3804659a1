"""Checks the order of stream events. From the first event out of order, a stream is parsed and rendered anew.

Source: Anthropic API reference, "Streaming messages".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from app.conversation.capabilities import RenderContext
from app.dialects.anthropic_messages.response_parser import is_true_reason
from app.dialects.anthropic_messages.stream_parser import StreamParser
from app.dialects.anthropic_messages.stream_renderer import StreamRenderer
from app.dialects.json_bodies import encode_body

_decode = msgspec.json.Decoder(dict[str, Any]).decode

# Counts that `message_start` must contain, because clients add to them.
_COUNTS = ("input_tokens", "output_tokens")
# Stand-ins for the deltas of a block that have passed.
_DELTAS = {
    "text": {"type": "text_delta", "text": "x"},
    "thinking": {"type": "thinking_delta", "thinking": "x"},
    "tool_use": {"type": "input_json_delta", "partial_json": "x"},
}


class Grammar:
    """Follows a stream by the events that begin and end something; deltas are not checked."""

    def __init__(self) -> None:
        self.open = ""  # the type of the open block
        self._started = False
        self.index = -1  # of the last block
        self._called = False
        self._reason: str | None = None
        self._passed: list[bytes] = []

    def allows(self, payload: bytes) -> bool:
        """Whether an event is in order at this point; if so, it is noted as passed."""
        try:
            event = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return True  # the client may know better
        match event.get("type"):
            case "message_start":
                allowed = not self._started and _is_counted(_object(event, "message"))
                self._started = True
            case "content_block_start":
                block = _object(event, "content_block")
                allowed = self._started and not self.open and event.get("index") == self.index + 1
                allowed = allowed and _is_sound(block)
                if allowed:
                    self.open, self.index = str(block.get("type") or "unknown"), self.index + 1
                    self._called = self._called or self.open == "tool_use"
            case "content_block_stop":
                allowed = bool(self.open) and event.get("index") == self.index
                self.open = "" if allowed else self.open
            case "message_delta":
                reason = _object(event, "delta").get("stop_reason")
                self._reason = reason if isinstance(reason, str) else None
                allowed = self._started and not self.open and is_true_reason(self._reason, called=self._called)
            case "message_stop":
                allowed = self._reason is not None
            case _:
                return True
        if allowed:
            self._passed.append(payload)
        return allowed

    def rewrite(self, context: RenderContext) -> Rewriter:
        """A rewriter for the rest of the stream, in the state as if it had processed the stream from the start."""
        rewriter = Rewriter(context)
        for payload in self._passed:
            rewriter.feed([payload])
            event = _decode(payload)
            delta = _DELTAS.get(str(_object(event, "content_block").get("type")))
            if event["type"] == "content_block_start" and delta:
                rewriter.feed([encode_body({"type": "content_block_delta", "index": event["index"], "delta": delta})])
        return rewriter


class Rewriter:
    """Parses the payloads of an upstream and renders the events for a client."""

    def __init__(self, context: RenderContext) -> None:
        self._parser = StreamParser()
        self._renderer = StreamRenderer(context)

    def feed(self, payloads: Sequence[bytes]) -> bytes:
        return self._renderer.feed(self._parser.feed(payloads))

    def close(self) -> bytes:
        return self._renderer.feed(self._parser.close()) + self._renderer.close()


def _object(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _is_counted(message: dict[str, Any]) -> bool:
    usage = _object(message, "usage")
    return all(isinstance(usage.get(name), int) for name in _COUNTS)


def _is_sound(block: dict[str, Any]) -> bool:
    """Whether clients can add to a block: they append to texts, and need a call's id and name."""
    kind = block.get("type")
    if kind == "tool_use":
        return bool(block.get("id")) and bool(block.get("name")) and block.get("input") in ({}, None)
    return kind not in ("text", "thinking") or isinstance(block.get(kind), str)
