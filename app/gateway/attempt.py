"""One attempt at one upstream: the request it sends, and how its reply becomes the client's.

An attempt is built once, with the body to send, and is read-only from then on. It is a `Passing` (passing.py) if both
sides speak the same dialect and the upstream accepts the client's bytes, otherwise a `Translating` (translating.py);
`open_attempt` (choice.py) decides.
"""

from __future__ import annotations

import abc

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.losses import Loss, list_dropped, list_lowered
from app.conversation.response import Response, Usage, scale_usage
from app.credentials.credential import Credential
from app.dialects.contract import ClientDialect, RenderedRequest, StreamParser, StreamPassthrough
from app.dialects.refused_fields import NESTED, leave_out
from app.gateway.fetching import Fetcher
from app.gateway.messages import ClientRequest, ReadOnce
from app.gateway.reasoning_memory.reasoning_store import ReasoningStore
from app.gateway.record import Record
from app.gateway.replies.paused_turn import PausedTurn
from app.gateway.replies.translation import stream_whole
from app.gateway.upstream_health.health import OPEN, Gate
from app.providers.provider import Operation, UpstreamRequest
from app.routing.upstream import Upstream
from app.settings import LimitsSettings


class Resources(msgspec.Struct, frozen=True):
    """What a configuration gives to all attempts: limits of sizes, and if it allows that, what fetches the files that a
    client named by URL, and what keeps reasoning for clients that do not send it back."""

    limits: LimitsSettings = LimitsSettings()
    fetcher: Fetcher | None = None
    reasoning_store: ReasoningStore | None = None


class Sends(msgspec.Struct):
    """How often one request has been sent, and how often it may be. Resending on a new connection counts too.
    `gate` is how it may use the upstream that is asked now; what comes of it all goes into the `record`.

    The transport calls `may_resend` of this object rather than of the attempt, because the attempt holds the request
    that the transport was given.
    """

    record: Record
    maximum: int = 2
    made: int = 0
    gate: Gate = OPEN

    @property
    def may_send(self) -> bool:
        return self.made < self.maximum

    def may_resend(self) -> bool:
        """Whether the request may be sent once more, which is then counted."""
        may = self.may_send
        if may:
            self.made += 1
            self.record.begin_attempt(resent=True)
        return may


class Target(msgspec.Struct, frozen=True):
    """What an attempt is built from. `dialect` is the dialect spoken to the upstream, `model` the upstream's name for
    the model, and `stream` whether the client wants a stream."""

    client_request: ClientRequest
    upstream: Upstream
    capabilities: Capabilities
    credential: Credential | None
    stream: bool
    operation: Operation
    dialect: ClientDialect
    resources: Resources
    sends: Sends
    model: str
    same_dialect: bool


class Attempt(abc.ABC):
    """`rendered` is what the upstream is sent, and `streamed` whether it is asked for a stream. `losses` are the
    request's losses, settled by the route's policy. `answer` is set if the upstream need not be asked, `paused_turn` if
    its answer may come in several parts."""

    rendered: RenderedRequest
    streamed: bool
    losses: list[Loss]
    answer: Response | None = None
    paused_turn: PausedTurn | None = None

    def __init__(self, target: Target) -> None:
        self.target = target
        self.client_request = target.client_request
        self.record = target.sends.record
        self._context: RenderContext | None = None

    @property
    def context(self) -> RenderContext:
        """What renderers need to know about the client's request."""
        if self._context is None:
            self._context = self._make_context()
        return self._context

    @ReadOnce
    def upstream_request(self) -> UpstreamRequest:
        """The request for its provider. A plan needs only its body."""
        return self._pack(self.rendered)

    @abc.abstractmethod
    def _make_context(self) -> RenderContext: ...

    @abc.abstractmethod
    def open_stream(self) -> StreamPassthrough:
        """The client's stream, to be fed with the bytes of the upstream's stream."""

    @abc.abstractmethod
    def finish(self, body: bytes) -> tuple[bytes, Usage | None]:
        """The client's whole answer, made from the upstream's body, with its usage; rendered as a stream if the client
        asked for one. Raises UpstreamError if the body is not an answer."""

    @abc.abstractmethod
    def finish_response(self, response: Response) -> tuple[bytes, Usage | None]:
        """Like `finish`, for an answer that is already parsed."""

    def continued(self, response: Response) -> UpstreamRequest:
        """The request for the next part of a paused turn; `response` is the answer so far."""
        raise AssertionError("only an attempt with a paused turn is continued")

    def make_parser(self) -> StreamParser:
        """The parser for an upstream stream that is collected into a whole answer."""
        return self.target.dialect.StreamParser()

    def render(self, response: Response) -> bytes:
        """A whole answer in the client's dialect, as a stream if it asked for one."""
        client, context = self.client_request.dialect, self.context
        if response.usage is not None and context.usage_scale != 1:
            response = msgspec.structs.replace(response, usage=scale_usage(response.usage, context.usage_scale))
        if self.target.stream:
            return stream_whole(response, client, context)
        return client.render_response(response, context)

    def note_losses(self) -> None:
        """Puts the request's losses into the record, in place of those of an earlier attempt."""
        record = self.record
        if self.losses or record.dropped or record.lowered:
            record.dropped, record.lowered = list_dropped(self.losses), list_lowered(self.losses)

    def _without_refused(self, rendered: RenderedRequest) -> RenderedRequest:
        """What is rendered, without the fields that this upstream refuses, which become losses."""
        refused = self.target.capabilities.refused_fields
        if not refused:
            return rendered
        body, left_out = leave_out(rendered.body, refused)
        self.losses += [
            Loss(
                "ignorable" if "." in name or NESTED + name in refused else "degrading",
                name,
                "this upstream refuses the field",
            )
            for name in left_out
        ]
        return msgspec.structs.replace(rendered, body=body)

    def _pack(self, rendered: RenderedRequest) -> UpstreamRequest:
        target = self.target
        return UpstreamRequest(
            operation=target.operation,
            model=target.model,
            body=rendered.body,
            headers=rendered.headers,
            client_headers=self.client_request.headers,
            same_dialect=target.same_dialect,
            stream=self.streamed,
            session=self.client_request.session,
            session_mounted=self.client_request.session_mounted,
            tenant=self.client_request.tenant,
            may_resend=target.sends.may_resend,
            refused=target.capabilities.refused_fields,
        )
