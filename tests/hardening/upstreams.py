"""Upstreams of each dialect, byte by byte: their good answers, whole and in pieces, for tests to spoil."""

# ruff: noqa: E501 - an event a line
from __future__ import annotations

import json
from typing import Any

from tests.support.answers import chat_answer, message, response

SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"


def wire(body: bytes, *fields: str, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """A whole reply; its length is told unless `fields` say how it is framed."""
    head = [f"HTTP/1.1 {status}", f"content-type: {kind}", *fields]
    if not any(field.lower().startswith(("content-length", "transfer-encoding")) for field in fields):
        head.append(f"content-length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def chunked(*lines: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return wire(b"".join(lines) + end, "transfer-encoding: chunked")


def named(event: dict[str, Any]) -> bytes:
    """An event under the name of its type."""
    return f"event: {event['type']}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n".encode()


# A good answer, whole.
_COUNTS = {"input_tokens": 1, "output_tokens": 1}
ANSWERS: dict[str, dict[str, Any]] = {
    "anthropic_messages": message("SAID", usage=_COUNTS),
    "openai_chat": chat_answer("SAID", usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}),
    "openai_responses": response("SAID", usage={**_COUNTS, "total_tokens": 2}),
}

# The same as a stream: a beginning, texts in the place of %s, an end.
_CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[%b]%b}\n\n'
_MESSAGE = {"type": "message", "id": "i", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "x", "annotations": []}]}  # fmt: skip
_RESPONSE = {"id": "r", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": [_MESSAGE],
             "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}  # fmt: skip
BEGINNINGS = {
    "anthropic_messages": named({"type": "message_start", "message": {
        "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [],
        "usage": {"input_tokens": 1, "output_tokens": 1}}})
    + named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    "openai_chat": b"",
    "openai_responses": named({"type": "response.created", "response": {
        "id": "r", "object": "response", "status": "in_progress", "model": "m", "output": []}})
    + named({"type": "response.output_item.added", "output_index": 0, "item": {
        "type": "message", "id": "i", "role": "assistant", "status": "in_progress", "content": []}})
    + named({"type": "response.content_part.added", "item_id": "i", "output_index": 0, "content_index": 0,
             "part": {"type": "output_text", "text": "", "annotations": []}}),
}  # fmt: skip
TEXTS = {
    "anthropic_messages": named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "%s"}}),
    "openai_chat": _CHUNK % (b'{"index":0,"delta":{"content":"%s"},"finish_reason":null}', b""),
    "openai_responses": named({"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "content_index": 0, "delta": "%s"}),
}  # fmt: skip
ENDINGS = {
    "anthropic_messages": named({"type": "content_block_stop", "index": 0})
    + named({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}})
    + named({"type": "message_stop"}),
    "openai_chat": _CHUNK % (b'{"index":0,"delta":{},"finish_reason":"stop"}', b"")
    + _CHUNK % (b"", b',"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}')
    + b"data: [DONE]\n\n",
    "openai_responses": named({"type": "response.output_text.done", "item_id": "i", "output_index": 0,
                               "content_index": 0, "text": "x"})
    + named({"type": "response.output_item.done", "output_index": 0, "item": _MESSAGE})
    + named({"type": "response.completed", "response": _RESPONSE}),
}  # fmt: skip
# A call with a number from 1 on.
CALLS = {
    "anthropic_messages": lambda number: named({"type": "content_block_start", "index": number, "content_block": {
        "type": "tool_use", "id": f"t{number}", "name": "f", "input": {}}})
    + named({"type": "content_block_stop", "index": number}),
    "openai_chat": lambda number: _CHUNK % (
        b'{"index":0,"delta":{"tool_calls":[{"index":%d,"id":"c%d","type":"function","function":{"name":"f",'
        b'"arguments":"{}"}}]},"finish_reason":null}' % (number - 1, number), b""),
    "openai_responses": lambda number: named({"type": "response.output_item.added", "output_index": number, "item": {
        "type": "function_call", "id": f"f{number}", "call_id": f"c{number}", "name": "f", "arguments": ""}})
    + named({"type": "response.output_item.done", "output_index": number, "item": {
        "type": "function_call", "id": f"f{number}", "call_id": f"c{number}", "name": "f", "arguments": "{}"}}),
}  # fmt: skip


def stream_of(dialect: str, *texts: bytes) -> bytes:
    said = b"".join(TEXTS[dialect].replace(b"%s", text) for text in texts)
    return BEGINNINGS[dialect] + said + ENDINGS[dialect]
