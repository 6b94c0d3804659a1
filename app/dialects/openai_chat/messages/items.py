"""Parses `input` in place of `messages`: Responses items, which Cursor sends to the chat path.

Only the simple forms are read here: messages, function and custom calls with their outputs, reasoning. Each becomes the
message that says the same; calls that follow each other become one assistant message.
"""

from __future__ import annotations

import msgspec

from app.conversation.envelope import is_sealed
from app.dialects.json_bodies import list_decoder, read_value
from app.dialects.openai_chat.messages.messages import MessageReader
from app.dialects.openai_chat.vocabulary import SEALED_FORMAT, WireCall, WireCustom, WireFunction, WireItem, WireMessage
from app.errors import InvalidRequest

_item = msgspec.json.Decoder(WireItem)


def read_items(items: msgspec.Raw, reader: MessageReader, instructions: str | None) -> None:
    """Feed the messages that `items` stand for to `reader`. Raises InvalidRequest for an item it cannot say."""
    if instructions:
        reader.add(WireMessage("system", _raw(instructions)), "instructions")
    if bytes(items).startswith(b'"'):
        reader.add(WireMessage("user", items), "input")
        return
    assistant: WireMessage | None = None
    begun = ""
    raws: list[msgspec.Raw] = read_value(items, list_decoder, "input")
    for index, raw in enumerate(raws):
        path = f"input[{index}]"
        item = read_value(raw, _item, path)
        if _is_assistants(item):
            if assistant is None or (item.role is not None and len(assistant.content)):
                _finish(assistant, begun, reader)
                assistant, begun = WireMessage("assistant"), path
            _add(assistant, item)
            continue
        _finish(assistant, begun, reader)
        assistant = None
        reader.add(_message_of(item, path), path)
    _finish(assistant, begun, reader)


def _is_assistants(item: WireItem) -> bool:
    return item.role == "assistant" or item.type in ("function_call", "custom_tool_call", "reasoning")


def _finish(assistant: WireMessage | None, path: str, reader: MessageReader) -> None:
    if assistant is not None:
        reader.add(assistant, path)


def _add(assistant: WireMessage, item: WireItem) -> None:
    """Put one item of the assistant's side into its message."""
    match item.type:
        case "function_call":
            function = WireFunction(item.name, _raw(item.arguments or ""))
            assistant.tool_calls = [*(assistant.tool_calls or ()), WireCall(item.call_id or item.id, function=function)]
        case "custom_tool_call":
            custom = WireCustom(item.name, item.input)
            assistant.tool_calls = [*(assistant.tool_calls or ()), WireCall(item.call_id or item.id, custom=custom)]
        case "reasoning":
            texts = [part.text or "" for part in item.summary or ()]
            assistant.reasoning_content = "\n\n".join(filter(None, [assistant.reasoning_content, *texts])) or None
            if item.encrypted_content and is_sealed(item.encrypted_content):
                entry = {"type": "reasoning.encrypted", "data": item.encrypted_content, "format": SEALED_FORMAT}
                details = [*(assistant.reasoning_details or ()), msgspec.Raw(msgspec.json.encode(entry))]
                assistant.reasoning_details = details
        case _:
            assistant.content = item.content


def _message_of(item: WireItem, path: str) -> WireMessage:
    match item.type:
        case "function_call_output" | "custom_tool_call_output":
            return WireMessage("tool", item.output, tool_call_id=item.call_id)
        case None | "message":
            return WireMessage(item.role, item.content)
        case unknown:
            raise InvalidRequest(f"{path}.type {unknown!r} is not understood here; use /v1/responses", param=path)


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(text))
