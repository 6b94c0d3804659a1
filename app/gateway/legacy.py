"""This file answers legacy completions: by an upstream that has them, else by a chat with each prompt."""

from __future__ import annotations

import time

from app.conversation.capabilities import Reply
from app.dialects.openai_completions.request import read_request, split_request
from app.dialects.openai_completions.response import join_responses, stream_response
from app.gateway.delivery import JSON_HEADERS, STREAM_HEADERS
from app.gateway.fanout import answer_each
from app.gateway.gateway import Gateway
from app.gateway.messages import Inbound, Outbound
from app.gateway.record import Record


def complete(gateway: Gateway, inbound: Inbound, record: Record) -> Outbound:
    """Raises DragomanError."""
    peek = inbound.peek
    inbound.operation = "completions"
    upstreams = gateway.router.resolve(peek.model, inbound.provider)
    if all(gateway.offers(upstream, inbound, "completions") for upstream in upstreams):
        return gateway.answer(inbound, record)
    singles = split_request(inbound.body)
    if len(singles) == 1:
        return gateway.answer(inbound, record)
    bodies = answer_each(gateway.answer, [inbound.with_body(single) for single in singles], record)
    record.stream = bool(peek.stream)
    joined = join_responses(bodies, Reply(model=peek.model, id=inbound.id, created=int(time.time())))
    if not peek.stream:
        return Outbound(200, dict(JSON_HEADERS), joined)
    options = read_request(inbound.body).stream_options
    streamed = stream_response(joined, include_usage=bool(options and options.include_usage))
    return Outbound(200, dict(STREAM_HEADERS), iter((streamed,)))
