"""Sends a visitor's request through the whole gateway, for the test and replay buttons."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping

from flask import request

from app.blueprints.api import admit
from app.blueprints.views import runtime, services
from app.dashboard.visitors import Visitor
from app.dialects.contract import Dialect
from app.dialects.registry import DIALECTS
from app.errors import DragomanError
from app.gateway.endpoints.tool_trial import PATH, Answer, make_request, read_answer
from app.gateway.messages import ClientRequest, new_id
from app.gateway.use_limits.refusal import Owner

AGENT = "dragoman-dashboard"


def test_model(visitor: Visitor, model: str) -> Answer:
    """One short streamed tool call, by the dialect of Anthropic's Messages."""
    begun = time.monotonic()
    body = json.dumps(make_request(model)).encode()
    request_id, headers, parts = send(visitor, DIALECTS["anthropic_messages"], PATH, body)
    answer = Answer(request_id, headers.get("x-dragoman-upstream", ""))
    if isinstance(parts, DragomanError):
        answer.total, answer.problem = time.monotonic() - begun, str(parts)
        return answer
    try:
        return read_answer(parts, begun, answer)
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()


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
