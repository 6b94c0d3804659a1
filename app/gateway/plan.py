"""What similar requests have in common, prepared once.

A client sends the same head again and again and names few models. The upstream, credential, URL and headers, and
whether bytes may pass, all follow from the head, the model and the configuration. The first such request takes the
general path (gateway.py) and leaves a `Plan` beside what is remembered of its head; later requests find everything
with one look-up.

A plan is a shortcut to the same answer, and handles only whole answers that pass. Anything else it hands over, at any
point, to the general path, which continues from what has `Begun`.
"""

from __future__ import annotations

import time

import msgspec

from app.conversation.capabilities import Capabilities
from app.credentials.credential import Credential
from app.dialects.contract import ClientDialect
from app.errors import DragomanError
from app.gateway.attempt import Attempt, Sends, note_head
from app.gateway.delivery import JSON_HEADERS, begins_like_event, is_streamed, mask_reply, read_fault, receive_whole
from app.gateway.delivery import UNREADABLE as UNREADABLE_REPLY
from app.gateway.large_bodies.heavy_work import SMALL
from app.gateway.messages import UNREADABLE, ClientRequest, ClientResponse, StartedResponse
from app.gateway.passing import Passing
from app.gateway.reasoning_memory.reasoning_recall import may_pass_silently
from app.gateway.record import Record
from app.gateway.replies.passing_reply import echoing_context
from app.gateway.replies.reply_headers import name_upstream, relayed_headers
from app.gateway.upstream_health.retry_budget import RetryBudget
from app.routing.router import Upstream
from app.settings import LimitsSettings
from app.transport import Exchange, PreparedCall, ReadExchange, WholeReply

# Maximum plans for one head: clients choose the models' names.
MAX_PLANS = 32


class Begun(msgspec.Struct):
    """An attempt that a plan has begun: it was sent with `exchange`, and `body` is the reply's body if already read; or
    it failed with `error`."""

    sends: Sends
    exchange: Exchange | None = None
    body: bytes | None = None
    error: DragomanError | None = None

    def finish(self, attempt: Attempt, record: Record) -> StartedResponse:
        """Like `ask_whole`, for an attempt that is already under way. Raises DragomanError."""
        error, self.error = self.error, None  # a stored error would keep its frames alive
        try:
            if error is not None:
                raise error
        finally:
            del error
        assert self.exchange is not None, "it was sent, or has failed"
        return receive_whole(attempt, self.exchange, record, self.body)


class Plan(msgspec.Struct, frozen=True):
    """How to pass bytes to one upstream. `owner` is the gateway that made the plan; `version` is the version of the
    provider's catalogue that the `capabilities` come from."""

    owner: object
    version: int
    upstream: Upstream
    capabilities: Capabilities
    dialect: ClientDialect
    call: PreparedCall
    budget: RetryBudget
    limits: LimitsSettings
    maximum: int  # times that one request may be sent
    model: str  # as the upstream calls it
    credential: Credential | None
    headers: dict[str, str]  # of each answer

    def holds(self, owner: object, client_request: ClientRequest) -> bool:
        """Whether everything this plan was built from is unchanged, and it can handle this request."""
        return (
            self.owner is owner
            and self.version == self.upstream.provider.catalogue_version
            and client_request.size <= SMALL
            and client_request.continuation is None
            and client_request.operation == "generate"
        )

    def answer(self, client_request: ClientRequest, record: Record) -> ClientResponse | Begun | None:
        """The answer to a request. If the plan cannot complete it, what has begun, or None if nothing was sent."""
        dialect, capabilities = self.dialect, self.capabilities
        try:
            asked = dialect.pass_request(client_request.body, capabilities)
        except (DragomanError, *UNREADABLE):
            return None  # the general path fails in the same way and reports it
        if asked is None:
            return None
        record.routed = time.monotonic() - record.started
        record.go_to(self.upstream)
        record.upstream_dialect = capabilities.dialect
        self.budget.earn(record.started)
        record.begin_attempt()
        begun = Begun(Sends(maximum=self.maximum, made=1, record=record))
        try:
            reply = self._receive(asked, begun, record)
            if reply is None:
                return begun
            headers, body = reply.headers, reply.body
            if not body.isascii():
                body.decode()  # raw parts are never decoded here, but clients decode everything
            context = echoing_context(client_request, self.model, self.limits)
            passed, record.usage = dialect.pass_response(body, context, capabilities)
            relayed = relayed_headers(headers, same_dialect=True)
            relayed.update(self.headers)
            self.upstream.provider.health.succeed()
            return ClientResponse(200, relayed, mask_reply(passed))
        except DragomanError as error:
            begun.error = error
        except UNREADABLE_REPLY as fault:
            begun.error = read_fault(fault, record)
        except BaseException:
            if begun.exchange is not None:
                begun.exchange.close()
            raise
        return begun

    def _receive(self, asked: bytes, begun: Begun, record: Record) -> WholeReply | None:
        """Sends the request and returns its reply. None if the reply is not one that passes; `begun` then has it."""
        reply = self.call.ask(asked, begun.sends.may_resend)
        if not isinstance(reply, WholeReply):
            exchange = begun.exchange = reply
            exchange.wait_head()
            if not _is_document(exchange):
                return None
            note_head(exchange, record, self.upstream.provider, self.credential)
            begun.body = exchange.read_body(self.limits.reply_mb << 20)
            reply = WholeReply(exchange.status, exchange.headers, begun.body)
        elif _is_document(reply):
            note_head(reply, record, self.upstream.provider, self.credential)
        else:
            begun.exchange = ReadExchange(reply)
            return None
        if len(reply.body) <= SMALL and (reply.body[:1] == b"{" or not begins_like_event(reply.body)):
            return reply
        begun.exchange = begun.exchange or ReadExchange(reply)
        return None


def _is_document(reply: WholeReply | Exchange) -> bool:
    """Whether the head of a reply is that of an answer, and not of a stream."""
    headers = reply.headers
    return 200 <= reply.status < 300 and (headers.get("content-type") == "application/json" or not is_streamed(headers))


def make_plan(attempt: Attempt, owner: object, budget: RetryBudget) -> Plan | None:
    """A plan for requests similar to that of a successful attempt at the only upstream of its route. None if such
    requests may differ in more than their bodies."""
    target = attempt.target
    client_request, upstream, capabilities = target.client_request, target.upstream, target.capabilities
    if not isinstance(attempt, Passing) or target.stream or target.operation != "generate" or client_request.parts:
        return None
    if capabilities.refused_fields or (attempt.has_store and may_pass_silently(client_request, capabilities)):
        return None  # the body decides
    provider = upstream.provider
    call = provider.prepare(attempt.upstream_request, target.credential)
    if call is None:
        return None
    return Plan(
        owner, provider.catalogue_version, upstream, capabilities, target.dialect, call, budget, target.limits,
        target.sends.maximum, target.model, target.credential,
        {"x-dragoman-upstream": name_upstream(upstream.label), **JSON_HEADERS},
    )  # fmt: skip
