"""Answers legacy Completions, with a chat request per prompt if the upstream does not offer completions."""

from __future__ import annotations

import time

from app.conversation.capabilities import RenderContext
from app.dialects.openai_completions.request_parser import read_request, split_request
from app.dialects.openai_completions.response_renderer import join_responses, stream_response
from app.gateway.delivery import JSON_HEADERS, STREAM_HEADERS
from app.gateway.endpoints.fanout import answer_each
from app.gateway.gateway import Gateway
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record


def complete(gateway: Gateway, client_request: ClientRequest, record: Record) -> ClientResponse:
    """Answers a legacy Completions request. Raises DragomanError."""
    peek = client_request.peek
    client_request.operation = "completions"
    upstreams = gateway.resolve(client_request)
    if all(gateway.offers(upstream, client_request, "completions") for upstream in upstreams):
        return gateway.answer(client_request, record)
    singles = split_request(client_request.body)
    if len(singles) == 1:
        return gateway.answer(client_request, record)
    bodies = answer_each(gateway.answer, [client_request.with_body(single) for single in singles], record)
    record.stream = bool(peek.stream)
    joined = join_responses(bodies, RenderContext(model=peek.model, id=client_request.id, created=int(time.time())))
    if not peek.stream:
        return ClientResponse(200, dict(JSON_HEADERS), joined)
    options = read_request(client_request.body).stream_options
    streamed = stream_response(joined, include_usage=bool(options and options.include_usage))
    return ClientResponse(200, dict(STREAM_HEADERS), iter((streamed,)))
