"""Answers one request: chooses an upstream, sends the request in its dialect, returns the reply in the client's.

A generator obtains the answer and yields whenever an upstream has been silent for a while. Until the first yield, a
failure is an HTTP error. A streaming client that has waited that long gets its head and pings, and from then on a
failure is an error event.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Sequence

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.events import Failed
from app.credentials.credential import Credential
from app.errors import DragomanError, LimitReached, UpstreamRefused, UpstreamSpared
from app.gateway.attempt import Attempt, Sends
from app.gateway.choice import open_attempt
from app.gateway.delivery import STREAM_HEADERS, ask_whole, deliver_stream
from app.gateway.failures.learned_facts import COOL_DOWN, LearnedFacts
from app.gateway.failures.policy import more_informative, tries_next
from app.gateway.failures.recovery import Recovery
from app.gateway.failures.repairs.change import UNSEALED, seals_for_account
from app.gateway.fetching import Fetcher
from app.gateway.large_bodies.heavy_work import SMALL
from app.gateway.messages import ClientRequest, ClientResponse, StartedResponse
from app.gateway.plan import MAX_PLANS, Begun, Plan, make_plan
from app.gateway.reasoning_memory.reasoning_store import ReasoningStore
from app.gateway.record import Record
from app.gateway.sending import Sender
from app.gateway.upstream_health.health import OPEN, Gate, UpstreamHealth
from app.gateway.upstream_health.retry_budget import RetryBudget
from app.providers.provider import Operation, Provider
from app.rate_limits.shared_counts import LimitsUnavailable
from app.routing.router import Router
from app.routing.upstream import Upstream
from app.settings import LimitsSettings, ServerSettings
from app.transport import Obtaining
from app.transport.exchange import wait_for

log = logging.getLogger("dragoman")

# Errors that keep a request from being sent, and say nothing about the upstream.
NOT_SENT = (LimitReached, LimitsUnavailable, UpstreamSpared)


class Gateway:
    """Answers requests under one configuration. A changed configuration gets a new Gateway."""

    def __init__(
        self,
        router: Router,
        settings: ServerSettings,
        limits: LimitsSettings,
        *,
        fetcher: Fetcher | None,
        reasoning_store: ReasoningStore | None,
        facts: LearnedFacts,
        health: UpstreamHealth,
        sender: Sender,
    ) -> None:
        self.router = router
        self.facts = facts
        self.health = health
        self._maximum = settings.max_attempts
        self._settings = settings
        self._limits = limits
        self._fetcher = fetcher
        self._reasoning_store = reasoning_store
        self._sender = sender

    def answer(self, client_request: ClientRequest, record: Record) -> ClientResponse:
        """The answer to a request. Raises DragomanError while it can still be an HTTP status."""
        peek = client_request.peek
        record.model = peek.model
        record.stream = bool(peek.stream)
        plan = self._find_plan(client_request, record)
        if not record.stream:
            return self._answer_whole(client_request, record, plan)
        if plan is None:
            obtaining = self._obtain(client_request, record)
        else:
            obtaining = self._obtain_planned(client_request, record, plan)
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
        started = wait_for(self._obtain(client_request, record, begun))
        record.begin_output()
        return ClientResponse(200, started.headers, started.first)

    def _obtain_planned(self, client_request: ClientRequest, record: Record, plan: Plan) -> Obtaining[StartedResponse]:
        """Opens a stream by its plan, as `_obtain` does without one."""
        started = yield from plan.open(client_request, record, self._settings.stream_start_timeout)
        if not isinstance(started, StartedResponse):
            return (yield from self._obtain(client_request, record, started))
        if self.health.breakers:
            self.health.succeed(plan.upstream.label)
        return started

    def _keep_plan(self, attempt: Attempt, budget: RetryBudget) -> None:
        """Leaves a plan for requests similar to that of a successful attempt."""
        client_request = attempt.client_request
        model, plans = client_request.peek.model, client_request.plans
        if plans is None or self.facts.any or not self.router.settles(model, client_request.provider):
            return
        plan = make_plan(attempt, self, budget, self._reasoning_store, self._fetcher)
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
        limit = self._limits.stream_mb << 20
        return deliver_stream(started, record, self._settings.ping_interval, time.monotonic, limit)

    def _obtain(
        self, client_request: ClientRequest, record: Record, begun: Begun | None = None
    ) -> Obtaining[StartedResponse]:
        """The answer of the first upstream of the route that succeeds. If the route has only one, a plan may already
        have `begun` the attempt. Raises the most informative failure if none succeeds."""
        failure: DragomanError | None = None
        try:
            upstreams = self.resolve(client_request)
            if begun is None:
                record.routed = time.monotonic() - record.started
            chain = self._make_chain(upstreams, client_request.tenant, record)
            if client_request.size > SMALL:
                client_request.keeps_body = _is_needed(client_request, chain)
            sends = Sends(record=record) if begun is None else begun.sends
            for place in chain:
                upstream = place.upstream
                record.go_to(upstream)
                sends.maximum = self._maximum - place.followed_by  # one is reserved for each of these
                try:
                    started = yield from self._ask(client_request, record, place, sends, begun)
                    if started is not None:
                        return started
                except DragomanError as error:
                    if not tries_next(error):
                        raise
                    failure = more_informative(failure, error)
                    if failure is error:
                        failed, failed_status = upstream, record.upstream_status
                    if isinstance(error, LimitReached):
                        record.skip_target(upstream.label, error.failure.message)
                    if place.followed_by:
                        log.warning("request %s: %s failed: %s", record.id, upstream.label, error.failure.kind)
            assert failure is not None, "a route has at least one upstream"
            record.go_to(failed)
            record.upstream_status = failed_status
            raise failure
        finally:
            failure = None  # an error kept by this frame would keep the frame and everything read alive
            client_request.continuation = None  # likewise breaks the reference cycle between these two

    def _make_chain(self, upstreams: Sequence[Upstream], tenant: str, record: Record) -> list[_Place]:
        """The upstreams to ask, in order: those that are well, or if none is, all of them, with the quick ones before
        those that were silent."""
        well = self._choose(upstreams, tenant, record) if self.facts.any or self.health.breakers else upstreams
        chain = (well or sorted(upstreams, key=lambda each: self.health.is_costly(each.label)))[: self._maximum]
        return [
            _Place(upstream, len(chain) - 1 - number, not well, _is_moved(chain, number), is_only=len(chain) == 1)
            for number, upstream in enumerate(chain)
        ]

    def _choose(self, upstreams: Sequence[Upstream], tenant: str, record: Record) -> Sequence[Upstream]:
        """The upstreams worth asking now, in order; empty if there is a reason against every one."""
        well = []
        skipped = []
        for upstream in upstreams:
            if self.facts.holds(upstream.label, tenant, COOL_DOWN):
                skipped.append((upstream.label, "it asked us to wait"))
            elif self.health.breakers and self.health.spares(upstream.label, tenant):
                skipped.append((upstream.label, self.health.describe(upstream.label)))
            else:
                well.append(upstream)
        if well:
            for target, reason in skipped:
                record.skip_target(target, reason)
        return well

    def _ask(
        self, client_request: ClientRequest, record: Record, place: _Place, sends: Sends, begun: Begun | None
    ) -> Obtaining[StartedResponse | None]:
        """Asks one upstream, and notes in its health how that ended. None if its breaker is open."""
        upstream, tenant, health = place.upstream, client_request.tenant, self.health
        gate = OPEN if begun is not None else self._enter(place, tenant, sends)
        if gate is None:
            record.skip_target(upstream.label, health.describe(upstream.label))
            return None
        sends.head_limit = gate.head_limit
        try:
            may_repeat = not place.followed_by and not gate.once
            started = yield from self._attempt(client_request, record, place, sends, begun, may_repeat=may_repeat)
        except DragomanError as error:
            upstream.provider.health.fail(error)
            health.fail(upstream.label, tenant, error, client_request.body or client_request.id.encode(), gate)
            raise
        except BaseException:
            health.abandon(upstream.label, gate)
            raise
        upstream.provider.health.succeed()
        health.succeed(upstream.label)
        return started

    def _enter(self, place: _Place, tenant: str, sends: Sends) -> Gate | None:
        """How a request may use an upstream; None if it should go on to the next one."""
        provider, followed = place.upstream.provider, place.followed_by > 0
        asks = followed and provider.has_liveness
        sends.liveness = self.health.liveness(provider.name, provider.is_alive) if asks else None
        return self.health.enter(
            place.upstream.label, tenant, last=place.unwell or not followed, followed=followed, liveness=sends.liveness
        )

    def _attempt(
        self, client_request: ClientRequest, record: Record, place: _Place, sends: Sends, begun: Begun | None, *,
        may_repeat: bool,
    ) -> Obtaining[StartedResponse]:  # fmt: skip
        """Asks one upstream until it answers or nothing is left to try there. With `may_repeat`, the same request may
        be sent again if that duplicates no work and may help."""
        upstream = place.upstream
        provider = upstream.provider
        budget = self.health.budget(provider.name) if begun else self.health.earn(provider.name, record.started)
        credential = _find_credential(client_request, provider, record)
        capabilities = self.capabilities(upstream, client_request)
        if place.moved:
            capabilities = UNSEALED(capabilities)
        record.upstream_dialect = capabilities.dialect
        state = client_request.continuation
        asked = self.with_history(client_request, upstream, record)
        recovery: Recovery | None = None
        for number in itertools.count(1):
            attempt = open_attempt(
                asked, upstream, capabilities, credential, record.stream, self._reasoning_store, self._fetcher,
                self._limits, sends,
            )  # fmt: skip
            try:
                attempt.note_losses(record)
                straight = self._sender.is_straight(attempt)
                if begun is not None and number == 1:
                    return begun.finish(attempt, record)
                if straight and not record.stream:
                    started = ask_whole(attempt, record)
                else:
                    started = yield from self._sender.start(attempt, record)
                if straight and place.is_only and number == 1:
                    self._keep_plan(attempt, budget)
                return started if state is None else state.watch(started)
            except DragomanError as error:
                if isinstance(error, NOT_SENT):
                    raise
                if attempt.paused_turn is not None and attempt.paused_turn.response is not None:
                    raise  # the parts received so far must not be requested again
                recovery = recovery or Recovery(
                    client_request, record, upstream, credential, capabilities, self.facts, budget
                )
                wait = recovery.handle(error, attempt, number, sends, may_repeat=may_repeat)
                credential, capabilities = recovery.credential, recovery.capabilities
                yield from self._sender.sleep(wait)
        raise AssertionError("a count has no end")


class _Place(msgspec.Struct, frozen=True):
    """An upstream's place in the chain of those that may be asked for one request, with `followed_by` others after it.
    `unwell`: there is a reason against every one. `moved`: what only another account can decrypt is left out."""

    upstream: Upstream
    followed_by: int
    unwell: bool
    moved: bool
    is_only: bool


def _find_credential(client_request: ClientRequest, provider: Provider, record: Record) -> Credential | None:
    session = client_request.conversation if provider.is_pooled else client_request.session
    began = time.monotonic()
    credential = provider.credential(session, client_request.tenant)
    record.note_step("credential", provider.name, began)
    record.credential = credential.name if credential is not None else ""
    return credential


def _is_needed(client_request: ClientRequest, chain: Sequence[_Place]) -> bool:
    """Whether the bytes of a request are still needed after parsing: by an upstream to which they may pass, by a stored
    response, or by an answer that echoes the prompt."""
    dialect = client_request.dialect
    if client_request.continuation is not None or client_request.operation != "generate":
        return True
    return dialect.TRAITS.echoes_prompt or any(place.upstream.capabilities.dialect == dialect.NAME for place in chain)


def _is_moved(chain: Sequence[Upstream], position: int) -> bool:
    """Whether a request comes here after another account has failed, which alone can decrypt what it has sealed."""
    here = chain[position].provider
    before = [upstream.provider for upstream in chain[:position]]
    same_kind = any(provider is not here and provider.dialect == here.dialect for provider in before)
    return same_kind and seals_for_account(here.dialect)
