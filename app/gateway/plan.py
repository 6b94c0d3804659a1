"""What similar requests have in common, prepared once.

A client sends the same head again and again and names few models. The upstream, credential, URL and headers, and
whether bytes may pass, all follow from the head, the model and the configuration. The first such request takes the
general path (gateway.py) and leaves a `Plan` beside what is remembered of its head; later requests find everything
with one look-up.

A plan is a shortcut to the same answer: either to whole answers or to streams. Anything else it hands over, at any
point, to the general path, which continues from what has `Begun`. Once a stream has begun, both paths deliver it alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.losses import lost_headers
from app.conversation.response import Usage
from app.credentials.credential import Credential
from app.dialects.contract import ClientDialect
from app.dialects.registry import DIALECTS
from app.errors import DragomanError
from app.gateway.attempt import Attempt, Resources, Sends, Target
from app.gateway.delivery import JSON_HEADERS, begin_delivery, is_streamed, mask_reply, read_fault
from app.gateway.delivery import UNREADABLE as UNREADABLE_REPLY
from app.gateway.large_bodies.heavy_work import SMALL
from app.gateway.messages import UNREADABLE, ClientRequest, ClientResponse, StartedResponse
from app.gateway.passing import Passing
from app.gateway.reasoning_memory.reasoning_recall import may_pass_silently
from app.gateway.record import Record
from app.gateway.replies.passing_reply import echoing_context
from app.gateway.replies.reply_head import note_head, receive_head
from app.gateway.replies.reply_headers import name_upstream, relayed_headers
from app.gateway.translating import Translating
from app.gateway.upstream_health.retry_budget import RetryBudget
from app.routing.upstream import Upstream
from app.transport import Exchange, Obtaining, PreparedCall, ReadExchange, WholeReply
from app.transport.exchange import wait_for

# Maximum plans for one head: clients choose the models' names.
MAX_PLANS = 32


class Begun(msgspec.Struct):
    """An attempt that a plan has begun: it was sent with `exchange`, or it failed with `error`."""

    sends: Sends
    exchange: Exchange | None = None
    error: DragomanError | None = None

    def finish(self, attempt: Attempt) -> StartedResponse:
        """The whole answer to `attempt`, which is the one that has begun. Raises DragomanError."""
        error, self.error = self.error, None  # a stored error would keep its frames alive
        try:
            if error is not None:
                raise error
        finally:
            del error
        exchange = self.exchange
        assert exchange is not None, "it was sent, or has failed"
        try:
            exchange.wait_head()
            receive_head(attempt.target, exchange)
            return wait_for(begin_delivery(attempt, exchange, None))
        finally:
            exchange.close()


class Plan(msgspec.Struct, frozen=True):
    """How to get answers from one upstream, streams if `stream`. `owner` is the gateway that made the plan; `version`
    is the version of the provider's catalogue that the `capabilities` come from."""

    owner: object
    version: int
    upstream: Upstream
    capabilities: Capabilities
    dialect: ClientDialect  # spoken to the upstream
    call: PreparedCall
    budget: RetryBudget
    resources: Resources
    maximum: int  # times that one request may be sent
    model: str  # as the upstream calls it
    credential: Credential | None
    stream: bool
    headers: dict[str, str]  # of each whole answer

    def holds(self, owner: object, client_request: ClientRequest) -> bool:
        """Whether everything this plan was built from is unchanged, and it can handle this request."""
        return (
            self.owner is owner
            and self.version == self.upstream.provider.catalogue.version
            and client_request.size <= SMALL
            and client_request.continuation is None
            and client_request.operation == "generate"
        )

    def answer(self, client_request: ClientRequest, record: Record) -> ClientResponse | Begun | None:
        """The whole answer to a request. If the plan cannot complete it, what has begun, or None if nothing was
        sent."""
        begun = Begun(Sends(record, self.maximum, made=1))
        prepared = self._begin(client_request, begun.sends, record)
        if prepared is None:
            return None
        try:
            return self._ask(client_request, *prepared, begun, record)
        except DragomanError as error:
            begun.error = error
        except UNREADABLE_REPLY as fault:
            begun.error = read_fault(fault, record)
        except BaseException:
            if begun.exchange is not None:
                begun.exchange.close()
            raise
        return begun

    def open(
        self, client_request: ClientRequest, record: Record, wait: float
    ) -> Obtaining[StartedResponse | Begun | None]:
        """Like `answer`, for a stream. Yields after each `wait` seconds of silence."""
        begun = Begun(Sends(record, self.maximum, made=1))
        prepared = self._begin(client_request, begun.sends, record)
        if prepared is None:
            return None
        asked, attempt = prepared
        assert attempt is not None, "a stream has an attempt"
        exchange: Exchange | None = None
        kept = False
        try:
            exchange = self.call.send(asked, begun.sends.may_resend)
            while not exchange.wait_head(wait):
                yield
            if not 200 <= exchange.status < 300:
                begun.exchange, kept = exchange, True
                return begun
            note_head(exchange, record, self.upstream.provider, self.credential)
            started = yield from begin_delivery(attempt, exchange, wait)
            kept = started.exchange is not None
            self.upstream.provider.health.succeed()
            return started
        except DragomanError as error:
            begun.error = error
            return begun
        finally:
            if exchange is not None and not kept:
                exchange.close()

    def _begin(
        self, client_request: ClientRequest, sends: Sends, record: Record
    ) -> tuple[bytes, Attempt | None] | None:
        """What `_prepare` returns, with the attempt noted in the record. None if the general path has to answer."""
        try:
            prepared = self._prepare(client_request, sends)
        except (DragomanError, *UNREADABLE):
            return None  # the general path fails in the same way and reports it
        if prepared is None:
            return None
        record.routed = time.monotonic() - record.started
        record.go_to(self.upstream)
        record.upstream_dialect = self.capabilities.dialect
        if prepared[1] is not None:
            prepared[1].note_losses()
        self.budget.earn(record.started)
        record.begin_attempt()
        return prepared

    def _ask(
        self, client_request: ClientRequest, asked: bytes, attempt: Attempt | None, begun: Begun, record: Record
    ) -> ClientResponse | Begun:
        reply = self._receive(asked, begun, record)
        if reply is None:
            return begun
        body = reply.body
        if not body.isascii():
            body.decode()  # raw parts are never decoded here, but clients decode everything
        answer, record.usage = self._finish(client_request, attempt, body)
        headers = relayed_headers(reply.headers, same_dialect=attempt is None)
        if attempt is not None and attempt.losses:
            headers.update(lost_headers(attempt.losses))
        headers.update(self.headers)
        self.upstream.provider.health.succeed()
        return ClientResponse(200, headers, mask_reply(answer, record.usage))

    def _prepare(self, client_request: ClientRequest, sends: Sends) -> tuple[bytes, Attempt | None] | None:
        """The body to send, and the attempt if the request is translated or asks for a stream. None if the plan is not
        for this request. Raises DragomanError or UNREADABLE for a request that cannot be sent."""
        raise NotImplementedError

    def _aim(self, client_request: ClientRequest, sends: Sends) -> Target:
        return Target(
            client_request, self.upstream, self.capabilities, self.credential, self.stream, "generate", self.dialect,
            self.resources, sends, self.model, self.dialect is client_request.dialect,
        )  # fmt: skip

    def _finish(
        self, client_request: ClientRequest, attempt: Attempt | None, body: bytes
    ) -> tuple[bytes, Usage | None]:
        """The client's answer, made from the upstream's, and its usage."""
        raise NotImplementedError

    def _receive(self, asked: bytes, begun: Begun, record: Record) -> WholeReply | None:
        """Sends the request and returns its reply. None if it is not a whole answer; `begun` then has it."""
        reply = self.call.ask(asked, begun.sends.may_resend)
        if not isinstance(reply, WholeReply):
            exchange = begun.exchange = reply
            exchange.wait_head()
            if not _is_document(exchange):
                return None
            note_head(exchange, record, self.upstream.provider, self.credential)
            body = exchange.read_body(self.resources.limits.reply_mb << 20)
            exchange.close()
            reply = WholeReply(exchange.status, exchange.headers, body)
        elif _is_document(reply):
            note_head(reply, record, self.upstream.provider, self.credential)
        else:
            begun.exchange = ReadExchange(reply)
            return None
        if len(reply.body) <= SMALL and reply.body[:1] == b"{":  # no byte order mark, no events
            return reply
        begun.exchange = ReadExchange(reply)
        return None


class PassingPlan(Plan, frozen=True, kw_only=True):
    """How to pass bytes to one upstream, by `pass_request`, and clean answers back, by `pass_clean`."""

    pass_request: Callable[[bytes], bytes | None]
    pass_clean: Callable[[bytes, str], tuple[bytes, Usage | None] | None]

    def _prepare(self, client_request: ClientRequest, sends: Sends) -> tuple[bytes, Attempt | None] | None:
        asked = self.pass_request(client_request.body)
        if asked is None:
            return None
        return asked, Passing(self._aim(client_request, sends), asked) if self.stream else None

    def _finish(
        self, client_request: ClientRequest, attempt: Attempt | None, body: bytes
    ) -> tuple[bytes, Usage | None]:
        passed = self.pass_clean(body, client_request.peek.model)
        if passed is not None:
            return passed
        context = echoing_context(client_request, self.model, self.resources.limits, own=self.capabilities.first_party)
        return self.dialect.pass_response(body, context, self.capabilities)


class TranslatingPlan(Plan, frozen=True, kw_only=True):
    """How to translate for one upstream. `asked_headers` are those that a request's translation adds."""

    asked_headers: Mapping[str, str]

    def _prepare(self, client_request: ClientRequest, sends: Sends) -> tuple[bytes, Attempt | None] | None:
        target = self._aim(client_request, sends)
        attempt = Translating(target, reply_passes=False)
        asked = attempt.rendered
        if attempt.streamed is not self.stream or asked.headers != self.asked_headers:
            return None
        if attempt.answer is not None or attempt.paused_turn is not None:
            return None
        return asked.body, attempt

    def _finish(
        self, client_request: ClientRequest, attempt: Attempt | None, body: bytes
    ) -> tuple[bytes, Usage | None]:
        assert attempt is not None, "a translated request has an attempt"
        return attempt.finish(body)


def _is_document(reply: WholeReply | Exchange) -> bool:
    """Whether the head of a reply is that of an answer, and not of a stream."""
    headers = reply.headers
    return 200 <= reply.status < 300 and (headers.get("content-type") == "application/json" or not is_streamed(headers))


def make_plan(attempt: Attempt, owner: object, budget: RetryBudget) -> Plan | None:
    """A plan for requests similar to that of a successful attempt at the only upstream of its route. None if such
    requests may differ in more than their bodies."""
    target, rendered = attempt.target, attempt.rendered
    client_request, upstream, capabilities = target.client_request, target.upstream, target.capabilities
    if attempt.streamed is not target.stream or target.operation != "generate" or client_request.parts:
        return None
    if capabilities.refused_fields:
        return None  # the body decides
    provider = upstream.provider
    call = provider.prepare(attempt.upstream_request, target.credential)
    if call is None:
        return None
    passes = isinstance(attempt, Passing)
    if passes and target.resources.reasoning_store is not None and may_pass_silently(client_request, capabilities):
        return None  # the body decides
    if target.same_dialect and not passes:
        return None  # another body may pass
    # A passing reply of such a request has nothing to be remembered.
    resources = msgspec.structs.replace(target.resources, reasoning_store=None) if passes else target.resources
    common = (
        owner, provider.catalogue.version, upstream, capabilities, target.dialect, call, budget, resources,
        target.sends.maximum, target.model, target.credential, target.stream,
        {"x-dragoman-upstream": name_upstream(upstream.label), **JSON_HEADERS},
    )  # fmt: skip
    if passes:
        dialect = DIALECTS[capabilities.dialect]
        return PassingPlan(*common, pass_request=dialect.prepare_passing(capabilities), pass_clean=dialect.pass_clean)
    return TranslatingPlan(*common, asked_headers=rendered.headers)
