"""This file answers one request: it finds an upstream, sends the request in that upstream's dialect, and gives the
reply back in the client's.

An answer is obtained by a generator that yields whenever an upstream has been silent for a while. As long as nothing
has been yielded, a failure is an HTTP error; a streaming client that has waited long enough gets its head and pings,
and from then on a failure is an error event.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from app.conversation.capabilities import Capabilities, Reply
from app.conversation.events import Failed
from app.conversation.response import Response
from app.credentials.credential import find_remedy
from app.dialects.openai_chat.several import ask_single, join_responses
from app.errors import CredentialUnavailable, DragomanError, UpstreamRefused
from app.gateway.attempt import Attempt
from app.gateway.delivery import (
    JSON_HEADERS,
    STREAM_HEADERS,
    Opened,
    begin_delivery,
    deliver,
    go_on,
)
from app.gateway.fanout import answer_each
from app.gateway.fetching import Fetcher
from app.gateway.learned_facts import COOL_DOWN, LearnedFacts
from app.gateway.messages import Inbound, Outbound
from app.gateway.policy import cool_down, find_repair, goes_elsewhere, more_telling, teaches, wait_before_retry
from app.gateway.recollection import Recollection
from app.gateway.record import Record
from app.gateway.rounds import RoundsExchange
from app.gateway.state import Memory
from app.providers.provider import Operation
from app.routing.router import Router, Upstream
from app.settings import ServerSettings
from app.transport import Exchange, Obtaining

log = logging.getLogger("dragoman")

# Changes to one request that an upstream refused by naming a field.
MOST_REPAIRS = 3
# Answers that are asked for one by one on behalf of one request.
MOST_ANSWERS = 8


class Gateway:
    """Answers requests by one configuration. A change of the configuration makes a new one."""

    def __init__(
        self,
        router: Router,
        settings: ServerSettings,
        memory: Memory,
        fetcher: Fetcher | None = None,
        recollection: Recollection | None = None,
        clock: Callable[[], float] = time.monotonic,
        facts: LearnedFacts | None = None,
    ) -> None:
        self.router = router
        self.facts = facts or LearnedFacts(clock)
        self._fetcher = fetcher
        self._memory = memory
        self._recollection = recollection
        self._settings = settings
        self._clock = clock

    def answer(self, inbound: Inbound, record: Record) -> Outbound:
        """The answer to a request. Raises DragomanError while it can still be an HTTP status."""
        peek = inbound.peek
        record.model = peek.model
        record.stream = stream = bool(peek.stream)
        if peek.n is not None and not stream and self._must_fan_out(inbound):
            return self._answer_several(inbound, record)
        if inbound.dialect.NAME == "openai_responses" and inbound.state is None:
            inbound.state = self._memory.begin(inbound)
        obtaining = self._obtain(inbound, record, stream)
        try:
            while True:
                next(obtaining)
                if stream:
                    return self._answer_late(inbound, record, obtaining)
        except StopIteration as done:
            opened: Opened = done.value
        record.begin_output()
        body = opened.first if opened.stream is None else self._go_on(opened, record)
        return Outbound(200, opened.headers, body)

    def _must_fan_out(self, inbound: Inbound) -> bool:
        n = inbound.peek.n
        if inbound.dialect.NAME != "openai_chat" or not isinstance(n, int) or not 1 < n <= MOST_ANSWERS:
            return False
        return not all(up.capabilities.n for up in self.router.resolve(inbound.peek.model, inbound.provider))

    def _answer_several(self, inbound: Inbound, record: Record) -> Outbound:
        """Several answers of an upstream that gives one at a time."""
        single = inbound.with_body(ask_single(inbound.body))
        bodies = answer_each(self.answer, [single] * inbound.peek.n, record)
        return Outbound(200, dict(JSON_HEADERS), join_responses(bodies))

    def with_history(self, inbound: Inbound, upstream: Upstream) -> Inbound:
        """The request with what it continues, unless the upstream knows that itself. Raises DragomanError."""
        state = self._memory.begin(inbound) if inbound.dialect.NAME == "openai_responses" else None
        return inbound if state is None else state.prepare(upstream)

    def capabilities(self, upstream: Upstream, inbound: Inbound) -> Capabilities:
        """What the upstream can take, as far as the tenant's requests have shown."""
        return self.facts.adapt(upstream.label, inbound.tenant, upstream.capabilities)

    def offers(self, upstream: Upstream, inbound: Inbound, operation: Operation) -> bool:
        """Whether the upstream has an operation, as far as the tenant's requests have shown."""
        return upstream.provider.offers(operation) and operation not in self.capabilities(upstream, inbound).absent

    def _answer_late(self, inbound: Inbound, record: Record, obtaining: Obtaining[Opened]) -> Outbound:
        """The head now, and pings until an upstream has something to say."""

        def parts() -> Iterator[bytes]:
            renderer = inbound.dialect.StreamRenderer(
                Reply(model=record.model, id=inbound.id, created=int(time.time()))
            )
            try:
                while True:
                    yield renderer.ping()
                    next(obtaining)
            except StopIteration as done:
                yield from self._go_on(done.value, record)
            except DragomanError as error:
                record.fail(error)
                yield renderer.feed([Failed(error.failure)])
            except Exception as fault:
                yield renderer.feed([Failed(record.fault(fault).failure)])
            finally:
                obtaining.close()

        return Outbound(200, dict(STREAM_HEADERS), parts())

    def _go_on(self, opened: Opened, record: Record) -> Iterator[bytes]:
        return go_on(opened, record, self._settings.ping_interval, self._clock)

    def _obtain(self, inbound: Inbound, record: Record, stream: bool) -> Obtaining[Opened]:
        """The first upstream of the route that answers well. Raises the most telling failure when none does."""
        upstreams = self.router.resolve(inbound.peek.model, inbound.provider)
        tenant = inbound.tenant
        ready = [upstream for upstream in upstreams if not self.facts.holds(upstream.label, tenant, COOL_DOWN)]
        most = self._settings.max_attempts
        chain = (ready or upstreams)[:most]
        told: DragomanError | None = None
        for position, upstream in enumerate(chain):
            last = position == len(chain) - 1
            try:
                return (yield from self._attempt(inbound, record, upstream, stream, most - position if last else 1))
            except DragomanError as error:
                if not goes_elsewhere(error):
                    raise
                told = more_telling(told, error)
                if told is error:
                    who = upstream.label, record.upstream_status
                if not last:
                    log.warning("request %s: %s fails: %s", record.id, upstream.label, error.failure.kind)
        assert told is not None, "a route has at least one upstream"
        record.upstream, record.upstream_status = who
        raise told

    def _attempt(
        self, inbound: Inbound, record: Record, upstream: Upstream, stream: bool, tries: int
    ) -> Obtaining[Opened]:
        """One upstream, tried again where that repeats nothing and may help."""
        provider = upstream.provider
        record.upstream = upstream.label
        credential = provider.credential()
        capabilities = self.capabilities(upstream, inbound)
        record.upstream_dialect = capabilities.dialect
        state = inbound.state
        asked = inbound if state is None else state.prepare(upstream)
        renewed = False
        remedy = find_remedy(provider.settings.kind)
        repairs = MOST_REPAIRS
        attempt = 0
        while True:
            attempt += 1
            call = Attempt(asked, upstream, capabilities, credential, stream, self._recollection, self._fetcher)
            try:
                opened = yield from self._exchange(call, record)
                return opened if state is None else state.watch(opened)
            except DragomanError as error:
                if call.rounds is not None and call.rounds.said is not None:
                    raise  # what was said so far is not asked for a second time
                failure = error.failure
                log.debug("request %s: attempt %d at %s failed: %s", record.id, attempt, upstream.label, failure.kind)
                if failure.kind in ("upstream_auth", "permission") and not renewed:
                    renewed = True
                    try:
                        other = provider.renew(credential, forbidden=failure.kind == "permission")
                    except CredentialUnavailable as unavailable:
                        other, remedy = None, str(unavailable)
                    if other is not None:
                        credential = other
                        continue
                repair = find_repair(failure, capabilities, call.operation) if repairs else None
                if repair is not None:
                    repairs -= 1
                    capabilities = repair.change(capabilities)
                    if teaches(failure, repair, call.sent):
                        self.facts.report(upstream.label, inbound.tenant, repair.name, repair.change)
                    continue
                wait = wait_before_retry(error, attempt) if attempt < tries else None
                if wait is None:
                    pause = cool_down(error)
                    if pause is not None:
                        self.facts.report(upstream.label, inbound.tenant, COOL_DOWN, times=1, seconds=pause)
                    raise _explained(error, call, remedy) from error
                yield from _sleep(wait, self._settings.early_head)

    def _exchange(self, call: Attempt, record: Record) -> Obtaining[Opened]:
        """Sends once and waits for the beginning of a good answer. Raises what the upstream says otherwise."""
        wait = self._settings.early_head
        outgoing = call.outgoing()
        record.dropped = tuple(loss.path for loss in call.losses if loss.loss != "D")
        if call.answer is not None:
            return deliver(call, call.answer, record)
        exchange = yield from call.send(outgoing, record, wait)
        record.rounds = call.rounds
        if call.rounds is not None:
            exchange = RoundsExchange(exchange, call.rounds, partial(self._ask_on, call, record))
        kept = False
        try:
            opened = yield from begin_delivery(call, exchange, record, wait)
            kept = opened.exchange is not None
            return opened
        finally:
            if not kept:
                exchange.close()

    def _ask_on(self, call: Attempt, record: Record, said: Response) -> Obtaining[Exchange]:
        """The next round of an answer, of the same upstream with the same credential. It may be tried again even where
        the client has seen something: what was said stays."""
        outgoing = call.continued(said)
        for attempt in itertools.count(1):
            try:
                return (yield from call.send(outgoing, record, self._settings.early_head))
            except DragomanError as error:
                wait = wait_before_retry(error, attempt)
                if wait is None or attempt >= self._settings.max_attempts:
                    raise _explained(error, call, find_remedy(call.upstream.provider.settings.kind)) from error
                yield from _sleep(wait, self._settings.early_head)
        raise AssertionError("a count has no end")


def _sleep(seconds: float, longest: float) -> Obtaining[None]:
    """Waits, and yields if the wait is long enough for a client to wonder."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, longest))
        if left > longest:
            yield


def _explained(error: DragomanError, call: Attempt, remedy: str) -> DragomanError:
    """The error in words that help who can do something about it; unchanged where there is nothing to add."""
    if not isinstance(error, UpstreamRefused):
        return error
    provider, failure = call.upstream.provider, error.failure
    explained = provider.explain(failure)
    if failure.kind == "upstream_auth":
        if call.credential is None and provider.auth_headers(None, call.inbound.headers):
            # The client's own credential was passed on, so the refusal is the client's as well.
            refused = UpstreamRefused(msgspec.structs.replace(failure, kind="authentication"), error.headers)
            refused.body = error.body
            return refused
        # Not a 401, at which agents ask for a login of their own.
        message = f"{explained.message.rstrip('. ')}. {remedy}"
        explained = msgspec.structs.replace(explained, message=message)
    return error if explained is failure else UpstreamRefused(explained, error.headers)
