"""Parses items into blocks, and renders tool calls as items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from app.conversation.blocks import (
    Block,
    Compaction,
    Opaque,
    Proof,
    Reasoning,
    ServerTool,
    Text,
    ToolCall,
    ToolKind,
    ToolResult,
)
from app.conversation.envelope import unseal
from app.conversation.literals import as_object, one_object, text_of
from app.dialects.foreign.listed_media import read_output
from app.dialects.json_bodies import read_value
from app.dialects.openai_responses.items.content import PART_PREFIX, parse_content
from app.dialects.openai_responses.items.hosted import parse_hosted
from app.dialects.openai_responses.vocabulary import HOSTED_CALLS, NAME, NATIVE_CALLS, Item, Part, item_decoder, mint_id
from app.dialects.readable import is_ciphertext, label, read_unknown, readable_text
from app.errors import InvalidRequest
from app.json_values import UNREADABLE, decode_or_none, fields_decoder


def parse_item(item: Item, raw: msgspec.Raw, path: str) -> list[Block]:
    """Blocks of any item except a user's or system message. Raises InvalidRequest.

    An item without a reader becomes one `Opaque`, so its own dialect gets it back unchanged.
    """
    if item.type is None and item.role is None:  # references may omit the type
        return [Opaque(NAME, "item_reference", bytes(raw))]
    kind = "message" if item.type is None else item.type
    if kind in HOSTED_CALLS:
        return [parse_hosted(kind, bytes(raw))]
    reader = _READERS.get(kind)
    return reader(item, raw, path) if reader else [_parse_unknown(kind, bytes(raw))]


def _parse_unknown(kind: str, raw: bytes) -> Opaque:
    """An item of an unknown type, with its readable content."""
    return Opaque(NAME, kind, raw, read_unknown(raw, kind), from_user=False)


def render_call(call: ToolCall, item_id: str | None = None, status: str = "completed") -> dict[str, Any]:
    """The item of a call; without `item_id` its id depends only on the call's own id."""
    if call.kind == "function":
        head = {"type": "function_call", "id": item_id or mint_id("function_call", call.id)}
        arguments = call.arguments if call.arguments.strip() not in ("", "null") else "{}"
        fields: dict[str, Any] = {"name": call.name, "arguments": arguments}
    else:
        item_type, field, _ = NATIVE_CALLS[call.kind]
        head = {"type": item_type, "id": item_id or mint_id(item_type, call.id)}
        fields = {field: call.arguments}
        match call.kind:
            case "custom":
                fields = {"name": call.name, **fields}
            case "tool_search":
                fields = {"execution": "client", field: msgspec.Raw(as_object(call.arguments)[0].encode())}
            case _:
                fields = {field: _render_action(call)}
    group = {"namespace": call.namespace} if call.namespace else {}
    return {**head, "status": status, "call_id": call.id, **fields, **group}


def summary_message(text: str) -> dict[str, Any]:
    """The message that replaces a history whose compaction the upstream cannot read."""
    summary = f"Summary of the earlier conversation:\n{text}"
    return {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": summary}]}


def _render_action(call: ToolCall) -> Any:
    """The action or operation; fields that a model omits from a local shell's action are added."""
    action = as_object(call.arguments)[0].encode()
    if call.kind == "local_shell" and not (b'"type"' in action and b'"env"' in action):
        return {"type": "exec", "env": {}, **fields_decoder.decode(action)}
    return msgspec.Raw(action)


def valid_json(text: str, otherwise: bytes) -> bytes:
    """JSON text as bytes, unchanged; `otherwise` if it is invalid."""
    data = text.strip().encode("utf-8", "replace")
    try:
        msgspec.json.decode(data)
    except UNREADABLE:
        return otherwise
    return data


def logprobs_of(raw: msgspec.Raw) -> list[dict[str, Any]]:
    """The log probabilities of all texts of a message; empty for other items."""
    message = decode_or_none(raw, _logprobs_decoder) or _Message()
    return [entry for part in message.content or () for entry in part.logprobs or ()]


def _read_message(item: Item, raw: msgspec.Raw, path: str) -> list[Block]:
    blocks = parse_content(item.content, f"{path}.content", phase=item.phase)
    return [_unnest_call(block, path) if isinstance(block, Opaque) else block for block in blocks]


def _unnest_call(block: Opaque, path: str) -> Block:
    """Unwraps a call, which clients of other libraries put into the content of its message."""
    if block.type != PART_PREFIX + "function_call":
        return block
    raw = msgspec.Raw(block.raw)
    return _read_function_call(read_value(raw, item_decoder, path), raw, path)[0]


def _read_reasoning(item: Item, raw: msgspec.Raw, path: str) -> list[Block]:
    proof = unseal(item.encrypted_content) if item.encrypted_content else None
    if proof is None:
        # Without encrypted content only a server that stored the item can replay it.
        proof = Proof(NAME, "reasoning" if item.encrypted_content else "plain", (bytes(raw),))
    texts = [
        text
        for name in ("summary", "content", "text")
        for part in _listed(read_value(getattr(item, name), _parts_decoder, f"{path}.{name}"))
        if (text := part if isinstance(part, str) else part.text)
    ]
    return [Reasoning("\n\n".join(texts) or _plain_text(proof), proof)]


def _listed(parts: str | list[Part | str] | None) -> list[Part | str]:
    return [parts] if isinstance(parts, str) else parts or []


def _plain_text(proof: Proof) -> str:
    """The text of an envelope that contains only text."""
    if proof.kind != "plain" or proof.originals[0][:1] != b'"':
        return ""
    return text_of(proof.originals[0])


def _read_function_call(item: Item, raw: msgspec.Raw, path: str) -> list[Block]:
    if not item.name:
        raise InvalidRequest(f"{path}.name: a function call needs a name", param=f"{path}.name")
    return [ToolCall(_call_id(item), item.name, _json_text(item.arguments), namespace=item.namespace)]


def _read_custom_call(item: Item, raw: msgspec.Raw, path: str) -> list[Block]:
    if not item.name:
        raise InvalidRequest(f"{path}.name: a custom tool call needs a name", param=f"{path}.name")
    return [ToolCall(_call_id(item), item.name, item.input or "", "custom", item.namespace)]


def _native_reader(kind: ToolKind, field: str) -> Callable[[Item, msgspec.Raw, str], list[Block]]:
    def read(item: Item, raw: msgspec.Raw, path: str) -> list[Block]:
        if item.execution == "server":
            return [ServerTool(NAME, kind, bytes(raw))]
        return [ToolCall(_call_id(item), kind, _json_text(getattr(item, field)), kind)]

    return read


def _read_output(item: Item, raw: msgspec.Raw, path: str) -> list[Block]:
    kind: ToolKind = "custom" if item.type == "custom_tool_call_output" else "function"
    return [ToolResult(_call_id(item), read_output(parse_content(item.output, f"{path}.output")), kind=kind)]


def _read_search_output(item: Item, raw: msgspec.Raw, path: str) -> list[Block]:
    if item.execution == "server":
        return [ServerTool(NAME, "tool_search", bytes(raw))]
    return [ToolResult(_call_id(item), (Text(bytes(item.tools).decode()),), kind="tool_search")]


def _native_output_reader(kind: ToolKind) -> Callable[[Item, msgspec.Raw, str], list[Block]]:
    def read(item: Item, raw: msgspec.Raw, path: str) -> list[Block]:
        blocks = () if bytes(item.output) == b"null" else (Text(_json_text(item.output)),)
        return [ToolResult(_call_id(item), blocks, item.status == "failed", kind)]

    return read


def _read_compaction(item: Item, raw: msgspec.Raw, path: str) -> list[Block]:
    proof = unseal(item.encrypted_content or "") or Proof(NAME, "compaction", (bytes(raw),))
    first = proof.originals[0]
    if first[:1] == b'"':
        return [Compaction(text_of(first), proof)]
    return [Compaction(readable_text(first) or None, proof)]


def _read_agent_message(item: Item, raw: msgspec.Raw, path: str) -> list[Block]:
    """A message between Codex's agents. If the parent's model is not OpenAI's, `encrypted_content` holds plain text;
    real ciphertext means nothing to other models."""
    message = decode_or_none(raw, _agent_decoder) or _AgentMessage()
    parts = [Part(text=message.content)] if isinstance(message.content, str) else message.content or []
    texts = [text for part in parts if (text := part.text or part.encrypted_content) and not is_ciphertext(text)]
    if not parts:  # its words are in other fields
        return [_parse_unknown("agent_message", bytes(raw))]
    name = f"message from the agent {message.author}" if message.author else "message from another agent"
    return [Opaque(NAME, "agent_message", bytes(raw), label(name, iter(texts)), from_user=False)]


def _call_id(item: Item) -> str:
    return item.call_id or item.id or ""


def _json_text(raw: msgspec.Raw) -> str:
    """JSON given as a string or as a value; null and white space become an empty text."""
    value = bytes(raw)
    text = text_of(value) if value[:1] == b'"' else value.decode()
    if "}{" in text:
        text = one_object(text)
    return "" if text.strip() in ("", "null") else text


class _Message(msgspec.Struct):
    content: list[Part] | None = None


class _AgentMessage(msgspec.Struct):
    author: str | None = None
    content: str | list[Part] | None = None


_parts_decoder = msgspec.json.Decoder(str | list[Part | str] | None)
_logprobs_decoder = msgspec.json.Decoder(_Message)
_agent_decoder = msgspec.json.Decoder(_AgentMessage)

_READERS: dict[str, Callable[[Item, msgspec.Raw, str], list[Block]]] = {
    "message": _read_message,
    "reasoning": _read_reasoning,
    "function_call": _read_function_call,
    "function_call_output": _read_output,
    "custom_tool_call": _read_custom_call,
    "custom_tool_call_output": _read_output,
    "tool_search_call": _native_reader("tool_search", "arguments"),
    "tool_search_output": _read_search_output,
    "local_shell_call": _native_reader("local_shell", "action"),
    "local_shell_call_output": _native_output_reader("local_shell"),
    "shell_call": _native_reader("shell", "action"),
    "shell_call_output": _native_output_reader("shell"),
    "apply_patch_call": _native_reader("apply_patch", "operation"),
    "apply_patch_call_output": _native_output_reader("apply_patch"),
    "compaction": _read_compaction,
    "compaction_summary": _read_compaction,
    "context_compaction": _read_compaction,
    "agent_message": _read_agent_message,
}
