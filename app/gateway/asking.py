"""Asks the upstreams of a request's route, one after another, until one answers."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from app.credentials.credential import Credential
from app.errors import DragomanError, LimitReached, UpstreamSpared
from app.gateway.attempt import Sends
from app.gateway.choice import open_attempt
from app.gateway.failures.learned_facts import COOL_DOWN
from app.gateway.failures.policy import more_informative, tries_next
from app.gateway.failures.recovery import Recovery
from app.gateway.failures.repairs.change import UNSEALED, seals_for_account
from app.gateway.large_bodies.heavy_work import SMALL
from app.gateway.messages import ClientRequest, StartedResponse
from app.gateway.plan import Begun
from app.gateway.record import Record
from app.gateway.upstream_health.health import OPEN, Gate
from app.providers.provider import Provider
from app.rate_limits.shared_counts import LimitsUnavailable
from app.routing.upstream import Upstream
from app.transport import Obtaining

if TYPE_CHECKING:
    from app.gateway.gateway import Gateway

log = logging.getLogger("dragoman")

# Errors that keep a request from being sent, and say nothing about the upstream.
NOT_SENT = (LimitReached, LimitsUnavailable, UpstreamSpared)


class Place(msgspec.Struct, frozen=True):
    """An upstream's place in the chain of those that may be asked for one request, with `followed_by` others after it.
    `unwell`: there is a reason against every one. `moved`: what only another account can decrypt is left out."""

    upstream: Upstream
    followed_by: int
    unwell: bool
    moved: bool
    is_only: bool


class Asking:
    """One request on its way through the upstreams of its route. If there is only one, a plan may already have `begun`
    the first attempt."""

    def __init__(
        self, gateway: Gateway, client_request: ClientRequest, record: Record, begun: Begun | None = None
    ) -> None:
        self._gateway = gateway
        self._client_request = client_request
        self._record = record
        self._begun = begun
        self._sends = Sends(record) if begun is None else begun.sends

    def obtain(self) -> Obtaining[StartedResponse]:
        """The answer of the first upstream that succeeds. Raises the most informative failure if none does."""
        client_request, record = self._client_request, self._record
        failure: DragomanError | None = None
        try:
            chain = self._make_chain()
            if client_request.size > SMALL:
                client_request.keeps_body = _is_needed(client_request, chain)
            for place in chain:
                upstream = place.upstream
                record.go_to(upstream)
                gate = self._enter(place)
                if gate is None:
                    record.skip_target(upstream.label, self._gateway.health.describe(upstream.label))
                    continue
                try:
                    return (yield from self._ask(place, gate))
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
            assert failure is not None, "the last upstream of a chain is asked"
            record.go_to(failed)
            record.upstream_status = failed_status
            raise failure
        finally:
            failure = None  # an error kept by this frame would keep the frame and everything read alive
            client_request.continuation = None  # likewise breaks the reference cycle between these two

    def _make_chain(self) -> list[Place]:
        """The upstreams to ask, in order: those that are well, or if none is, all of them, with the quick ones before
        those that were silent."""
        gateway = self._gateway
        upstreams = gateway.resolve(self._client_request)
        if self._begun is None:
            self._record.routed = time.monotonic() - self._record.started
        well = self._choose(upstreams) if gateway.facts.any or gateway.health.breakers else upstreams
        chain = well or sorted(upstreams, key=lambda each: gateway.health.is_costly(each.label))
        chain = chain[: gateway.settings.max_attempts]
        return [
            Place(upstream, len(chain) - 1 - number, not well, _is_moved(chain, number), is_only=len(chain) == 1)
            for number, upstream in enumerate(chain)
        ]

    def _choose(self, upstreams: Sequence[Upstream]) -> Sequence[Upstream]:
        """The upstreams worth asking now, in order; empty if there is a reason against every one."""
        facts, health, tenant = self._gateway.facts, self._gateway.health, self._client_request.tenant
        well = []
        skipped = []
        for upstream in upstreams:
            if facts.holds(upstream.label, tenant, COOL_DOWN):
                skipped.append((upstream.label, "it asked us to wait"))
            elif health.spares(upstream.label, tenant):
                skipped.append((upstream.label, health.describe(upstream.label)))
            else:
                well.append(upstream)
        if well:
            for target, reason in skipped:
                self._record.skip_target(target, reason)
        return well

    def _enter(self, place: Place) -> Gate | None:
        """How the request may use an upstream; None if it should go on to the next one."""
        if self._begun is not None:
            return OPEN
        health, provider, followed = self._gateway.health, place.upstream.provider, place.followed_by > 0
        asks = followed and provider.has_liveness
        return health.enter(
            place.upstream.label, self._client_request.tenant, last=place.unwell or not followed, followed=followed,
            liveness=health.liveness(provider.name, provider.is_alive) if asks else None,
        )  # fmt: skip

    def _ask(self, place: Place, gate: Gate) -> Obtaining[StartedResponse]:
        """Asks one upstream, and notes in its health how that ended."""
        client_request, upstream, health = self._client_request, place.upstream, self._gateway.health
        self._sends.gate = gate
        self._sends.maximum = self._gateway.settings.max_attempts - place.followed_by  # each of these has one reserved
        try:
            started = yield from self._try(place, may_repeat=not place.followed_by and not gate.once)
        except DragomanError as error:
            identity = client_request.body or client_request.id.encode()
            upstream.provider.health.fail(error)
            health.fail(upstream.label, client_request.tenant, error, identity, gate)
            raise
        except BaseException:
            health.abandon(upstream.label, gate)
            raise
        upstream.provider.health.succeed()
        health.succeed(upstream.label)
        return started

    def _try(self, place: Place, *, may_repeat: bool) -> Obtaining[StartedResponse]:
        """Tries one upstream until it answers or nothing is left to try there. With `may_repeat`, the same request may
        be sent again if that duplicates no work and may help."""
        gateway, record, begun = self._gateway, self._record, self._begun
        client_request, upstream = self._client_request, place.upstream
        name = upstream.provider.name
        budget = gateway.health.budget(name) if begun else gateway.health.earn(name, record.started)
        credential = _find_credential(client_request, upstream.provider, record)
        capabilities = gateway.capabilities(upstream, client_request)
        if place.moved:
            capabilities = UNSEALED(capabilities)
        record.upstream_dialect = capabilities.dialect
        state = client_request.continuation
        asked = gateway.with_history(client_request, upstream, record)
        recovery = Recovery(client_request, record, upstream, gateway.facts, budget)
        for number in itertools.count(1):
            attempt = open_attempt(
                asked, upstream, capabilities, credential, record.stream, self._sends, gateway.resources
            )
            try:
                attempt.note_losses()
                if begun is not None and number == 1:
                    return begun.finish(attempt)
                started = yield from gateway.sender.start(attempt)
                if place.is_only and number == 1:
                    gateway.keep_plan(attempt, budget)
                return started if state is None else state.watch(started)
            except NOT_SENT:
                raise
            except DragomanError as error:
                if attempt.paused_turn is not None and attempt.paused_turn.response is not None:
                    raise  # the parts received so far must not be requested again
                wait = recovery.handle(error, attempt, number, may_repeat=may_repeat)
                credential, capabilities = recovery.credential, recovery.capabilities
            yield from gateway.sender.sleep(wait)
        raise AssertionError("a count has no end")


def _find_credential(client_request: ClientRequest, provider: Provider, record: Record) -> Credential | None:
    session = client_request.conversation if provider.is_pooled else client_request.session
    began = time.monotonic()
    credential = provider.credential(session, client_request.tenant)
    record.note_step("credential", provider.name, began)
    record.credential = credential.name if credential is not None else ""
    return credential


def _is_needed(client_request: ClientRequest, chain: Sequence[Place]) -> bool:
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
