"""Sends a visitor's request through the whole gateway, for the test and replay buttons."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping
from contextlib import closing

from flask import request

from app.blueprints.api import admit
from app.blueprints.views import runtime, services
from app.dashboard.visitors import Visitor
from app.dialects.contract import Dialect
from app.dialects.registry import DIALECTS
from app.errors import DragomanError
from app.gateway.endpoints.tool_trial import PATH, Answer, make_request, read_answer
from app.gateway.messages import ClientRequest, ClientResponse, new_id
from app.gateway.record import Record

AGENT = "dragoman-dashboard"

Parts = Generator[bytes, None, None]


def test_model(visitor: Visitor, model: str) -> Answer:
    """Sends one short streamed tool call in Anthropic Messages; to a model that takes no tools, a question."""
    begun = time.monotonic()
    body = json.dumps(make_request(model, with_tool=_takes_tools(model))).encode()
    request_id, headers, parts = send(visitor, DIALECTS["anthropic_messages"], PATH, body)
    answer = Answer(request_id, headers.get("x-dragoman-upstream", ""))
    if isinstance(parts, DragomanError):
        answer.total, answer.problem = time.monotonic() - begun, str(parts)
        return answer
    with closing(parts):
        return read_answer(parts, begun, answer)


def _takes_tools(model: str) -> bool:
    try:
        return services().router.resolve(model)[0].capabilities.tools
    except DragomanError:
        return True  # the request itself says what is wrong


def send(
    visitor: Visitor, dialect: Dialect, path: str, body: bytes
) -> tuple[str, Mapping[str, str], Parts | DragomanError]:
    """The request's id, and the answer's headers and parts, which must be read to the end, or the error. It is
    recorded, limited and accounted for like any other request of the visitor's key."""
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "HTTP_USER_AGENT": AGENT,
        "HTTP_CONTENT_TYPE": "application/json",
        "REMOTE_ADDR": request.remote_addr or "",
    }
    record = runtime().recorder.begin(new_id(), dialect.NAME, environ)
    asked = ClientRequest(dialect, body, {}, key=visitor.client_key, request_id=record.id)
    try:
        answer = _ask(asked, record, environ)
    except DragomanError as error:
        record.fail(error)
        refusal = error
    except Exception as fault:
        refusal = record.fault(fault)
    else:
        record.status = answer.status
        return record.id, answer.headers, _read(answer, record)
    record.status = dialect.error_status(refusal.failure)
    record.write()
    return record.id, {}, refusal


def _ask(asked: ClientRequest, record: Record, environ: Mapping[str, str]) -> ClientResponse:
    owner, gateway = runtime(), services().gateway
    asked = admit(owner, services(), asked, record, environ)
    if asked.key.limits:
        record.reservation = owner.limiter.reserve(
            "key", asked.key.name, asked.key.limits, asked, lambda: gateway.resolve(asked)[0]
        )
    return gateway.answer(asked, record)


def _read(answer: ClientResponse, record: Record) -> Parts:
    """The parts of an answer; the request's record is written after the last one."""
    parts = iter((answer.body,)) if isinstance(answer.body, bytes) else answer.body
    if isinstance(answer.body, bytes):
        record.bytes_out = len(answer.body)
    try:
        if record.wiretap is not None:
            record.wiretap.client_response(f"{record.status}", list(answer.headers.items()))
            parts = record.wiretap.tee(parts)
        yield from parts
    finally:
        record.write()


def settle() -> None:
    """Writes what has just ended, so the page of the request exists."""
    owner = runtime()
    owner.recorder.hand_out()
    owner.observers.follow_orders()
    if owner.accounts is not None:
        owner.accounts.flush()
