"""An attempt that passes the client's bytes, for two sides that speak the same dialect.

In the request only the model's name is replaced. In the reply only what is broken is changed.
"""

from __future__ import annotations

from app.conversation.capabilities import RenderContext
from app.conversation.losses import settle
from app.conversation.response import Response, Usage
from app.dialects.contract import RenderedRequest, StreamPassthrough
from app.dialects.openai_completions.passthrough import find_lowered
from app.errors import SAID_NOTHING, UpstreamRefused
from app.gateway.attempt import Attempt, Target
from app.gateway.large_bodies.heavy_work import run_heavy
from app.gateway.reasoning_memory.reasoning_recall import ReasoningRecall, passes_silently
from app.gateway.replies.passing_reply import observe_reply, open_passing_stream, pass_reply, passing_context


class Passing(Attempt):
    """`body` is what is sent upstream."""

    def __init__(self, target: Target, body: bytes) -> None:
        super().__init__(target)
        reasoning_store = target.resources.reasoning_store
        recall: ReasoningRecall | None = None
        if reasoning_store is not None and passes_silently(target.client_request, target.capabilities):
            recall = ReasoningRecall(reasoning_store, target.client_request, target.upstream.label, target.capabilities)
        self._recall = recall
        self.losses = []
        if target.operation == "completions":
            lowered = find_lowered(target.client_request.body, target.capabilities)
            self.losses = settle(lowered, target.upstream.policy)
        self.streamed = target.stream
        self.rendered = self._without_refused(RenderedRequest(body))

    def open_stream(self) -> StreamPassthrough:
        return open_passing_stream(self.target, self._recall, self.context)

    def finish(self, body: bytes) -> tuple[bytes, Usage | None]:
        if self.target.stream:
            return self.finish_response(run_heavy(len(body), self.target.dialect.parse_response, body))
        return pass_reply(self.target, self._recall, body, self.context)

    def finish_response(self, response: Response) -> tuple[bytes, Usage | None]:
        if response.is_empty and not (self.target.capabilities.first_party or self.target.dialect.TRAITS.means_empty):
            raise UpstreamRefused(SAID_NOTHING)
        response = observe_reply(response, self._recall, self.context)
        return self.render(response), response.usage

    def _make_context(self) -> RenderContext:
        return passing_context(self.target)
