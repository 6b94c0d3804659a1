"""Answers one request: chooses an upstream, sends the request in its dialect, returns the reply in the client's.

A generator obtains the answer and yields whenever an upstream has been silent for a while. Until the first yield, a
failure is an HTTP error. A streaming client that has waited that long gets its head and pings, and from then on a
failure is an error event.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.events import Failed
from app.errors import DragomanError, UpstreamRefused
from app.gateway.asking import Asking
from app.gateway.attempt import Attempt, Resources
from app.gateway.delivery import STREAM_HEADERS, deliver_stream
from app.gateway.failures.learned_facts import LearnedFacts
from app.gateway.messages import ClientRequest, ClientResponse, StartedResponse
from app.gateway.plan import MAX_PLANS, Plan, make_plan
from app.gateway.record import Record
from app.gateway.sending import Sender
from app.gateway.upstream_health.health import UpstreamHealth
from app.gateway.upstream_health.retry_budget import RetryBudget
from app.providers.provider import Operation
from app.routing.router import Router
from app.routing.upstream import Upstream
from app.settings import ServerSettings
from app.transport import Obtaining
from app.transport.exchange import wait_for


class Gateway:
    """Answers requests under one configuration. A changed configuration gets a new Gateway."""

    def __init__(
        self,
        router: Router,
        settings: ServerSettings,
        resources: Resources,
        facts: LearnedFacts,
        health: UpstreamHealth,
        sender: Sender,
    ) -> None:
        self.router = router
        self.settings = settings
        self.resources = resources
        self.facts = facts
        self.health = health
        self.sender = sender

    def answer(self, client_request: ClientRequest, record: Record) -> ClientResponse:
        """The answer to a request. Raises DragomanError while it can still be an HTTP status."""
        peek = client_request.peek
        record.model = peek.model
        record.stream = bool(peek.stream)
        plan = self._find_plan(client_request, record)
        if not record.stream:
            return self._answer_whole(client_request, record, plan)
        obtaining = self._open_stream(client_request, record, plan)
        try:
            next(obtaining)
            return self._answer_late(client_request, record, obtaining)
        except StopIteration as done:
            started = done.value
        except UpstreamRefused as error:
            if error.events is None:
                raise
            record.fail(error)
            return ClientResponse(200, dict(STREAM_HEADERS), error.events)
        record.begin_output()
        if started.stream is None or started.exchange is None:
            return ClientResponse(200, started.headers, started.first)
        came_whole = started.exchange.has_ended
        return ClientResponse(200, started.headers, self._deliver_stream(started, record), came_whole)

    def resolve(self, client_request: ClientRequest) -> Sequence[Upstream]:
        """The upstreams that may answer, first choice first. Raises NotFound, or Forbidden if the client's key may use
        none of them."""
        upstreams = self.router.resolve(client_request.peek.model, client_request.provider)
        key = client_request.key
        if key.models or key.providers:
            return key.choose(client_request.peek.model, upstreams)
        return upstreams

    def with_history(self, client_request: ClientRequest, upstream: Upstream, record: Record) -> ClientRequest:
        """The request with the history it continues, unless the upstream knows that itself. Raises DragomanError."""
        state = client_request.continuation
        if state is None:
            return client_request
        whole = state.prepare(upstream)
        record.history = len(whole.body) - len(client_request.body)
        return whole

    def capabilities(self, upstream: Upstream, client_request: ClientRequest) -> Capabilities:
        """What the upstream supports, including what was learned from the tenant's requests."""
        known = upstream.capabilities
        return self.facts.adapt(upstream.label, client_request.tenant, known) if self.facts.any else known

    def offers(self, upstream: Upstream, client_request: ClientRequest, operation: Operation) -> bool:
        """Whether the upstream offers an operation, considering what was learned from the tenant's requests."""
        return (
            upstream.provider.offers(operation) and operation not in self.capabilities(upstream, client_request).absent
        )

    def _find_plan(self, client_request: ClientRequest, record: Record) -> Plan | None:
        """The plan that an earlier similar request left, if there is one."""
        plans = client_request.plans
        # Learned facts and breakers could change a plan; only the general path considers them.
        if not plans or self.facts.any or self.health.breakers or record.wiretap is not None:
            return None
        plan: Plan | None = plans.get((record.model, record.stream))
        return plan if plan is not None and plan.holds(self, client_request) else None

    def _answer_whole(self, client_request: ClientRequest, record: Record, plan: Plan | None) -> ClientResponse:
        """Answers a client that waits for the whole answer, by the plan if there is one."""
        begun = None
        if plan is not None:
            answer = plan.answer(client_request, record)
            if isinstance(answer, ClientResponse):
                if self.health.breakers:
                    self.health.succeed(plan.upstream.label)
                record.begin_output()
                return answer
            begun = answer
        started = wait_for(Asking(self, client_request, record, begun).obtain())
        record.begin_output()
        return ClientResponse(200, started.headers, started.first)

    def _open_stream(
        self, client_request: ClientRequest, record: Record, plan: Plan | None
    ) -> Obtaining[StartedResponse]:
        """Opens the stream of a client that wants one, by the plan if there is one."""
        begun = None
        if plan is not None:
            started = yield from plan.open(client_request, record, self.settings.stream_start_timeout)
            if isinstance(started, StartedResponse):
                if self.health.breakers:
                    self.health.succeed(plan.upstream.label)
                return started
            begun = started
        return (yield from Asking(self, client_request, record, begun).obtain())

    def keep_plan(self, attempt: Attempt, budget: RetryBudget) -> None:
        """Leaves a plan for requests similar to that of a successful attempt, if it only had to be sent."""
        client_request = attempt.client_request
        model, plans = client_request.peek.model, client_request.plans
        if plans is None or self.facts.any or not self.router.settles(model, client_request.provider):
            return
        if not self.sender.is_straight(attempt):
            return
        plan = make_plan(attempt, self, budget)
        if plan is not None:
            if len(plans) >= MAX_PLANS:
                plans.clear()
            plans[model, plan.stream] = plan

    def _answer_late(
        self, client_request: ClientRequest, record: Record, obtaining: Obtaining[StartedResponse]
    ) -> ClientResponse:
        """Sends the head now, and pings until an upstream answers."""

        def parts() -> Iterator[bytes]:
            renderer = client_request.dialect.StreamRenderer(
                RenderContext(model=record.model, id=client_request.id, created=int(time.time()))
            )
            try:
                while True:
                    yield renderer.ping()
                    next(obtaining)
            except StopIteration as done:
                record.begin_output()  # pings do not count as output
                yield from self._deliver_stream(done.value, record)
            except DragomanError as error:
                record.fail(error)
                yield renderer.feed([Failed(error.failure)])
            except Exception as fault:
                yield renderer.feed([Failed(record.fault(fault).failure)])
            finally:
                obtaining.close()

        return ClientResponse(200, dict(STREAM_HEADERS), parts())

    def _deliver_stream(self, started: StartedResponse, record: Record) -> Iterator[bytes]:
        limit = self.resources.limits.stream_mb << 20
        return deliver_stream(started, record, self.settings.ping_interval, time.monotonic, limit)
