"""One request as it goes to one upstream, and how that upstream's reply comes back."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import msgspec

from app.adaptation.adapt import adapt
from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.losses import Loss, settle
from app.conversation.request import Extension, NativeTool, Request, State, Turn
from app.conversation.response import Response, Usage
from app.conversation.stages import StageMaker
from app.conversation.tokens import estimate_tokens
from app.credentials.credential import Credential
from app.dialects.contract import Dialect, RenderedRequest, StreamParser, StreamPassthrough
from app.dialects.registry import DIALECTS
from app.errors import UpstreamMalformed, UpstreamRefused
from app.gateway.fetching import Fetcher
from app.gateway.messages import ClientRequest
from app.gateway.paused_turn import PausedTurn
from app.gateway.reasoning_memory.reasoning_recall import ReasoningRecall, passes_silently
from app.gateway.reasoning_memory.reasoning_store import ReasoningStore
from app.gateway.record import Record
from app.gateway.reply_headers import clean_error, mask, relayed_headers
from app.gateway.translation import StreamTranslation
from app.providers.provider import Operation, UpstreamRequest
from app.routing.router import Upstream
from app.settings import LimitsSettings
from app.transport import Exchange, Obtaining

log = logging.getLogger("dragoman")

USUAL = LimitsSettings()
# Characters of foreign text that an error of ours quotes.
MOST_QUOTED = 300


class Attempt:
    """One request as it goes to one upstream, and how its reply comes back."""

    def __init__(
        self,
        client_request: ClientRequest,
        upstream: Upstream,
        capabilities: Capabilities,
        credential: Credential | None,
        stream: bool,
        reasoning_store: ReasoningStore | None = None,
        fetcher: Fetcher | None = None,
        limits: LimitsSettings = USUAL,
    ) -> None:
        self.client_request = client_request
        self.upstream = upstream
        self.capabilities = capabilities
        self.credential = credential
        self.stream = stream
        self.limits = limits
        self._fetcher = fetcher
        self.operation: Operation = "generate"
        self.dialect: Dialect = DIALECTS[capabilities.dialect]
        operation = client_request.operation
        if operation != "generate" and operation not in capabilities.absent and upstream.provider.offers(operation):
            self.operation, self.dialect = operation, client_request.dialect
        self.same_dialect = self.dialect is client_request.dialect
        # An upstream that only streams is asked for a stream, and its answer is collected for a unary client.
        self.upstream_stream = stream or capabilities.stream_only
        # Bytes pass where both speak alike; what is no generation can do nothing else.
        rewrites = upstream.rewrites or (client_request.state is not None and client_request.state.adopted)
        self.direct = self.same_dialect and (self.operation != "generate" or not rewrites)
        self._reasoning_recall: ReasoningRecall | None = None
        forgets = client_request.dialect.NAME == "openai_chat" and (
            not self.direct or passes_silently(client_request.body, capabilities)
        )
        if reasoning_store is not None and forgets:
            self._reasoning_recall = ReasoningRecall(reasoning_store, client_request, upstream.label, capabilities)
        self.stages: tuple[StageMaker, ...] = ()
        self.losses: list[Loss] = []
        self.answer: Response | None = None  # where there is nothing to ask the upstream for
        self.paused_turn: PausedTurn | None = None  # where the answer may come in several
        self.sent = b""  # the body that the upstream was sent last
        self._asked: Request | None = None
        self._context: RenderContext | None = None

    def upstream_request(self) -> UpstreamRequest:
        """Raises InvalidRequest or Unsupported when the request cannot go to this upstream."""
        return self._pack(self._patch() if self.direct else self._translate())

    def continued(self, said: Response) -> UpstreamRequest:
        """The same request once more, for the next round of its answer: with what was `said`, as it came."""
        assert self._asked is not None, "only an answer in rounds is continued"
        turns = (*self._asked.turns, Turn("assistant", said.blocks))
        asked = msgspec.structs.replace(self._asked, turns=turns)
        match said.extensions.get("container"):
            case {"id": str(machine)}:  # where the upstream's tools run, and what they began is to be ended
                kept = Extension(self.capabilities.dialect, "container", machine, "ignorable")
                asked = msgspec.structs.replace(asked, extensions=(*asked.extensions, kept))
        return self._pack(self.dialect.render_request(asked, self.capabilities))

    def send(self, upstream_request: UpstreamRequest, record: Record, wait: float) -> Obtaining[Exchange]:
        """Sends, and waits for the head of a good answer. Raises what the upstream says otherwise."""
        record.attempts += 1
        record.upstream_status = None
        label = self.upstream.label
        self.sent = upstream_request.body
        exchange = self.upstream.provider.send(upstream_request, self.credential)
        log.debug(
            "request %s goes to %s as %s: %d bytes, losses %s",
            record.id, label, self.dialect.NAME, len(upstream_request.body), [loss.path for loss in self.losses],
        )  # fmt: skip
        good = False
        try:
            while not exchange.wait_head(wait):
                yield
            record.upstream_request_id = _first(exchange.headers, "x-request-id", "request-id", "opc-request-id")
            log.debug("request %s: %s answers HTTP %d", record.id, label, exchange.status)
            good = 200 <= exchange.status < 300
            if not good:
                record.upstream_status = exchange.status
                raise self.refusal(exchange)
            return exchange
        finally:
            if not good:
                exchange.close()

    def _pack(self, rendered: RenderedRequest) -> UpstreamRequest:
        client_request = self.client_request
        return UpstreamRequest(
            operation=self.operation,
            model=self._model,
            body=rendered.body,
            headers=rendered.headers,
            client_headers=client_request.headers,
            same_dialect=self.same_dialect,
            stream=self.upstream_stream,
            session=client_request.session,
        )

    @property
    def context(self) -> RenderContext:
        if self._context is None:
            client_request = self.client_request
            request = None if self.direct else client_request.request
            include_usage = request.include_usage if request is not None else asks_usage(client_request.body)
            counted = 0
            # A stream lives long, and a history is large: what is not needed any more is let go.
            if request is not None and self.stream and client_request.dialect.NAME == "anthropic_messages":
                counted = estimate_tokens(request, self._model)
                request = msgspec.structs.replace(request, turns=())
            echoes = not self.stream or client_request.dialect.NAME == "openai_completions"
            self._context = RenderContext(
                model=client_request.peek.model,
                id=client_request.id,
                created=int(time.time()),
                include_usage=include_usage,
                input_tokens=counted,
                upstream_model=self._model,
                request=request,
                body=client_request.body if echoes else b"",
                max_event=self.limits.event_mb << 20,
            )
        return self._context

    @property
    def _model(self) -> str:
        return self.capabilities.model or self.upstream.model

    def open_stream(self) -> StreamTranslation | StreamPassthrough:
        if self.direct:
            passing = self.dialect.StreamPassthrough(self.context, self.capabilities)
            return passing if self._reasoning_recall is None else self._reasoning_recall.observe_stream(passing)
        return StreamTranslation(self.make_parser(), self.client_request.dialect, self.stages, self.context)

    def make_parser(self) -> StreamParser:
        """What reads the upstream's stream."""
        return self.paused_turn or self.dialect.StreamParser()

    def repair(self, body: bytes) -> bytes:
        """A whole answer that passes, as the client gets it."""
        repaired = self.dialect.repair_response(body, self.context, self.capabilities)
        if self._reasoning_recall is not None:
            self._reasoning_recall.observe_body(repaired)
        return repaired

    def _patch(self) -> RenderedRequest:
        body = self.client_request.body
        if self._reasoning_recall is not None:
            body = self._reasoning_recall.restore_in_body(body)
            self.stages = (self._reasoning_recall.observing_stage,)
        rendered = self.dialect.patch_request(body, self.capabilities)
        self.losses = settle(rendered.losses, self.upstream.policy)
        return rendered

    def _translate(self) -> RenderedRequest:
        request = self._steer(self.client_request.request)
        if request.max_tokens == 0 and self.capabilities.dialect != "anthropic_messages":
            self.answer = _say_nothing(request)
        listeners: tuple[StageMaker, ...] = ()
        if self._fetcher is not None:
            request = self._fetcher.bring(request, self.capabilities)
        if self._reasoning_recall is not None:
            request, listeners = self._reasoning_recall.restore_reasoning(request)
        adapted = adapt(request, self.capabilities)
        rendered = self.dialect.render_request(self._expect_rounds(adapted.request), self.capabilities)
        self.stages = (*adapted.stages, *listeners)
        self.losses = settle((*adapted.losses, *rendered.losses), self.upstream.policy)
        return rendered

    def _expect_rounds(self, request: Request) -> Request:
        """The request, as a stream if its answer may come in rounds: those are joined as they are read."""
        if self.same_dialect or self.capabilities.dialect != "anthropic_messages":
            return request
        if not any(isinstance(tool, NativeTool) and tool.server for tool in request.tools):
            return request
        self.paused_turn = PausedTurn(self.dialect.StreamParser)
        self.upstream_stream = True
        self._asked = msgspec.structs.replace(request, stream=True)
        return self._asked

    def _steer(self, request: Request) -> Request:
        """The request with what the route, not the client, decides."""
        changes: dict[str, object] = {"model": self._model}
        if self.upstream_stream != request.stream:
            changes["stream"] = self.upstream_stream
        if self.client_request.state is not None:
            # What is translated is kept here, and has its history in it.
            store = False if request.state.store is False else None
            changes["state"] = State(store=store)
        effort = self.upstream.reasoning_effort
        if effort is not None and request.reasoning.effort is None and request.reasoning.mode is None:
            changes["reasoning"] = msgspec.structs.replace(request.reasoning, effort=effort)
        return msgspec.structs.replace(request, **changes)

    def refusal(self, exchange: Exchange) -> UpstreamRefused:
        """The error that the upstream answered with, without any trace of the credential."""
        if exchange.status < 400:
            target = exchange.headers.get("location", "")[:MOST_QUOTED]
            onward = f" and sent us on to {target!r}, where we do not go: set base_url to it" if target else ""
            raise UpstreamMalformed(f"the upstream answered HTTP {exchange.status}, which is no answer{onward}")
        body = exchange.read_body(self.limits.error_kb << 10, cut=True)
        failure = self.dialect.parse_error(exchange.status, exchange.headers, body)
        secret = self.credential.secret if self.credential is not None else ""
        failure = msgspec.structs.replace(failure, message=mask(failure.message, secret))
        headers = relayed_headers(exchange.headers, same_dialect=self.same_dialect)
        refused = UpstreamRefused(failure, headers)
        told = self.dialect.error_status(failure) == exchange.status and failure.kind != "context_overflow"
        if self.same_dialect and told and clean_error(body):
            refused.body = mask(body.decode("utf-8", "replace"), secret).encode()
        return refused


def _say_nothing(request: Request) -> Response:
    """The answer to a request that only fills a prompt cache, where no cache can be filled so."""
    return Response(id="", model=request.model, blocks=(), finish_reason="length", usage=Usage())


def _first(headers: Mapping[str, str], *names: str) -> str | None:
    return next((headers[name] for name in names if name in headers), None)


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
