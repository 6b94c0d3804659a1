"""One real streamed tool call through the whole gateway, as a client sees it."""

from __future__ import annotations

import json
import time
from typing import Any

import requests
import sseclient
from msgspec import Struct

TOOL: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
PROMPT = "What is the weather in Paris? Call the tool get_weather to find out."
# Room for a model that thinks before it calls.
MOST_TOKENS = 1024
# Seconds to connect, and between two pieces.
TIMEOUT = (5.0, 90.0)
# Events and characters after which a stream is no answer to this question.
MOST_EVENTS, MOST_TEXT = 5000, 2000


class Answer(Struct, frozen=True):
    """What came back. Times are seconds; `problem` is the gateway's sentence, with its status."""

    upstream: str = ""
    first_event: float | None = None
    total: float = 0.0
    status: int = 0
    called: bool = False
    arguments: str = ""
    problem: str | None = None


def call_tool(url: str, key: str | None, model: str) -> Answer:
    """Ask a model to call a tool, by the dialect of Anthropic's Messages."""
    body = {
        "model": model,
        "max_tokens": MOST_TOKENS,
        "stream": True,
        "tools": [TOOL],
        "messages": [{"role": "user", "content": PROMPT}],
    }
    headers = {"accept": "text/event-stream"} | ({"authorization": f"Bearer {key}"} if key else {})
    begun = time.monotonic()
    with requests.Session() as session:
        session.trust_env = False
        try:
            with session.post(
                f"{url}/v1/messages", json=body, headers=headers, timeout=TIMEOUT, stream=True, allow_redirects=False
            ) as reply:
                upstream = reply.headers.get("x-dragoman-upstream", "")
                if reply.status_code != 200:
                    said = _read_message(reply.raw.read(65536, decode_content=True))
                    problem = said or f"HTTP {reply.status_code}"
                    return Answer(upstream, None, time.monotonic() - begun, reply.status_code, problem=problem)
                return _read_stream(reply, upstream, begun)
        except requests.RequestException as error:
            return Answer(
                total=time.monotonic() - begun, problem=f"the gateway does not answer: {type(error).__name__}"
            )


def _read_stream(reply: requests.Response, upstream: str, begun: float) -> Answer:
    first: float | None = None
    called, arguments, problem, ended = False, "", None, False
    for number, event in enumerate(sseclient.SSEClient(iter(reply)).events()):
        first = first if first is not None else time.monotonic() - begun
        match _decode(event.data):
            case {"type": "content_block_start", "content_block": {"type": "tool_use"}}:
                called = True
            case {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": str(piece)}}:
                arguments = (arguments + piece)[:MOST_TEXT]
            case {"type": "error", "error": {"message": str(message)}}:
                problem = message
            case {"type": "message_stop"}:
                ended = True
        if ended or problem or number > MOST_EVENTS:
            break
    if not ended and problem is None:
        problem = "the stream has no end"
    return Answer(upstream, first, time.monotonic() - begun, 200, called, arguments, problem)


def _read_message(body: bytes) -> str | None:
    match _decode(body.decode("utf-8", "replace")):
        case {"error": {"message": str(message)}}:
            return message
    return None


def _decode(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
