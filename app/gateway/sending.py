"""Sends attempts upstream, within the queue and the limits of their provider."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial

from app.conversation.response import Response
from app.credentials.credential import find_remedy
from app.errors import DragomanError, UpstreamTimeout
from app.gateway.attempt import Attempt
from app.gateway.delivery import begin_delivery, deliver
from app.gateway.failures.explanation import raise_explained
from app.gateway.failures.recovery import estimate, find_wait
from app.gateway.messages import StartedResponse
from app.gateway.replies.paused_turn import PausedTurnExchange
from app.gateway.replies.reply_head import receive_head
from app.gateway.upstream_health.health import UpstreamHealth
from app.gateway.use_limits.limiter import Limiter
from app.providers.provider import UpstreamRequest
from app.rate_limits.counts import Limit
from app.settings import ServerSettings
from app.transport import Exchange, Obtaining
from app.transport.provider_queue import QueuedExchange

log = logging.getLogger("dragoman")

# Maximum bytes of a request that certainly fits into any context.
CUTS_FROM = 8192


class Sender:
    """Sends under one configuration. `provider_limits` maps the names of providers to their limits; `find_limiter`
    returns the limiter that counts them, and without it there are none."""

    def __init__(
        self,
        settings: ServerSettings,
        health: UpstreamHealth,
        find_limiter: Callable[[], Limiter] | None,
        provider_limits: Mapping[str, tuple[Limit, ...]],
    ) -> None:
        self._maximum = settings.max_attempts
        self._silence = settings.stream_start_timeout  # seconds after which a waiting client is sent a ping
        self._health = health
        self._find_limiter = find_limiter
        self._provider_limits = provider_limits if find_limiter is not None else {}

    def is_straight(self, attempt: Attempt) -> bool:
        """Whether an attempt only needs to be sent and waited for."""
        target, name = attempt.target, attempt.target.upstream.provider.name
        return not (
            attempt.answer is not None
            or attempt.paused_turn is not None
            or target.sends.gate.liveness is not None
            or target.sends.gate.head_limit is not None
            or target.capabilities.cuts_context
            or name in self._health.queues
            or name in self._provider_limits
        )

    def start(self, attempt: Attempt) -> Obtaining[StartedResponse]:
        """Sends once and waits for a successful answer to begin. Raises the upstream's error otherwise."""
        if attempt.answer is not None:
            return deliver(attempt, (attempt.render(attempt.answer), attempt.answer.usage))
        exchange = yield from self._send(attempt, attempt.upstream_request)
        attempt.record.paused_turn = attempt.paused_turn
        if attempt.paused_turn is not None:
            exchange = PausedTurnExchange(exchange, attempt.paused_turn, partial(self._ask_next_part, attempt))
        if attempt.target.capabilities.cuts_context and len(attempt.upstream_request.body) > CUTS_FROM:
            provider = attempt.target.upstream.provider
            attempt.record.watch = partial(provider.health.compare, attempt.target.upstream.label, estimate(attempt))
        kept = False
        try:
            started = yield from begin_delivery(attempt, exchange, self._silence)
            kept = started.exchange is not None
            return started
        finally:
            if not kept:
                exchange.close()

    def sleep(self, seconds: float) -> Obtaining[None]:
        """Sleeps, and yields as often as the client may have to be sent a ping."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, self._silence))
            if left > self._silence:
                yield

    def _send(self, attempt: Attempt, upstream_request: UpstreamRequest) -> Obtaining[Exchange]:
        """Sends once, when it is this request's turn. Raises LimitReached, UpstreamSpared."""
        provider, tenant = attempt.target.upstream.provider, attempt.client_request.tenant
        queue = self._health.queues.get(provider.name)
        if queue is None:
            return (yield from self._send_counted(attempt, upstream_request))
        began = time.monotonic()
        longest = provider.settings.queue_timeout
        ticket = yield from self._health.wait_in(queue, provider.name, tenant, longest, self._silence)
        attempt.record.note_step("queue", provider.name, began)
        try:
            return QueuedExchange((yield from self._send_counted(attempt, upstream_request)), queue, ticket)
        except BaseException:
            queue.leave(ticket)
            raise

    def _send_counted(self, attempt: Attempt, upstream_request: UpstreamRequest) -> Obtaining[Exchange]:
        """Sends once, and counts it: every time as a request, the last time with the actual usage."""
        upstream = attempt.target.upstream
        limits = self._provider_limits.get(upstream.provider.name)
        if limits:
            assert self._find_limiter is not None, "without it no provider has limits"
            reserve = self._find_limiter().reserve
            attempt.record.hold(
                reserve("provider", upstream.provider.name, limits, attempt.client_request, lambda: upstream)
            )
        return self._send_now(attempt, upstream_request)

    def _send_now(self, attempt: Attempt, upstream_request: UpstreamRequest) -> Obtaining[Exchange]:
        """Sends once and waits for a head with a 2xx status; yields while the upstream is silent. Raises the upstream's
        error otherwise."""
        gate, silence = attempt.target.sends.gate, self._silence
        exchange = _begin(attempt, upstream_request)
        try:
            if gate.head_limit is not None:
                yield from _wait_briefly(exchange, gate.head_limit, silence)
            if gate.liveness is not None:
                yield from gate.liveness.wait(exchange, silence)
            while not exchange.wait_head(silence):
                yield
            receive_head(attempt.target, exchange)
        except BaseException:
            exchange.close()
            raise
        return exchange

    def _ask_next_part(self, attempt: Attempt, response: Response) -> Obtaining[Exchange]:
        """Requests the next part of a paused turn from the same upstream with the same credential. It may be retried
        even if the client has seen output, because what was `response` stays valid."""
        upstream_request = attempt.continued(response)
        sends = attempt.target.sends
        sends.made, sends.maximum = 0, self._maximum
        for number in itertools.count(1):
            try:
                return (yield from self._send(attempt, upstream_request))
            except DragomanError as error:
                attempt.record.end_attempt(error)
                provider = attempt.target.upstream.provider
                budget = self._health.budget(provider.name)
                wait = find_wait(error, number, budget) if sends.may_send else None
                if wait is None:
                    raise_explained(error, attempt, find_remedy(provider.settings.kind))
                attempt.record.wait(wait)
                yield from self.sleep(wait)
        raise AssertionError("a count has no end")


def _begin(attempt: Attempt, upstream_request: UpstreamRequest) -> Exchange:
    """Sends the request without waiting for the reply. Returns an Exchange, which the caller must close."""
    target, record = attempt.target, attempt.record
    target.sends.made += 1
    record.begin_attempt()
    record.upstream_status = None
    provider = target.upstream.provider
    exchange = provider.send(upstream_request, target.credential)
    if record.wiretap is not None:
        exchange = record.wiretap.attempt(exchange, provider, upstream_request, target.credential)
    if log.isEnabledFor(logging.DEBUG):
        log.debug(
            "request %s goes to %s as %s: %d bytes, losses %s",
            record.id, target.upstream.label, target.dialect.NAME, len(upstream_request.body),
            [loss.path for loss in attempt.losses],
        )  # fmt: skip
    return exchange


def _wait_briefly(exchange: Exchange, limit: float, wait: float) -> Obtaining[None]:
    """Waits for the response head. Raises UpstreamTimeout if that takes longer than `limit` seconds."""
    end = time.monotonic() + limit
    while not exchange.wait_head(min(wait, max(0.0, end - time.monotonic()))):
        if time.monotonic() >= end:
            raise UpstreamTimeout("first_byte", limit)
        yield
