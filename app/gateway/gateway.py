"""Answers one request: chooses an upstream, sends the request in its dialect, returns the reply in the client's.

A generator obtains the answer and yields whenever an upstream has been silent for a while. Until the first yield, a
failure is an HTTP error. A streaming client that has waited that long gets its head and pings, and from then on a
failure is an error event.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.events import Failed
from app.conversation.response import Response
from app.credentials.credential import find_remedy
from app.errors import (
    DragomanError,
    LimitReached,
    UpstreamRefused,
    UpstreamSpared,
)
from app.gateway.attempt import Attempt, Sends
from app.gateway.choice import USUAL, open_attempt
from app.gateway.delivery import (
    STREAM_HEADERS,
    ask_whole,
    begin_delivery,
    deliver,
    deliver_stream,
)
from app.gateway.failures.change import UNSEALED, seals_for_account
from app.gateway.failures.explanation import raise_explained
from app.gateway.failures.learned_facts import COOL_DOWN, LearnedFacts
from app.gateway.failures.policy import more_informative, tries_next
from app.gateway.failures.recovery import Recovery, estimate, find_wait
from app.gateway.fetching import Fetcher
from app.gateway.large_bodies.heavy_work import SMALL
from app.gateway.messages import ClientRequest, ClientResponse, StartedResponse
from app.gateway.plan import MAX_PLANS, Begun, Plan, make_plan
from app.gateway.reasoning_memory.reasoning_store import ReasoningStore
from app.gateway.record import SHORTEST_STEP, Record
from app.gateway.replies.paused_turn import PausedTurnExchange
from app.gateway.upstream_health.health import OPEN, UpstreamHealth
from app.gateway.upstream_health.liveness import LivenessCheck
from app.gateway.upstream_health.retry_budget import RetryBudget
from app.gateway.use_limits.limiter import Limiter
from app.gateway.use_limits.refusal import Owner
from app.providers.provider import Operation, UpstreamRequest
from app.rate_limits.counts import Limit
from app.rate_limits.shared_counts import LimitsUnavailable
from app.routing.router import Router, Upstream
from app.settings import LimitsSettings, ServerSettings
from app.transport import Exchange, Obtaining
from app.transport.exchange import wait_for
from app.transport.provider_queue import ProviderQueue, QueuedExchange

log = logging.getLogger("dragoman")

# Errors that keep a request from being sent, and say nothing about the upstream.
NOT_SENT = (LimitReached, LimitsUnavailable, UpstreamSpared)
# Maximum bytes of a request that certainly fits into any context.
CUTS_FROM = 8192


class Gateway:
    """Answers requests under one configuration. A changed configuration gets a new Gateway."""

    def __init__(
        self,
        router: Router,
        settings: ServerSettings,
        fetcher: Fetcher | None = None,
        reasoning_store: ReasoningStore | None = None,
        limits: LimitsSettings = USUAL,
        clock: Callable[[], float] = time.monotonic,
        facts: LearnedFacts | None = None,
        health: UpstreamHealth | None = None,
        find_limiter: Callable[[], Limiter] | None = None,
        provider_limits: Mapping[str, tuple[Limit, ...]] = {},
    ) -> None:
        """`provider_limits` maps the names of providers to their limits; `find_limiter` returns the limiter that counts
        them."""
        self.router = router
        self.facts = facts or LearnedFacts(clock)
        self.health = health or UpstreamHealth(clock)
        self._fetcher = fetcher
        self._reasoning_store = reasoning_store
        self._settings = settings
        self._limits = limits
        self._clock = clock
        self._find_limiter = find_limiter
        self._provider_limits = provider_limits if find_limiter is not None else {}

    def answer(self, client_request: ClientRequest, record: Record) -> ClientResponse:
        """The answer to a request. Raises DragomanError while it can still be an HTTP status."""
        peek = client_request.peek
        record.model = peek.model
        record.stream = stream = bool(peek.stream)
        plan = self._find_plan(client_request, record)
        if not stream:
            return self._answer_whole(client_request, record, plan)
        if plan is None:
            obtaining = self._obtain(client_request, record, stream)
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
        started = wait_for(self._obtain(client_request, record, False, begun))
        record.begin_output()
        return ClientResponse(200, started.headers, started.first)

    def _obtain_planned(self, client_request: ClientRequest, record: Record, plan: Plan) -> Obtaining[StartedResponse]:
        """Opens a stream by its plan, as `_obtain` does without one."""
        started = yield from plan.open(client_request, record, self._settings.stream_start_timeout)
        if not isinstance(started, StartedResponse):
            return (yield from self._obtain(client_request, record, True, started))
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
        return deliver_stream(started, record, self._settings.ping_interval, self._clock, self._limits.stream_mb << 20)

    def _obtain(
        self, client_request: ClientRequest, record: Record, stream: bool, begun: Begun | None = None
    ) -> Obtaining[StartedResponse]:
        """The answer of the first upstream of the route that succeeds. If the route has only one, a plan may already
        have `begun` the attempt. Raises the most informative failure if none succeeds."""
        failure: DragomanError | None = None
        try:
            upstreams = self.resolve(client_request)
            if begun is None:
                record.routed = time.monotonic() - record.started
            tenant = client_request.tenant
            maximum = self._settings.max_attempts
            health = self.health
            well = self._choose(upstreams, tenant, record) if self.facts.any or health.breakers else upstreams
            # If there is a reason against every target, the quick ones are asked before those that were silent.
            chain = (well or sorted(upstreams, key=lambda each: health.is_costly(each.label)))[:maximum]
            if client_request.size > SMALL:
                client_request.keeps_body = _is_needed(client_request, chain)
            sends = Sends(record=record) if begun is None else begun.sends
            for position, upstream in enumerate(chain):
                last = position == len(chain) - 1
                gate = OPEN
                record.go_to(upstream)
                try:
                    sends.liveness = None if last else self._find_liveness(upstream)
                    if health.breakers and begun is None:
                        entered = health.enter(
                            upstream.label, tenant, last=last or not well, followed=not last, liveness=sends.liveness
                        )
                        if entered is None:
                            record.skip_target(upstream.label, health.describe(upstream.label))
                            continue
                        gate = entered
                    sends.maximum = maximum - (len(chain) - 1 - position)  # one is reserved for each remaining upstream
                    sends.head_limit = gate.head_limit
                    started = yield from self._attempt(
                        client_request, record, upstream, stream, sends, last and not gate.once, begun,
                        may_plan=len(chain) == 1, moved=_is_moved(chain, position),
                    )  # fmt: skip
                    upstream.provider.health.succeed()
                    if health.breakers:
                        health.succeed(upstream.label)
                    return started
                except DragomanError as error:
                    upstream.provider.health.fail(error)
                    told_by = client_request.body or client_request.id.encode()
                    self.health.fail(upstream.label, tenant, error, told_by, gate)
                    if not tries_next(error):
                        raise
                    failure = more_informative(failure, error)
                    if failure is error:
                        who = upstream, record.upstream_status
                    if isinstance(error, LimitReached):
                        record.skip_target(upstream.label, error.failure.message)
                    if not last:
                        log.warning("request %s: %s failed: %s", record.id, upstream.label, error.failure.kind)
                except BaseException:
                    self.health.abandon(upstream.label, gate)
                    raise
            assert failure is not None, "a route has at least one upstream"
            record.go_to(who[0])
            record.upstream_status = who[1]
            raise failure
        finally:
            failure = None  # an error kept by this frame would keep the frame and everything read alive
            client_request.continuation = None  # likewise breaks the reference cycle between these two

    def _find_liveness(self, upstream: Upstream) -> LivenessCheck | None:
        provider = upstream.provider
        return self.health.liveness(provider.name, provider.is_alive) if provider.has_liveness else None

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

    def _find_capabilities(self, upstream: Upstream, client_request: ClientRequest, moved: bool) -> Capabilities:
        known = self.capabilities(upstream, client_request) if self.facts.any else upstream.capabilities
        return UNSEALED(known) if moved else known

    def _attempt(
        self, client_request: ClientRequest, record: Record, upstream: Upstream, stream: bool, sends: Sends,
        may_repeat: bool, begun: Begun | None, *, may_plan: bool, moved: bool,
    ) -> Obtaining[StartedResponse]:  # fmt: skip
        """Asks one upstream. With `may_repeat`, it tries again after failures if that duplicates no work and may help.
        With `may_plan`, a success leaves a plan for similar requests. With `moved`, what only another account can
        decrypt is left out."""
        provider = upstream.provider
        budget = self.health.budget(provider.name) if begun else self.health.earn(provider.name, record.started)
        session = client_request.conversation if provider.is_pooled else client_request.session
        began = time.monotonic()
        credential = provider.credential(session, client_request.tenant)
        if time.monotonic() - began >= SHORTEST_STEP:
            record.note_step("credential", provider.name, began)
        record.credential = credential.name if credential is not None else ""
        capabilities = self._find_capabilities(upstream, client_request, moved)
        record.upstream_dialect = capabilities.dialect
        state = client_request.continuation
        asked = self.with_history(client_request, upstream, record)
        recovery: Recovery | None = None
        number = 0
        while True:
            number += 1
            attempt = open_attempt(
                asked, upstream, capabilities, credential, stream, self._reasoning_store, self._fetcher, self._limits,
                sends,
            )  # fmt: skip
            try:
                attempt.note_losses(record)
                if begun is not None and number == 1:
                    started = begun.finish(attempt, record)
                else:
                    straight = self._is_straight(attempt)
                    if straight and not stream:
                        started = ask_whole(attempt, record)
                    else:
                        started = yield from self._exchange(attempt, record)
                    if straight and may_plan and number == 1:
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
                yield from _sleep(wait, self._settings.stream_start_timeout)

    def _is_straight(self, attempt: Attempt) -> bool:
        """Whether an attempt only needs to be sent and waited for."""
        target, name = attempt.target, attempt.target.upstream.provider.name
        return not (
            attempt.answer is not None
            or attempt.paused_turn is not None
            or target.sends.liveness is not None
            or target.sends.head_limit is not None
            or target.capabilities.cuts_context
            or name in self.health.queues
            or name in self._provider_limits
        )

    def _exchange(self, attempt: Attempt, record: Record) -> Obtaining[StartedResponse]:
        """Sends once and waits for a successful answer to begin. Raises the upstream's error otherwise."""
        wait = self._settings.stream_start_timeout
        if attempt.answer is not None:
            return deliver(attempt, (attempt.render(attempt.answer), attempt.answer.usage), record)
        exchange = yield from self._send(attempt, attempt.upstream_request, record, wait)
        record.paused_turn = attempt.paused_turn
        if attempt.paused_turn is not None:
            exchange = PausedTurnExchange(exchange, attempt.paused_turn, partial(self._ask_next_part, attempt, record))
        if attempt.target.capabilities.cuts_context and len(attempt.upstream_request.body) > CUTS_FROM:
            provider = attempt.target.upstream.provider
            record.watch = partial(provider.health.compare, attempt.target.upstream.label, estimate(attempt))
        kept = False
        try:
            started = yield from begin_delivery(attempt, exchange, record, wait)
            kept = started.exchange is not None
            return started
        finally:
            if not kept:
                exchange.close()

    def _send(
        self, attempt: Attempt, upstream_request: UpstreamRequest, record: Record, wait: float
    ) -> Obtaining[Exchange]:
        """Sends once, within the provider's queue and limits. Raises LimitReached, UpstreamSpared."""
        name = attempt.target.upstream.provider.name
        queue, limits = self.health.queues.get(name), self._provider_limits.get(name, ())
        if queue is None and not limits:
            return attempt.send(upstream_request, record, wait)
        return self._send_within(queue, limits, attempt, upstream_request, record, wait)

    def _send_within(
        self, queue: ProviderQueue | None, limits: tuple[Limit, ...], attempt: Attempt,
        upstream_request: UpstreamRequest, record: Record, wait: float,
    ) -> Obtaining[Exchange]:  # fmt: skip
        """Sends when it is this request's turn, and counts it: every time as a request, the last time with the actual
        usage."""
        upstream, tenant = attempt.target.upstream, attempt.client_request.tenant
        provider, ticket = upstream.provider, None
        if queue is not None:
            began = time.monotonic()
            ticket = yield from self.health.wait_in(queue, provider.name, tenant, provider.settings.queue_timeout, wait)
            record.note_step("queue", provider.name, began)
        sent = False
        try:
            if limits:
                assert self._find_limiter is not None, "without it no provider has limits"
                owner = Owner("provider", provider.name)
                limiter = self._find_limiter()
                record.hold(limiter.reserve(owner, limits, attempt.client_request, lambda: upstream))
            exchange = yield from attempt.send(upstream_request, record, wait)
            sent = True
            return exchange if queue is None or ticket is None else QueuedExchange(exchange, queue, ticket)
        finally:
            if queue is not None and ticket is not None and not sent:
                queue.leave(ticket)

    def _ask_next_part(self, attempt: Attempt, record: Record, response: Response) -> Obtaining[Exchange]:
        """Requests the next part of a paused turn from the same upstream with the same credential. It may be retried
        even if the client has seen output, because what was `response` stays valid."""
        upstream_request = attempt.continued(response)
        sends = attempt.target.sends
        sends.made, sends.maximum = 0, self._settings.max_attempts
        for number in itertools.count(1):
            try:
                return (yield from self._send(attempt, upstream_request, record, self._settings.stream_start_timeout))
            except DragomanError as error:
                record.end_attempt(error)
                provider = attempt.target.upstream.provider
                budget = self.health.budget(provider.name)
                wait = find_wait(error, number, budget) if sends.made < sends.maximum else None
                if wait is None:
                    raise_explained(error, attempt, find_remedy(provider.settings.kind))
                record.wait(wait)
                yield from _sleep(wait, self._settings.stream_start_timeout)
        raise AssertionError("a count has no end")


def _is_needed(client_request: ClientRequest, chain: Sequence[Upstream]) -> bool:
    """Whether the bytes of a request are still needed after parsing: by an upstream to which they may pass, by a stored
    response, or by an answer that echoes the prompt."""
    dialect = client_request.dialect
    if client_request.continuation is not None or client_request.operation != "generate":
        return True
    return dialect.TRAITS.echoes_prompt or any(upstream.capabilities.dialect == dialect.NAME for upstream in chain)


def _is_moved(chain: Sequence[Upstream], position: int) -> bool:
    """Whether a request comes here after another account has failed, which alone can decrypt what it has sealed."""
    here = chain[position].provider
    before = [upstream.provider for upstream in chain[:position]]
    same_kind = any(provider is not here and provider.dialect == here.dialect for provider in before)
    return same_kind and seals_for_account(here.dialect)


def _sleep(seconds: float, longest: float) -> Obtaining[None]:
    """Sleeps, yielding every `longest` seconds so that the client can be sent a ping."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, longest))
        if left > longest:
            yield
