"""What upstreams of each dialect answer: one builder for each shape on the wire, whole and in events."""

from __future__ import annotations

import json
from typing import Any

from tests.support.fake_upstream import Piece, Reply, sse

CHUNK_HEAD: dict[str, Any] = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def named(*events: dict[str, Any], numbered: bool = False) -> tuple[bytes, ...]:
    """Events under the names of their types; numbered as Responses servers do it."""
    if numbered:
        events = tuple({**event, "sequence_number": number} for number, event in enumerate(events))
    return tuple(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def unnamed(*payloads: dict[str, Any] | str) -> tuple[bytes, ...]:
    """Events without a name; texts are data as they are."""
    lines = (payload if isinstance(payload, str) else json.dumps(payload) for payload in payloads)
    return tuple(f"data: {line}\n\n".encode() for line in lines)


def chat_answer(text: str = "hello", **more: Any) -> dict[str, Any]:
    """A whole answer in Chat Completions."""
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        **more,
    }


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    """An event of a stream in Chat Completions."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return unnamed({**CHUNK_HEAD, "choices": [choice], **more})[0]


def chat_stream(*words: str, tail: tuple[Piece, ...] | None = None) -> Reply:
    """A stream in Chat Completions that says some words; `tail` replaces its end."""
    end: tuple[Piece, ...] = (chunk({}, "stop"), b"data: [DONE]\n\n") if tail is None else tail
    return sse(chunk({"role": "assistant", "content": ""}), *(chunk({"content": word}) for word in words), *end)


def message(*content: dict[str, Any] | str, **more: Any) -> dict[str, Any]:
    """A whole answer in Messages; texts are blocks of text."""
    blocks = [{"type": "text", "text": block} if isinstance(block, str) else block for block in content]
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": blocks}
    end = {"stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 11, "output_tokens": 7}}
    return {**head, **end, **more}


def message_events(whole: dict[str, Any], **counts: int) -> list[dict[str, Any]]:
    """The events in which a Messages server streams an answer; `counts` are told at its end."""
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": whole["stop_sequence"]}
    counted = {"output_tokens": whole["usage"].get("output_tokens", 0), **counts}
    return [
        {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None, "stop_sequence": None}},
        *events_of_blocks(*whole["content"]),
        {"type": "message_delta", "delta": end, "usage": counted},
        {"type": "message_stop"},
    ]


def events_of_blocks(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    return [event for index, block in enumerate(blocks) for event in _events_of_block(index, block)]


def _events_of_block(index: int, whole: dict[str, Any]) -> list[dict[str, Any]]:
    match whole["type"]:
        case "text":
            head: dict[str, Any] = {"type": "text", "text": ""}
            deltas = [added(index, "text_delta", text=whole["text"])]
            deltas += [added(index, "citations_delta", citation=each) for each in whole.get("citations", ())]
        case "thinking":
            head = {"type": "thinking", "thinking": "", "signature": ""}
            said = {name: whole[name] for name in ("thinking", "signature") if whole[name]}
            deltas = [added(index, f"{name}_delta", **{name: text}) for name, text in said.items()]
        case "tool_use" | "server_tool_use":
            head = {**whole, "input": {}}
            deltas = [added(index, "input_json_delta", partial_json=json.dumps(whole["input"]))]
        case _:
            head, deltas = whole, []
    return [block(index, head), *deltas, closed(index)]


def block(index: object, head: dict[str, Any]) -> dict[str, Any]:
    """The event that begins a block of a Messages stream."""
    return {"type": "content_block_start", "index": index, "content_block": head}


def added(index: object, kind: str, **more: Any) -> dict[str, Any]:
    """The event with a delta of a block."""
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **more}}


def closed(index: object) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def response(*output: dict[str, Any] | str, **more: Any) -> dict[str, Any]:
    """A whole answer in Responses; texts are messages."""
    items = [_spoken(item) if isinstance(item, str) else item for item in output]
    head = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": items}
    return {**head, "usage": {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}, **more}


def response_events(whole: dict[str, Any], **begun: Any) -> list[dict[str, Any]]:
    """The events in which a Responses server streams an answer, item by item. At first it says `begun` of itself."""
    first = {**whole, "status": "in_progress", "output": [], "usage": None, **begun}
    items = (
        {"type": f"response.output_item.{kind}", "output_index": place, "item": item}
        for place, item in enumerate(whole["output"])
        for kind in ("added", "done")
    )
    return [
        {"type": "response.created", "response": first},
        *items,
        {"type": f"response.{whole['status']}", "response": whole},
    ]


def _spoken(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
