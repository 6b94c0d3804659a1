"""Parses `input` instead of `messages`: Responses items, which Cursor sends to the chat path.

Messages, calls with their outputs, and reasoning become equivalent messages; consecutive calls become one assistant
message. The readable content of any other item becomes a user turn.
"""

from __future__ import annotations

import msgspec

from app.conversation.blocks import Opaque
from app.conversation.envelope import is_sealed
from app.conversation.request import Turn
from app.dialects.json_bodies import read_value
from app.dialects.openai_chat.messages.messages import MessageReader
from app.dialects.openai_chat.vocabulary import (
    SEALED_FORMAT,
    WireCall,
    WireCustom,
    WireFunction,
    WireItem,
    WireMessage,
    WirePart,
)
from app.dialects.readable import read_unknown
from app.errors import InvalidRequest
from app.json_values import list_decoder

# Items of client-run tools: the name of the tool, and the field with the model's input.
_NATIVE_CALLS = {
    "local_shell_call": ("local_shell", "action"),
    "shell_call": ("shell", "action"),
    "apply_patch_call": ("apply_patch", "operation"),
}
_MESSAGES = (None, "message")
_OUTPUT = "_call_output"
_parts = msgspec.json.Decoder(list[WirePart] | None)
_item = msgspec.json.Decoder(WireItem)


def read_items(items: msgspec.Raw, reader: MessageReader, instructions: str | None) -> None:
    """Feeds the messages that `items` represent to `reader`. Raises InvalidRequest for an item without an
    equivalent."""
    if instructions:
        reader.add(WireMessage("system", msgspec.Raw(msgspec.json.encode(instructions))), "instructions")
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
        if item.type in _MESSAGES or str(item.type).endswith(_OUTPUT):
            reader.add(_message_of(item), path)
        else:
            reader.turns.append(_turn_of(item.type or "", raw, path))
    _finish(assistant, begun, reader)


def _is_assistants(item: WireItem) -> bool:
    called = item.type in ("function_call", "custom_tool_call", "reasoning") or item.type in _NATIVE_CALLS
    return item.role == "assistant" or called


def _finish(assistant: WireMessage | None, path: str, reader: MessageReader) -> None:
    if assistant is not None:
        reader.add(assistant, path)


def _add(assistant: WireMessage, item: WireItem) -> None:
    """Adds one item of the assistant's side to its message."""
    calls, call_id = assistant.tool_calls or [], item.call_id or item.id
    match item.type:
        case "function_call":
            calls.append(WireCall(call_id, function=WireFunction(item.name, item.arguments)))
        case "custom_tool_call":
            calls.append(WireCall(call_id, custom=WireCustom(item.name, item.input)))
        case str(kind) if kind in _NATIVE_CALLS:
            name, field = _NATIVE_CALLS[kind]
            calls.append(WireCall(call_id, function=WireFunction(name, getattr(item, field))))
        case "reasoning":
            thoughts = item.summary or (read_value(item.content, _parts, "content") if len(item.content) else None)
            texts = [part.text or "" for part in thoughts or ()]
            assistant.reasoning_content = "\n\n".join(filter(None, [assistant.reasoning_content, *texts])) or None
            if item.encrypted_content and is_sealed(item.encrypted_content):
                entry = {"type": "reasoning.encrypted", "data": item.encrypted_content, "format": SEALED_FORMAT}
                details = [*(assistant.reasoning_details or ()), msgspec.Raw(msgspec.json.encode(entry))]
                assistant.reasoning_details = details
        case _:
            assistant.content = item.content
    assistant.tool_calls = calls or None


def _message_of(item: WireItem) -> WireMessage:
    if item.type in _MESSAGES:
        return WireMessage(item.role or ("user" if item.type else None), item.content)
    return WireMessage("tool", item.output, tool_call_id=item.call_id or item.id)


def _turn_of(kind: str, raw: msgspec.Raw, path: str) -> Turn:
    """A user turn with the content of an item that no message of this dialect can express."""
    if kind == "item_reference":
        where = f"{path}.type"
        raise InvalidRequest(
            f"{where}: this upstream stores no items for an item_reference; send the item itself", param=where
        )
    item = bytes(raw)
    return Turn("user", (Opaque("openai_responses", kind, item, read_unknown(item, kind), from_user=False),), path=path)
