"""Says one exchange in the three dialects: the request, the whole answer, the streamed answer."""

from __future__ import annotations

import json
from typing import Any

from msgspec import Struct

CLOCK = 1_700_000_000
TOOL = {"name": "read_file", "description": "Reads a file.", "schema": {"type": "object", "properties": {}}}


class Dialect(Struct, frozen=True):
    """What an answer in this dialect is recognised by.

    `piece_key` stands before each piece of text in the JSON of an answer, `unary_piece_key` in that of a whole one. The
    closings are what a complete answer holds exactly once.
    """

    path: str
    headers: str
    piece_key: str
    stream_closing: str
    unary_closing: str


CHAT = Dialect(
    path="/v1/chat/completions",
    headers="Authorization: Bearer sk-bench\r\n",
    piece_key='"content":"',
    stream_closing="data: [DONE]",
    unary_closing='"finish_reason":"stop"',
)
MESSAGES = Dialect(
    path="/v1/messages",
    headers="x-api-key: sk-bench\r\nanthropic-version: 2023-06-01\r\n",
    piece_key='"text":"',
    stream_closing="event: message_stop",
    unary_closing='"stop_reason":"end_turn"',
)
RESPONSES = Dialect(
    path="/v1/responses",
    headers="Authorization: Bearer sk-bench\r\n",
    piece_key='"delta":"',
    stream_closing="event: response.completed",
    unary_closing='"status":"completed"',
)


def render_request(
    dialect: Dialect, model: str, *, stream: bool, tool_rounds: int = 0, previous: str | None = None
) -> bytes:
    """The HTTP request with its body of about 300 bytes; each tool round adds a call and a result of 20 kB. `previous`
    is a stored response that it goes on from."""
    question = "Say in a few words what a dragoman was, whom he served, and what his work asked of him."
    turns: list[dict[str, Any]] = [{"role": "user", "content": question}]
    # The member that names the model comes first, and text with escapes makes the history what source code is.
    body: dict[str, Any] = {"model": model, "stream": stream}
    if dialect is RESPONSES:
        # As Codex asks: what is stored besides costs a write to the ledger, once an answer.
        body |= {"instructions": "Answer briefly.", "input": turns, "max_output_tokens": 4096, "store": False}
        body |= {"previous_response_id": previous} if previous else {}
    elif dialect is MESSAGES:
        for number in range(tool_rounds):
            turns += _render_tool_round(number)
        tools = [{"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["schema"]}]
        body |= {"system": "Answer briefly.", "max_tokens": 4096, "messages": turns}
        body |= {"tools": tools} if tool_rounds else {}
    else:
        body |= {"messages": [{"role": "system", "content": "Answer briefly."}, *turns], "max_tokens": 4096}
        body |= {"stream_options": {"include_usage": True}} if stream else {}
    payload = _compact(body)
    head = f"POST {dialect.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n{dialect.headers}"
    head += f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    return head.encode() + payload


def render_answer(dialect: Dialect, text: str) -> bytes:
    """A whole answer; no scenario asks for one in Responses."""
    if dialect is MESSAGES:
        return _compact(_message([{"type": "text", "text": text}], "end_turn"))
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return _compact(_completion("chat.completion", [choice]) | {"usage": _CHAT_USAGE})


def render_stream(dialect: Dialect, pieces: list[str]) -> list[bytes]:
    """The SSE events of a streamed answer, one text delta a piece."""
    if dialect is MESSAGES:
        return [_event(event) for event in _message_events(pieces)]
    if dialect is RESPONSES:
        events = _response_events(pieces)
        return [_event(event | {"sequence_number": number}) for number, event in enumerate(events)]
    return [b"data: %b\n\n" % _compact(chunk) for chunk in _chat_chunks(pieces)] + [b"data: [DONE]\n\n"]


_CHAT_USAGE = {"prompt_tokens": 60, "completion_tokens": 200, "total_tokens": 260}


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _event(data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), _compact(data))


def _render_tool_round(number: int) -> list[dict[str, Any]]:
    line = f'    if path == "part{number}":\n\treturn read_line(path, count={number})  # as before\n'
    result = (line * (20_000 // len(line) + 1))[:20_000]
    call = {"type": "tool_use", "id": f"toolu_{number:024}", "name": TOOL["name"], "input": {"path": f"part{number}"}}
    answer = {"type": "tool_result", "tool_use_id": call["id"], "content": result}
    return [{"role": "assistant", "content": [call]}, {"role": "user", "content": [answer]}]


def _message(content: list[dict[str, Any]], stop_reason: str | None) -> dict[str, Any]:
    return {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-bench",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 60, "output_tokens": 200},
    }


def _message_events(pieces: list[str]) -> list[dict[str, Any]]:
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}} for piece in pieces
    ]
    ending = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        {"type": "message_start", "message": _message([], None)},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ending, "usage": {"output_tokens": 200}},
        {"type": "message_stop"},
    ]


def _completion(kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    names = {"id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": kind, "created": CLOCK, "model": "bench-model"}
    return names | {"system_fingerprint": "fp_bench0000", "choices": choices}


def _chat_chunks(pieces: list[str]) -> list[dict[str, Any]]:
    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _completion("chat.completion.chunk", [choice]) | {"usage": None}

    return [
        chunk({"role": "assistant", "content": "", "refusal": None}),
        *(chunk({"content": piece}) for piece in pieces),
        chunk({}, "stop"),
        _completion("chat.completion.chunk", []) | {"usage": _CHAT_USAGE},
    ]


def _response_events(pieces: list[str]) -> list[dict[str, Any]]:
    text = "".join(pieces)
    place = {"item_id": "msg_bench", "output_index": 0, "content_index": 0}

    def part(content: str) -> dict[str, Any]:
        return {"type": "output_text", "text": content, "annotations": [], "logprobs": []}

    def item(status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {"type": "message", "id": "msg_bench", "status": status, "role": "assistant", "content": content}

    def response(status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        usage = {"input_tokens": 60, "output_tokens": 200, "total_tokens": 260} if output else None
        names = {"id": "resp_bench", "object": "response", "created_at": CLOCK, "model": "bench-model"}
        return names | {"status": status, "error": None, "output": output, "usage": usage}

    done = item("completed", [part(text)])
    return [
        {"type": "response.created", "response": response("in_progress", [])},
        {"type": "response.in_progress", "response": response("in_progress", [])},
        {"type": "response.output_item.added", "output_index": 0, "item": item("in_progress", [])},
        {"type": "response.content_part.added", **place, "part": part("")},
        *({"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []} for piece in pieces),
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part(text)},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": "response.completed", "response": response("completed", [done])},
    ]
