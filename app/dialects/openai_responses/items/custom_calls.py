"""Restores calls of custom tools that a server made as calls of functions.

Servers that know functions only ignore that a tool is a custom one, and the model calls it with an object around its
text. Codex ends the turn at such a call.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from app.conversation.literals import EMPTY, text_of
from app.conversation.streams.custom_input import InputReader
from app.json_values import decode_or_none, object_decoder
from app.sse import encode_event

_MARK = b'"function_call"'
_ARGUMENTS = b"response.function_call_arguments."
_NUMBER = re.compile(rb'(?<!\\)"sequence_number"\s*+:\s*+(\d{1,15}+)(?!\d)')


class _Tool(msgspec.Struct):
    type: str = ""
    name: str = ""
    tools: list[_Tool] = []


class _Tools(msgspec.Struct):
    tools: list[_Tool] | None = None


_tools_decoder = msgspec.json.Decoder(_Tools)


def find_custom_names(body: bytes) -> frozenset[str]:
    """The names of the custom tools in a request."""
    if b'"custom"' not in body:
        return frozenset()
    read = decode_or_none(msgspec.Raw(body), _tools_decoder)
    declared = (read.tools or ()) if read is not None else ()
    every = [*declared, *(member for tool in declared for member in tool.tools)]
    return frozenset(tool.name for tool in every if tool.type == "custom")


def restore_response(body: bytes, names: frozenset[str]) -> bytes:
    """A whole response whose calls of these tools are custom calls."""
    if not names or _MARK not in body:
        return body
    response = decode_or_none(msgspec.Raw(body), object_decoder)
    return msgspec.json.encode(response) if response is not None and _restore_output(response, names) else body


class CallRestorer:
    """The same for the events of a stream. All others keep their bytes, but for their number if events were added."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._readers: dict[str, InputReader] = {}  # of open calls, by the item's id
        self._added = 0

    def feed(self, events: bytes) -> bytes:
        if not (self._readers or self._added) and _MARK not in events:
            return events
        return b"".join([self._restore(block) + b"\n\n" for block in events.split(b"\n\n") if block])

    def _restore(self, block: bytes) -> bytes:
        if self._added:
            block = _NUMBER.sub(lambda found: b'"sequence_number":%d' % (int(found[1]) + self._added), block, count=1)
        if _MARK not in block and not (self._readers and _ARGUMENTS in block):
            return block
        event = decode_or_none(block.partition(b"\ndata:")[2], object_decoder)
        return (self._restore_event(event) if event is not None else b"") or block

    def _restore_event(self, event: dict[str, Any]) -> bytes:
        """The events in place of this one; empty if it stays."""
        item, reader = event.get("item"), self._readers.get(str(event.get("item_id")))
        if reader is not None:
            return self._restore_input(event, reader)
        if isinstance(item, dict) and _is_custom(item, self._names):
            if event.get("type") == "response.output_item.added":
                self._readers[str(item.get("id"))] = InputReader()
            else:
                self._readers.pop(str(item.get("id")), None)
            event["item"] = _as_custom(item)
        elif not (isinstance(event.get("response"), dict) and _restore_output(event["response"], self._names)):
            return b""
        return _encode(event)

    def _restore_input(self, event: dict[str, Any], reader: InputReader) -> bytes:
        ended = str(event.get("type")).endswith(".done")
        event["type"] = f"response.custom_tool_call_input.{'done' if ended else 'delta'}"
        if not ended:
            return _encode(event | {"delta": text_of(reader.feed(str(event.get("delta") or "")) or EMPTY)})
        event["input"] = _input_of(event.pop("arguments", ""))
        event.pop("name", None)
        rest = text_of(reader.close() or EMPTY)
        if not rest:
            return _encode(event)
        self._added += 1
        head = {name: value for name, value in event.items() if name != "input"}
        number = event.get("sequence_number")
        added = head | {"type": "response.custom_tool_call_input.delta", "delta": rest}
        return (
            _encode(added)
            + b"\n\n"
            + _encode(event | {"sequence_number": number + 1 if isinstance(number, int) else 0})
        )


def _encode(event: dict[str, Any]) -> bytes:
    return encode_event(msgspec.json.encode(event), str(event.get("type")))[:-2]


def _restore_output(response: dict[str, Any], names: frozenset[str]) -> bool:
    """Restores the items of a response; returns whether there were any to restore."""
    output = response.get("output")
    if not isinstance(output, list):
        return False
    restored = [_as_custom(item) if _is_custom(item, names) else item for item in output]
    response["output"] = restored
    return any(new is not old for new, old in zip(restored, output, strict=True))


def _is_custom(item: Any, names: frozenset[str]) -> bool:
    return isinstance(item, dict) and item.get("type") == "function_call" and str(item.get("name")) in names


def _as_custom(item: dict[str, Any]) -> dict[str, Any]:
    arguments = item.get("arguments")
    kept = {name: value for name, value in item.items() if name != "arguments"}
    return kept | {"type": "custom_tool_call", "input": _input_of(arguments) if arguments else ""}


def _input_of(arguments: Any) -> str:
    reader = InputReader()
    pieces = (reader.feed(str(arguments)), reader.close())
    return "".join(text_of(piece) for piece in pieces if piece)
