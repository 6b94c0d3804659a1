"""An attempt that translates: parses, adapts and renders the request, and the reply in reverse.

Every change to a request is made here, even if both sides speak the same dialect but the upstream does not accept what
the client sent. In that case a reply that needs no change still passes.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from app.adaptation.adapt import Adapted, adapt
from app.conversation.capabilities import RenderContext
from app.conversation.losses import settle
from app.conversation.request import Extension, NativeTool, Request, State, Turn
from app.conversation.response import Response, Usage
from app.conversation.streams.stages import StageMaker
from app.conversation.tokens.estimate import estimate_tokens
from app.dialects.contract import RenderedRequest, StreamParser, StreamPassthrough
from app.dialects.registry import DIALECTS
from app.gateway.attempt import Attempt, Target
from app.gateway.large_bodies.heavy_work import SMALL, run_heavy
from app.gateway.reasoning_memory.reasoning_recall import ReasoningRecall, may_forget
from app.gateway.replies.passing_reply import open_passing_stream, pass_reply, passing_context
from app.gateway.replies.paused_turn import PausedTurn
from app.gateway.replies.translation import StreamTranslation, restage
from app.providers.provider import UpstreamRequest


class Translating(Attempt):
    """With `reply_passes`, both sides speak the same dialect and only the request needed a change; the reply then
    passes unless the adaptation must be reversed in it."""

    def __init__(self, target: Target, *, reply_passes: bool) -> None:
        """Raises InvalidRequest or Unsupported if the request cannot be sent to this upstream."""
        super().__init__(target)
        self.streamed = (target.stream or target.capabilities.stream_only) and not target.capabilities.whole_only
        request = self._steer(target.client_request.request, keeps_state=reply_passes)
        if request.max_tokens == 0 and not target.dialect.TRAITS.fills_caches:
            self.answer = _say_nothing(request)
        fetcher, reasoning_store = target.resources.fetcher, target.resources.reasoning_store
        if fetcher is not None:
            began = time.monotonic()
            request = fetcher.bring(request, target.capabilities)
            self.record.note_step("fetch", "URLs of the client", began)
        observers: tuple[StageMaker, ...] = ()
        recall: ReasoningRecall | None = None
        if reasoning_store is not None and may_forget(target.client_request, target.capabilities):
            recall = ReasoningRecall(reasoning_store, target.client_request, target.upstream.label, target.capabilities)
            request, observers = recall.restore_reasoning(request)
        adapted, rendered = run_heavy(target.client_request.size, self._translate, request, reply_passes)
        self._stages, self._observed = (*adapted.stages, *observers), bool(observers)
        # Whether the reply passes nevertheless, and what observes it in that case.
        self._passes, self._recall = reply_passes and adapted.reply_passes, recall if observers else None
        losses = (*adapted.losses, *rendered.losses)
        self.losses = settle(losses, target.upstream.policy) if losses else []
        self.rendered = self._without_refused(rendered)

    def _translate(self, request: Request, reply_passes: bool) -> tuple[Adapted, RenderedRequest]:
        adapted = adapt(request, self.target.capabilities)
        self._asked = self._expect_pauses(adapted.request)
        if reply_passes:
            self._asked = msgspec.structs.replace(self._asked, state=self.client_request.request.state)
        return adapted, DIALECTS[self.target.capabilities.dialect].render_request(self._asked, self.target.capabilities)

    def continued(self, response: Response) -> UpstreamRequest:
        """The same request for the next part of a paused turn, with the answer so far (`response`) added unchanged."""
        turns = (*self._asked.turns, Turn("assistant", response.blocks))
        asked = msgspec.structs.replace(self._asked, turns=turns)
        match response.extensions.get("container"):
            case {"id": str(machine)}:  # where the upstream's tools run: unfinished work continues there
                kept = Extension(self.target.capabilities.dialect, "container", machine, "ignorable")
                asked = msgspec.structs.replace(asked, extensions=(*asked.extensions, kept))
        rendered = DIALECTS[self.target.capabilities.dialect].render_request(asked, self.target.capabilities)
        return self._pack(self._without_refused(rendered))

    def open_stream(self) -> StreamPassthrough:
        if self._passes:
            return open_passing_stream(self.target, self._recall, self.context)
        return StreamTranslation(self.make_parser(), self.client_request.dialect, self._stages, self.context)

    def make_parser(self) -> StreamParser:
        return self.paused_turn or super().make_parser()

    def finish(self, body: bytes) -> tuple[bytes, Usage | None]:
        if self._passes and not self.target.stream:
            return pass_reply(self.target, self._recall, body, self.context)
        parse = self.target.dialect.parse_response
        if len(body) <= SMALL:
            return self.finish_response(parse(body))
        if self._observed:  # observers write to the ledger, which must not happen in a thread
            return self.finish_response(run_heavy(len(body), parse, body))
        return run_heavy(len(body), lambda: self.finish_response(parse(body)))

    def finish_response(self, response: Response) -> tuple[bytes, Usage | None]:
        response = restage(response, self._stages, self.context)
        return self.render(response), response.usage

    def _make_context(self) -> RenderContext:
        if self._passes:
            return passing_context(self.target)
        client_request, traits = self.client_request, self.client_request.dialect.TRAITS
        request, counted = client_request.request, 0
        # A stream lives long and a history is large, so it is counted, in case no upstream does it, and dropped.
        if self.target.stream and (traits.counts_input_first or client_request.size > SMALL):
            counted = estimate_tokens(request, self.target.model, traits.image_rule)
            turns = tuple([msgspec.structs.replace(turn, blocks=()) for turn in request.turns[:1]])
            rest: dict[str, Any] = {"instructions": (), "tools": ()} if traits.counts_input_first else {}
            request = msgspec.structs.replace(request, turns=turns, **rest)  # some answers repeat the rest
        return RenderContext(
            model=client_request.peek.model,
            id=client_request.id,
            created=int(time.time()),
            include_usage=request.include_usage,
            input_tokens=counted,
            upstream_model=self.target.model,
            legacy=client_request.peek.legacy,
            request=request,
            body=client_request.body if traits.echoes_prompt else b"",
            max_event=self.target.resources.limits.event_mb << 20,
            usage_scale=self.target.upstream.usage_scale,
        )

    def _expect_pauses(self, request: Request) -> Request:
        """Makes the request a stream if the upstream may pause in the middle of its turn, because the parts are joined
        as they are read."""
        target = self.target
        if target.same_dialect or not target.dialect.TRAITS.pauses_turns:
            return request
        if not any(isinstance(tool, NativeTool) and tool.server for tool in request.tools):
            return request
        self.paused_turn = PausedTurn(target.dialect.StreamParser)
        self.streamed = True
        return msgspec.structs.replace(request, stream=True)

    def _steer(self, request: Request, *, keeps_state: bool) -> Request:
        """Sets what the route decides instead of the client. With `keeps_state` the state is left out: the upstream
        knows what the request continues, or the body already contains it."""
        target = self.target
        changes: dict[str, object] = {}
        session = target.client_request.session
        if session and request.cache_key is None and target.capabilities.cache_key:
            # The upstream finds a conversation's cache by this key.
            changes["cache_key"] = session
        if self.streamed != request.stream:
            changes["stream"] = self.streamed
        if keeps_state:
            changes["state"] = State()
        elif target.client_request.continuation is not None:
            # The gateway stores translated responses itself, and the request already contains its history.
            store = False if request.state.store is False else None
            changes["state"] = State(store=store)
        effort = target.upstream.reasoning_effort
        if effort is not None and request.reasoning.effort is None and request.reasoning.mode is None:
            changes["reasoning"] = msgspec.structs.replace(request.reasoning, effort=effort)
        request = msgspec.structs.replace(request, model=target.model)
        return msgspec.structs.replace(request, **changes) if changes else request


def _say_nothing(request: Request) -> Response:
    """The empty answer to a request that only fills a prompt cache, for an upstream that does not support that."""
    return Response(id="", model=request.model, blocks=(), finish_reason="length", usage=Usage())
