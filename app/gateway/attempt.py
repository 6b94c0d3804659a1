"""One attempt at one upstream: the request it sends, and how its reply becomes the client's.

An attempt is built once, with the body to send, and is read-only from then on. It is a `Passing` (passing.py) if both
sides speak the same dialect and the upstream accepts the client's bytes, otherwise a `Translating` (translating.py);
`open_attempt` (choice.py) decides.
"""

from __future__ import annotations

import abc
import logging
import time

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.losses import Loss, list_dropped, list_lowered
from app.conversation.response import Response, Usage, scale_usage
from app.credentials.credential import Credential
from app.dialects.contract import ClientDialect, RenderedRequest, StreamParser, StreamPassthrough
from app.dialects.error_kinds import has_login_words
from app.dialects.refused_fields import NESTED, leave_out
from app.errors import UpstreamMalformed, UpstreamRefused, UpstreamTimeout
from app.gateway.failures.policy import is_lasting
from app.gateway.failures.retry_after import find_retry_after
from app.gateway.messages import ClientRequest, ReadOnce
from app.gateway.record import Record
from app.gateway.replies.paused_turn import PausedTurn
from app.gateway.replies.reply_headers import clean_error, relayed_headers
from app.gateway.replies.translation import stream_whole
from app.gateway.upstream_health.liveness import LivenessCheck
from app.known_secrets import known_secrets
from app.providers.provider import Operation, Provider, UpstreamRequest
from app.providers.quotas import has_nothing_left
from app.routing.upstream import Upstream
from app.settings import LimitsSettings
from app.transport import Exchange, Obtaining, WholeReply

log = logging.getLogger("dragoman")

# Maximum characters of foreign text quoted in one of our errors.
MAX_QUOTED = 300


class Sends(msgspec.Struct):
    """How often one request has been sent, and how often it may be. Resending on a new connection counts too.
    `head_limit` is the longest wait for a response head, in seconds; None leaves it to the provider's time limits.
    `liveness` shows whether a silent provider is alive; it is set only while another target is left.

    The transport calls `may_resend` of this object rather than of the attempt, because the attempt holds the request
    that the transport was given.
    """

    maximum: int = 2
    made: int = 0
    head_limit: float | None = None
    liveness: LivenessCheck | None = None
    record: Record | None = None

    def may_resend(self) -> bool:
        may = self.made < self.maximum
        if may:
            self.made += 1
            if self.record is not None:
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
    limits: LimitsSettings
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
        self.stream = target.stream
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
        if self.stream:
            return stream_whole(response, client, context)
        return client.render_response(response, context)

    def note_losses(self, record: Record) -> None:
        """Puts the request's losses into the record, in place of those of an earlier attempt."""
        if self.losses or record.dropped or record.lowered:
            record.dropped, record.lowered = list_dropped(self.losses), list_lowered(self.losses)

    def begin(self, upstream_request: UpstreamRequest, record: Record) -> Exchange:
        """Sends the request without waiting for the reply. Returns an Exchange, which the caller must close."""
        target, sends = self.target, self.target.sends
        sends.record = record
        sends.made += 1
        record.begin_attempt()
        if record.upstream_status is not None:
            record.upstream_status = None
        provider = target.upstream.provider
        exchange = provider.send(upstream_request, target.credential)
        if record.wiretap is not None:
            exchange = record.wiretap.attempt(exchange, provider, upstream_request, target.credential)
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "request %s goes to %s as %s: %d bytes, losses %s",
                record.id, target.upstream.label, target.dialect.NAME, len(upstream_request.body),
                [loss.path for loss in self.losses],
            )  # fmt: skip
        return exchange

    def receive_head(self, exchange: Exchange, record: Record) -> None:
        """Records the head of the reply. Raises the upstream's error if its status is not 2xx."""
        target, status = self.target, exchange.status
        note_head(exchange, record, target.upstream.provider, target.credential)
        if not 200 <= status < 300:
            record.upstream_status = status
            log.debug("request %s: %s answers HTTP %d", record.id, target.upstream.label, status)
            raise self._refusal(exchange)

    def send(self, upstream_request: UpstreamRequest, record: Record, wait: float) -> Obtaining[Exchange]:
        """Sends the request and waits for a head with a 2xx status; yields while the upstream is silent. Raises the
        upstream's error otherwise."""
        sends = self.target.sends
        exchange = self.begin(upstream_request, record)
        good = False
        try:
            if sends.head_limit is not None:
                yield from _wait_briefly(exchange, sends.head_limit, wait)
            if sends.liveness is not None:
                yield from sends.liveness.wait(exchange, wait)
            while not exchange.wait_head(wait):
                yield
            self.receive_head(exchange, record)
            good = True
            return exchange
        finally:
            if not good:
                exchange.close()

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

    def _refusal(self, exchange: Exchange) -> UpstreamRefused:
        """The error that the upstream answered with, stripped of credentials."""
        target = self.target
        if not 400 <= exchange.status < 600:
            place = known_secrets.mask(exchange.headers.get("location", ""))[:MAX_QUOTED]
            onward = (
                f" and redirected to {place!r}; redirects are not followed, so set base_url to that address"
                if place
                else ""
            )
            raise UpstreamMalformed(f"the upstream answered HTTP {exchange.status}, which is not an answer{onward}")
        body = exchange.read_body(target.limits.error_kb << 10, cut=True)
        failure = target.dialect.parse_error(exchange.status, exchange.headers, body)
        headers = relayed_headers(exchange.headers, same_dialect=target.same_dialect)
        if "retry-after" in exchange.headers and headers.get("retry-after") != failure.retry_after:
            failure = msgspec.structs.replace(failure, retry_after=headers.get("retry-after"))
        if failure.kind in ("rate_limit", "quota") and "retry-after" not in headers:
            seconds = find_retry_after(exchange.headers, failure, time.time())
            if seconds is not None:
                headers["retry-after"] = str(seconds)
                failure = msgspec.structs.replace(failure, retry_after=str(seconds))
        refused = UpstreamRefused(failure, headers)
        refused.is_spent = failure.kind in ("rate_limit", "quota") and has_nothing_left(exchange.headers)
        # These two are rendered anew, in the words that clients act on.
        reworded = failure.kind == "context_overflow" or (failure.kind == "rate_limit" and is_lasting(failure))
        known = target.dialect.error_status(failure) == exchange.status and not reworded
        if target.same_dialect and known and clean_error(body, is_typed=target.dialect.TRAITS.types_errors):
            text = known_secrets.mask(body.decode("utf-8", "replace"))
            refused.body = None if has_login_words(text) else text.encode()
        return refused


def note_head(
    exchange: Exchange | WholeReply, record: Record, provider: Provider, credential: Credential | None
) -> None:
    """Stores the head of a reply in the record, and its quota headers with the provider's account."""
    headers = exchange.headers
    record.receive_head(exchange.status, headers)
    named = headers.get("x-request-id") or headers.get("request-id") or headers.get("opc-request-id")
    if named is not None and not known_secrets.is_plain(named):
        named = known_secrets.mask(named)
    record.upstream_request_id = named and named[:MAX_QUOTED]
    provider.note_quotas(credential, headers)


def _wait_briefly(exchange: Exchange, limit: float, wait: float) -> Obtaining[None]:
    """Waits for the response head. Raises UpstreamTimeout if that takes longer than `limit` seconds."""
    end = time.monotonic() + limit
    while not exchange.wait_head(min(wait, max(0.0, end - time.monotonic()))):
        if time.monotonic() >= end:
            raise UpstreamTimeout("first_byte", limit)
        yield
