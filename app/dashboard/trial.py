"""Asks a model through the whole gateway, as a client would, for the buttons that test and replay."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import sseclient
from flask import request
from msgspec import Struct

from app.blueprints.api import admit
from app.blueprints.views import runtime, services
from app.dashboard.visitors import Visitor
from app.dialects.contract import Dialect
from app.dialects.registry import DIALECTS
from app.errors import DragomanError
from app.gateway.client_limits.refusal import Owner
from app.gateway.messages import ClientRequest, new_id

AGENT = "dragoman-dashboard"
TOOL: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
PROMPT = "What is the weather in Paris? Call the tool get_weather to find out."
# Room for a model that thinks before it calls.
MOST_TOKENS = 1024
# Seconds, events and characters after which a stream is no answer to this question.
LONGEST, MOST_EVENTS, MOST_TEXT = 90.0, 5000, 2000


class Answer(Struct, frozen=True):
    """What came back. Times are seconds; `problem` is the gateway's sentence, `id` that of the request."""

    id: str
    upstream: str = ""
    first_event: float | None = None
    total: float = 0.0
    called: bool = False
    arguments: str = ""
    text: str = ""
    problem: str | None = None


def test_model(visitor: Visitor, model: str) -> Answer:
    """One short streamed tool call, by the dialect of Anthropic's Messages."""
    body = {
        "model": model,
        "max_tokens": MOST_TOKENS,
        "stream": True,
        "tools": [TOOL],
        "messages": [{"role": "user", "content": PROMPT}],
    }
    begun = time.monotonic()
    request_id, headers, parts = send(
        visitor, DIALECTS["anthropic_messages"], "/v1/messages", json.dumps(body).encode()
    )
    if isinstance(parts, DragomanError):
        return Answer(request_id, total=time.monotonic() - begun, problem=str(parts))
    return _read(request_id, headers.get("x-dragoman-upstream", ""), parts, begun)


def send(
    visitor: Visitor, dialect: Dialect, path: str, body: bytes, provider: str | None = None
) -> tuple[str, Mapping[str, str], Iterator[bytes] | DragomanError]:
    """The id of the request, and the answer's headers and parts, which are to be read to their end; or why there is
    none. It is recorded, limited and accounted for like any other request of the visitor's key."""
    owner, parts = runtime(), services()
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "HTTP_USER_AGENT": AGENT,
        "HTTP_CONTENT_TYPE": "application/json",
        "REMOTE_ADDR": request.remote_addr or "",
    }
    record = owner.recorder.begin(new_id(), dialect.NAME, environ)
    asked = ClientRequest(dialect, body, {}, provider=provider, key=visitor.client_key, request_id=record.id)
    try:
        asked = admit(owner, parts, asked, record, environ)
        if asked.key.limits:
            whose = Owner("key", asked.key.name)
            record.reservation = owner.limiter.reserve(
                whose, asked.key.limits, asked, lambda: parts.gateway.resolve(asked)[0]
            )
        answer = parts.gateway.answer(asked, record)
    except DragomanError as error:
        record.fail(error)
        record.status = dialect.error_status(error.failure)
        record.write()
        return record.id, {}, error
    except Exception as fault:
        own = record.fault(fault)
        record.status = 500
        record.write()
        return record.id, {}, own
    record.status = answer.status
    headers, answered = answer.headers, answer.body

    def read() -> Iterator[bytes]:
        try:
            if isinstance(answered, bytes):
                record.bytes_out = len(answered)
                whole = iter((answered,))
            else:
                whole = answered
            if record.wiretap is not None:
                record.wiretap.client_response(f"{record.status}", list(headers.items()))
                whole = record.wiretap.tee(whole)
            yield from whole
        finally:
            record.write()

    return record.id, headers, read()


def settle() -> None:
    """What has just ended is written, so that the page of the request is there."""
    owner = runtime()
    owner.recorder.hand_out()
    owner.observers.follow_orders()
    if owner.accounts is not None:
        owner.accounts.flush()


def _read(request_id: str, upstream: str, parts: Iterator[bytes], begun: float) -> Answer:
    first: float | None = None
    called, ended, arguments, text, problem = False, False, "", "", None
    try:
        for number, event in enumerate(sseclient.SSEClient(parts).events()):
            first = first if first is not None else time.monotonic() - begun
            match _decode(event.data):
                case {"type": "content_block_start", "content_block": {"type": "tool_use"}}:
                    called = True
                case {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": str(piece)}}:
                    arguments = (arguments + piece)[:MOST_TEXT]
                case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": str(piece)}}:
                    text = (text + piece)[:MOST_TEXT]
                case {"type": "error", "error": {"message": str(message)}}:
                    problem = message
                case {"type": "message_stop"}:
                    ended = True
            if ended or problem or number > MOST_EVENTS or time.monotonic() - begun > LONGEST:
                break
    finally:
        # Not before its end: the record is written when the parts are done with.
        for _ in parts if ended else ():
            pass
        close = getattr(parts, "close", None)
        if close is not None:
            close()
    if not ended and problem is None:
        problem = "the stream has no end"
    return Answer(request_id, upstream, first, time.monotonic() - begun, called, arguments, text, problem)


def _decode(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
