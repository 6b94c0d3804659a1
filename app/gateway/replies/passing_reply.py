"""Passes a reply's bytes, if both sides speak the same dialect and nothing was adapted."""

from __future__ import annotations

import time

import msgspec

from app.conversation.capabilities import RenderContext
from app.conversation.response import Response, Usage
from app.conversation.tokens.estimate import estimate_body
from app.dialects.contract import StreamPassthrough
from app.gateway.attempt import Target
from app.gateway.large_bodies.heavy_work import run_heavy
from app.gateway.messages import ClientRequest
from app.gateway.reasoning_memory.reasoning_recall import ReasoningRecall
from app.gateway.replies.translation import restage
from app.settings import LimitsSettings

_NO_NAMES: frozenset[str] = frozenset()  # each further one takes 216 bytes


def open_passing_stream(target: Target, recall: ReasoningRecall | None, context: RenderContext) -> StreamPassthrough:
    """The client's stream. `recall`, here and below, remembers reasoning for a client that does not keep it; None if
    that is not needed."""
    stream = target.dialect.StreamPassthrough(context, target.capabilities)
    return stream if recall is None else recall.observe_stream(stream)


def pass_reply(
    target: Target, recall: ReasoningRecall | None, body: bytes, context: RenderContext
) -> tuple[bytes, Usage | None]:
    """Passes a whole reply; returns the client's bytes and the usage. Raises UpstreamError if it is not a reply."""
    passed, usage = run_heavy(len(body), target.dialect.pass_response, body, context, target.capabilities)
    if recall is not None:
        recall.observe_body(passed)
    return passed, usage


def observe_reply(response: Response, recall: ReasoningRecall | None, context: RenderContext) -> Response:
    """Shows `recall` a reply that would pass, but came as a stream instead of whole or the reverse."""
    stages = () if recall is None else (recall.observing_stage,)
    return restage(response, stages, context)


def passing_context(target: Target) -> RenderContext:
    """The context of a reply that passes: what it may repeat of the client's request."""
    own = target.capabilities.first_party
    return echoing_context(target.client_request, target.model, target.resources.limits, stream=target.stream, own=own)


def echoing_context(
    client_request: ClientRequest, model: str, limits: LimitsSettings, *, stream: bool = False, own: bool = False
) -> RenderContext:
    """Like `passing_context`, for a request that goes to the upstream's `model`. `own`: it is the vendor's server."""
    peek, body, traits = client_request.peek, client_request.body, client_request.dialect.TRAITS
    include_usage = stream and asks_usage(body)
    return RenderContext(
        model=peek.model,
        id=client_request.id,
        created=int(time.time()),
        include_usage=include_usage,
        input_tokens=estimate_body(body) if include_usage else 0,
        upstream_model=model,
        several=peek.several,
        legacy=peek.legacy,
        body=body if not stream or traits.echoes_prompt else b"",
        max_event=limits.event_mb << 20,
        custom_tools=_NO_NAMES if own or traits.custom_tools is None else traits.custom_tools(body),
    )


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = False


class _UsageWish(msgspec.Struct):
    stream_options: _StreamOptions | None = None


_usage_wish = msgspec.json.Decoder(_UsageWish)


def asks_usage(body: bytes) -> bool:
    """Whether a Chat client asked for the usage chunk, without decoding the rest of its request."""
    if b'"include_usage"' not in body:
        return False
    try:
        options = _usage_wish.decode(body).stream_options
    except msgspec.MsgspecError:
        return False
    return bool(options and options.include_usage)
