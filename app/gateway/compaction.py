"""This file compacts a history: the upstream does it where it can, else it is asked for a summary."""

from __future__ import annotations

import time

import msgspec

from app.dialects.openai_responses.compaction import ask_summary, render_compaction
from app.dialects.openai_responses.vocabulary import NAME
from app.errors import InvalidRequest, UpstreamRefused
from app.gateway.gateway import Gateway
from app.gateway.messages import Inbound, Outbound
from app.gateway.policy import ABSENT_STATUSES
from app.gateway.record import Record


def compact(gateway: Gateway, inbound: Inbound, record: Record) -> Outbound:
    """Raises DragomanError."""
    if inbound.peek.stream:
        raise InvalidRequest("stream: a compaction is not streamed", param="stream")
    upstreams = gateway.router.resolve(inbound.peek.model, inbound.provider)
    if all(up.provider.dialect == NAME and gateway.offers(up, inbound, "compact") for up in upstreams):
        native = inbound.with_body(inbound.body)
        native.operation = "compact"
        try:
            return gateway.answer(native, record)
        except UpstreamRefused as error:
            if error.failure.status not in ABSENT_STATUSES:
                raise
    whole = gateway.with_history(inbound, upstreams[0])
    asked = ask_summary(whole.body, name_previous=whole is inbound)
    answered = gateway.answer(inbound.with_body(asked), record)
    assert isinstance(answered.body, bytes)
    body = render_compaction(whole.body, answered.body, f"resp_{inbound.id}", int(time.time()))
    return msgspec.structs.replace(answered, body=body)
