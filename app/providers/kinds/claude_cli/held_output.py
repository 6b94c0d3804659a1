"""Joins several model turns of the Claude program into one message.

Blocks are renumbered consecutively, usage is added up, and the message ends with the program's result. Calls of its own
tools and the output of its subagents are hidden from the client; on request they are shown as text.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from app.errors import UpstreamMalformed
from app.providers.kinds.claude_cli.output import Line, Output
from app.sse import encode_event

# Maximum characters shown of a tool's input or result.
MAX_SHOWN = 2000
# Stop reasons for ends of the program that are not its model's.
ENDS = {"error_max_turns": "max_tokens"}

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class HeldOutput(Output):
    def __init__(self, tool_activity: Literal["hidden", "text"]) -> None:
        super().__init__()
        self._shows = tool_activity == "text"
        self._next = 0
        self._places: dict[int, int] = {}
        # The tool calls of the current message: their names and the pieces of their input.
        self._calls: dict[int, tuple[str, list[str]]] = {}
        self._last_delta: dict[str, Any] = {"stop_reason": "end_turn", "stop_sequence": None}

    def take_line(self, line: Line) -> bytes:
        if line.type == "result":
            return self._finish(line)
        if line.parent_tool_use_id is not None:
            return b""
        if line.type == "user" and self._shows and self._has_begun:
            return b"".join(self._text_block(text) for text in _results(line.message))
        return super().take_line(line)

    def _pass(self, event: msgspec.Raw) -> bytes:
        try:
            data = _decode(event)
            return self._merge(data)
        except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
            raise UpstreamMalformed(
                "the Claude program sent an event that is not valid in Anthropic Messages"
            ) from error

    def _merge(self, data: dict[str, Any]) -> bytes:
        match data["type"]:
            case "message_start":
                self._places.clear()
                if self._has_begun:
                    return b""
                self._has_begun = True
            case "content_block_start":
                return self._start_block(data)
            case "content_block_delta" | "content_block_stop":
                return self._continue_block(data)
            case "message_delta":
                self._last_delta = data["delta"]
                return b""
            case "message_stop":
                return b""
        return _encode(data)

    def _start_block(self, data: dict[str, Any]) -> bytes:
        block, index = data["content_block"], data["index"]
        if block["type"] == "tool_use":
            self._calls[index] = (str(block["name"]), [])
            return b""
        self._places[index] = self._next
        self._next += 1
        return _encode(data | {"index": self._places[index]})

    def _continue_block(self, data: dict[str, Any]) -> bytes:
        index = data["index"]
        call = self._calls.get(index)
        if call is None:
            return _encode(data | {"index": self._places[index]})
        if data["type"] == "content_block_delta":
            if self._shows:
                call[1].append(str(data["delta"].get("partial_json", "")))
            return b""
        name, pieces = self._calls.pop(index)
        return self._text_block(f"[{name}] {''.join(pieces)}") if self._shows else b""

    def _text_block(self, text: str) -> bytes:
        """A block with a text of our own."""
        index, self._next = self._next, self._next + 1
        shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} …"
        return b"".join(
            _encode(event)
            for event in (
                {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}},
                {
                    "type": "content_block_delta",
                    "index": index,
                    "delta": {"type": "text_delta", "text": f"\n{shown}\n"},
                },
                {"type": "content_block_stop", "index": index},
            )
        )

    def _finish(self, line: Line) -> bytes:
        end = ENDS.get(line.subtype)
        if not self._has_begun or (line.is_error and end is None):
            return super().take_line(line)
        self.ended = True
        delta = self._last_delta | ({"stop_reason": end} if end else {})
        usage = {name: value for name, value in line.usage.items() if isinstance(value, int)}
        return _encode({"type": "message_delta", "delta": delta, "usage": usage}) + _encode({"type": "message_stop"})


def _results(message: msgspec.Raw) -> list[str]:
    """The results of the program's tools, as text."""
    try:
        content = _decode(message).get("content")
    except msgspec.MsgspecError:
        return []
    blocks = content if isinstance(content, list) else []
    return [_result_text(block) for block in blocks if isinstance(block, dict) and block.get("type") == "tool_result"]


def _result_text(block: dict[str, Any]) -> str:
    content = block.get("content")
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return f"[result] {content}"


def _encode(event: dict[str, Any]) -> bytes:
    return encode_event(msgspec.json.encode(event), event["type"])
