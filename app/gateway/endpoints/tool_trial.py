"""Asks a model for one tool call, to see whether it can serve an agent."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import sseclient
from msgspec import Struct

from app.json_values import decode_object

PATH = "/v1/messages"
PROMPT = "What is the weather in Paris? Call the tool get_weather to find out."
PLAIN_PROMPT = "Answer with the word: ready"
TOOL: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
# Room for a model that thinks before it calls.
MAX_TOKENS = 1024
# Maximum seconds, events and characters of a stream that is read as an answer.
LONGEST, MAX_EVENTS, MAX_TEXT = 90.0, 5000, 2000


class Answer(Struct):
    """What came back. Times are in seconds; `problem` is the gateway's error message, `status` its HTTP status; `id` is
    the request's id."""

    id: str = ""
    upstream: str = ""
    first_event: float | None = None
    total: float = 0.0
    status: int = 0
    called: bool = False
    arguments: str = ""
    text: str = ""
    problem: str | None = None


def make_request(model: str, *, with_tool: bool = True) -> dict[str, Any]:
    """The body of a streamed request, in the dialect of Anthropic Messages."""
    prompt, tools = (PROMPT, {"tools": [TOOL]}) if with_tool else (PLAIN_PROMPT, {})
    messages = [{"role": "user", "content": prompt}]
    return {"model": model, "max_tokens": MAX_TOKENS, "stream": True, "messages": messages, **tools}


def read_answer(parts: Iterator[bytes], begun: float, answer: Answer, *, until_speaks: bool = False) -> Answer:
    """Reads the stream into `answer`, to its end or, with `until_speaks`, to the model's first output. The request was
    sent at `begun`, by the monotonic clock."""
    ended = False
    longest = math.inf if until_speaks else LONGEST
    for number, event in enumerate(sseclient.SSEClient(parts).events()):
        now = time.monotonic() - begun
        answer.first_event = now if answer.first_event is None else answer.first_event
        ended = _note(answer, decode_object(event.data), until_speaks=until_speaks)
        if ended or answer.problem or number > MAX_EVENTS or now > longest:
            break
    if ended and not until_speaks:
        for _ in parts:  # so that its record is complete
            pass
    if not ended and answer.problem is None:
        answer.problem = "the stream broke off before the answer was complete"
    answer.total = time.monotonic() - begun
    return answer


def _note(answer: Answer, event: object, *, until_speaks: bool) -> bool:
    """Adds an event to the answer; returns whether reading is finished."""
    match event:
        case {"type": "content_block_start"} if until_speaks:
            return True
        case {"type": "content_block_start", "content_block": {"type": "tool_use"}}:
            answer.called = True
        case {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": str(piece)}}:
            answer.arguments = (answer.arguments + piece)[:MAX_TEXT]
        case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": str(piece)}}:
            answer.text = (answer.text + piece)[:MAX_TEXT]
        case {"type": "error", "error": {"message": str(message)}}:
            answer.problem = message
        case {"type": "message_stop"}:
            return True
    return False
