"""Creates a response, in the foreground or background, and compacts a history, natively if the upstream can."""

from __future__ import annotations

import time

import msgspec

from app.dialects.openai_responses.state.compaction import ask_summary, render_compaction
from app.dialects.openai_responses.vocabulary import NAME
from app.errors import InvalidRequest, UpstreamRefused
from app.gateway.failures.repairs.repair import ABSENT_STATUSES
from app.gateway.gateway import Gateway
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record
from app.gateway.responses_api.background import Background
from app.gateway.responses_api.response_store import ResponseStore


def create_response(
    gateway: Gateway, background: Background, store: ResponseStore, client_request: ClientRequest, record: Record
) -> ClientResponse:
    """Answers a request, in the background if it asks for that. Raises DragomanError while it can still be an HTTP
    status."""
    if background.takes(client_request):
        return background.begin(client_request, record)
    return answer_continued(gateway, store, client_request, record)


def answer_continued(
    gateway: Gateway, store: ResponseStore, client_request: ClientRequest, record: Record
) -> ClientResponse:
    """Answers a request that may continue an earlier response, and whose answer may have to be stored."""
    if client_request.continuation is None:
        client_request.continuation = store.begin(client_request)
    return gateway.answer(client_request, record)


def compact(gateway: Gateway, store: ResponseStore, client_request: ClientRequest, record: Record) -> ClientResponse:
    """Answers a compaction request. Raises DragomanError."""
    if client_request.peek.stream:
        raise InvalidRequest("stream: a compaction cannot be streamed", param="stream")
    client_request.continuation = None  # the limits have counted it; each request below has its own
    upstreams = gateway.resolve(client_request)
    if all(up.provider.dialect == NAME and gateway.offers(up, client_request, "compact") for up in upstreams):
        native = client_request.with_body(client_request.body)
        native.operation = "compact"
        try:
            return answer_continued(gateway, store, native, record)
        except UpstreamRefused as error:
            if error.failure.status not in ABSENT_STATUSES:
                raise
    continuation = store.begin(client_request)
    whole = client_request if continuation is None else continuation.prepare(upstreams[0])
    asked = ask_summary(whole.body, name_previous=whole is client_request)
    answered = answer_continued(gateway, store, client_request.with_body(asked), record)
    assert isinstance(answered.body, bytes)
    body = render_compaction(whole.body, answered.body, f"resp_{client_request.id}", int(time.time()))
    return msgspec.structs.replace(answered, body=body)
