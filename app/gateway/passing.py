"""An attempt whose bytes pass: client and upstream speak one dialect, and the upstream takes what the client sent.

Of the request only the name of the model is ours. Of the reply only what is broken is changed.
"""

from __future__ import annotations

import time

import msgspec

from app.conversation.capabilities import RenderContext
from app.conversation.losses import settle
from app.conversation.response import Response, Usage
from app.conversation.stages import StageMaker
from app.dialects.contract import StreamPassthrough
from app.gateway.attempt import Attempt, Target
from app.gateway.reasoning_memory.reasoning_recall import ReasoningRecall, passes_silently
from app.gateway.reasoning_memory.reasoning_store import ReasoningStore
from app.gateway.translation import restage


class Passing(Attempt):
    """`reasoning_store` remembers for clients that keep no reasoning; None where nobody has to."""

    def __init__(self, target: Target, reasoning_store: ReasoningStore | None) -> None:
        """Raises InvalidRequest or Unsupported when the request cannot go to this upstream."""
        super().__init__(target)
        body = target.client_request.body
        self._recall: ReasoningRecall | None = None
        self._stages: tuple[StageMaker, ...] = ()
        if reasoning_store is not None and passes_silently(target.client_request, target.capabilities):
            self._recall = recall = ReasoningRecall(
                reasoning_store, target.client_request, target.upstream.label, target.capabilities
            )
            body = recall.restore_in_body(body)
            self._stages = (recall.observing_stage,)
        rendered = target.dialect.patch_request(body, target.capabilities)
        self.losses = settle(rendered.losses, target.upstream.policy)
        # A server that only streams its answers has no other form than its own for anything else.
        collects = target.capabilities.stream_only and target.operation == "generate"
        self.upstream_request = self._pack(rendered, stream=target.stream or collects)

    def open_stream(self) -> StreamPassthrough:
        stream = self.target.dialect.StreamPassthrough(self.context, self.target.capabilities)
        return stream if self._recall is None else self._recall.observe_stream(stream)

    def finish(self, body: bytes) -> tuple[bytes, Usage | None]:
        dialect = self.target.dialect
        if self.stream:
            return self.finish_response(dialect.parse_response(body))
        repaired = dialect.repair_response(body, self.context, self.target.capabilities)
        if self._recall is not None:
            self._recall.observe_body(repaired)
        return repaired, dialect.find_usage(body)

    def finish_response(self, response: Response) -> tuple[bytes, Usage | None]:
        response = restage(response, self._stages, self.context)
        return self.render(response), response.usage

    def _make_context(self) -> RenderContext:
        client_request = self.client_request
        return RenderContext(
            model=client_request.peek.model,
            id=client_request.id,
            created=int(time.time()),
            include_usage=asks_usage(client_request.body),
            upstream_model=self.target.model,
            several=client_request.peek.n not in (None, 1),
            body=b"" if self.stream and not client_request.dialect.TRAITS.echoes_prompt else client_request.body,
            max_event=self.target.limits.event_mb << 20,
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
