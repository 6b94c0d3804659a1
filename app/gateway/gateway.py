"""This file answers one request: it finds an upstream, sends the request in that upstream's dialect, and gives the
reply back in the client's.

An answer is obtained by a generator that yields whenever an upstream has been silent for a while. As long as nothing
has been yielded, a failure is an HTTP error; a streaming client that has waited long enough gets its head and pings,
and from then on a failure is an error event.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TypeVar

import msgspec

from app.conversation.capabilities import Reply
from app.conversation.events import Failed
from app.conversation.losses import dropped_header
from app.conversation.response import Response
from app.conversation.tokens import estimate_tokens
from app.credentials.credential import find_remedy
from app.dialects.contract import StreamPassthrough
from app.dialects.openai_chat.several import ask_single, join_responses
from app.errors import CredentialUnavailable, DragomanError, Failure, UpstreamCut, UpstreamRefused
from app.gateway.attempt import Attempt
from app.gateway.fanout import answer_each
from app.gateway.fetching import Fetcher
from app.gateway.messages import Inbound, Outbound
from app.gateway.policy import cool_down, find_repair, goes_elsewhere, wait_before_retry
from app.gateway.recollection import Recollection
from app.gateway.record import Record
from app.gateway.relay import relayed_headers
from app.gateway.state import Memory
from app.gateway.translation import StreamCollector, restage, stream_whole
from app.routing.router import Router, Upstream
from app.settings import ServerSettings
from app.transport import Exchange

log = logging.getLogger("dragoman")

STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}
JSON_HEADERS = {"content-type": "application/json"}
# After the finish an upstream may still report usage, or keep its connection open for no reason; seconds.
GRACE = 2.0
# What an event stream begins with, for servers that call it something else: it comes late then, but it comes.
EVENT_BEGINNINGS = (b"data:", b"event:", b": ")
# A count that takes longer is not worth waiting for; seconds.
COUNT_LIMIT = 10.0
# Changes to one request that an upstream refused by naming a field.
MOST_REPAIRS = 3
# Answers that are asked for one by one on behalf of one request.
MOST_ANSWERS = 8
# How servers say that they, or this model of theirs, only know newer operations.
ABSENT_STATUSES = (404, 405)


class Opened(msgspec.Struct):
    """An upstream that has begun to answer well. `first` is what of its answer is ready for the client: all of it
    when there is no `stream`."""

    exchange: Exchange | None
    upstream: Upstream
    stream: StreamPassthrough | None
    first: bytes
    headers: dict[str, str]


# Obtains a thing; yields at every silence of the upstream.
class _Counted(msgspec.Struct):
    input_tokens: int | None = None


_counted = msgspec.json.Decoder(_Counted)

T = TypeVar("T")
Obtaining = Generator[None, None, T]


class Gateway:
    """Answers requests by one configuration. A change of the configuration makes a new one."""

    def __init__(
        self,
        router: Router,
        settings: ServerSettings,
        memory: Memory,
        fetcher: Fetcher | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.router = router
        self._fetcher = fetcher
        self._memory = memory
        self._recollection = Recollection()
        self._settings = settings
        self._clock = clock
        self._cooling: dict[str, float] = {}

    def answer(self, inbound: Inbound, record: Record) -> Outbound:
        """The answer to a request. Raises DragomanError while it can still be an HTTP status."""
        peek = inbound.peek
        record.model = peek.model
        record.stream = stream = bool(peek.stream)
        if peek.n is not None and not stream and self._must_fan_out(inbound):
            return self._answer_several(inbound, record)
        if inbound.dialect.NAME == "openai_responses":
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
        body = opened.first if opened.stream is None else self._stream(opened, record)
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

    def count_tokens(self, inbound: Inbound, record: Record) -> int:
        """Input tokens of a request: counted by the upstream where it offers that, else estimated; never 0."""
        record.model = inbound.peek.model
        upstream = self.router.resolve(inbound.peek.model, inbound.provider)[0]
        inbound = self.with_history(inbound, upstream)
        record.upstream, record.upstream_dialect = upstream.label, upstream.capabilities.dialect
        request = inbound.request
        if upstream.provider.dialect == inbound.dialect.NAME and upstream.provider.offers("count_tokens"):
            counted = self._count_natively(inbound, upstream)
            if counted:
                return counted
        estimate: int = estimate_tokens(request)
        return max(1, estimate)

    def with_history(self, inbound: Inbound, upstream: Upstream) -> Inbound:
        """The request with what it continues, unless the upstream knows that itself. Raises DragomanError."""
        state = self._memory.begin(inbound) if inbound.dialect.NAME == "openai_responses" else None
        return inbound if state is None else state.prepare(upstream)

    def _count_natively(self, inbound: Inbound, upstream: Upstream) -> int | None:
        """None when the upstream cannot, or will not, count: an estimate is better than an error."""
        attempt = Attempt(inbound, upstream, upstream.capabilities, None, False)
        try:
            outgoing = msgspec.structs.replace(attempt.outgoing(), operation="count_tokens")
            exchange = upstream.provider.send(outgoing, upstream.provider.credential())
            try:
                if not exchange.wait_head(COUNT_LIMIT) or exchange.status != 200:
                    return None
                return _counted.decode(exchange.read_body()).input_tokens
            finally:
                exchange.close()
        except (DragomanError, msgspec.MsgspecError):
            return None

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
                yield from self._stream(done.value, record)
            except DragomanError as error:
                record.fail(error)
                yield renderer.feed([Failed(error.failure)])
            except Exception as fault:
                yield renderer.feed([Failed(_own_fault(fault, record))])
            finally:
                obtaining.close()

        return Outbound(200, dict(STREAM_HEADERS), parts())

    def _stream(self, opened: Opened, record: Record) -> Iterator[bytes]:
        """The parts of a running stream; one for each read of the upstream's socket, pings while it is silent."""
        stream, exchange = opened.stream, opened.exchange
        if stream is None or exchange is None:
            yield opened.first
            return
        interval = self._settings.ping_interval
        try:
            if opened.first:
                yield opened.first
            heard = self._clock()
            while True:
                part = exchange.read_part(GRACE if stream.finished else interval)
                if part:
                    out = stream.feed(part)
                    if out:
                        yield out
                        heard = self._clock()
                    elif self._clock() - heard >= interval:
                        yield stream.ping()
                        heard = self._clock()
                elif part is None and not stream.finished:
                    yield stream.ping()
                    heard = self._clock()
                else:
                    break
            out = stream.close()
            if out:
                yield out
            if not stream.finished:
                record.terminal = "upstream_cut"
        except DragomanError as error:
            record.fail(error, "upstream_cut" if isinstance(error, UpstreamCut) else "error")
            yield stream.fail(error.failure)
        except Exception as fault:
            yield stream.fail(_own_fault(fault, record))
        except BaseException:
            record.terminal = "client_closed"
            raise
        finally:
            exchange.close()
            record.usage = stream.usage or record.usage

    def _obtain(self, inbound: Inbound, record: Record, stream: bool) -> Obtaining[Opened]:
        """The first upstream of the route that answers well. Raises the last failure when none does."""
        upstreams = self.router.resolve(inbound.peek.model, inbound.provider)
        now = self._clock()
        ready = [upstream for upstream in upstreams if self._cooling.get(upstream.label, 0.0) <= now]
        left = self._settings.max_attempts
        chain = ready or upstreams
        for position, upstream in enumerate(chain):
            last = position == len(chain) - 1
            try:
                return (yield from self._attempt(inbound, record, upstream, stream, max(1, left) if last else 1))
            except DragomanError as error:
                left -= 1
                if last or not goes_elsewhere(error):
                    raise
        raise AssertionError("a route has at least one upstream")

    def _attempt(
        self, inbound: Inbound, record: Record, upstream: Upstream, stream: bool, tries: int
    ) -> Obtaining[Opened]:
        """One upstream, tried again where that repeats nothing and may help."""
        provider = upstream.provider
        record.upstream = upstream.label
        credential = provider.credential()
        capabilities = upstream.capabilities
        record.upstream_dialect = capabilities.dialect
        state = inbound.state
        asked = inbound if state is None else state.prepare(upstream)
        renewed = False
        remedy = find_remedy(provider.settings.kind)
        repairs = MOST_REPAIRS
        attempt = 0
        while True:
            attempt += 1
            record.attempts += 1
            record.upstream_status = None
            call = Attempt(asked, upstream, capabilities, credential, stream, self._recollection, self._fetcher)
            try:
                opened = yield from self._exchange(call, record)
                return opened if state is None else state.watch(opened)
            except DragomanError as error:
                headers: Mapping[str, str] = error.headers if isinstance(error, UpstreamRefused) else {}
                failure = error.failure
                log.debug("request %s: attempt %d at %s failed: %s", record.id, attempt, upstream.label, failure.kind)
                if call.operation == "completions" and failure.status in ABSENT_STATUSES:
                    asked = asked.as_generation()
                    continue
                if failure.kind in ("upstream_auth", "permission") and not renewed:
                    renewed = True
                    try:
                        other = provider.renew(credential, forbidden=failure.kind == "permission")
                    except CredentialUnavailable as unavailable:
                        other, remedy = None, str(unavailable)
                    if other is not None:
                        credential = other
                        continue
                repair = find_repair(failure, capabilities) if repairs else None
                if repair is not None:
                    repairs -= 1
                    capabilities = repair.change(capabilities)
                    if repair.learned:
                        provider.learn(upstream.model, repair.name, repair.change)
                    continue
                wait = wait_before_retry(error, attempt, headers) if attempt < tries else None
                if wait is None:
                    pause = cool_down(error, headers)
                    if pause is not None:
                        self._cooling[upstream.label] = self._clock() + pause
                    raise _explained(error, call, remedy) from error
                yield from _sleep(wait, self._settings.early_head)

    def _exchange(self, call: Attempt, record: Record) -> Obtaining[Opened]:
        """Sends once and waits for the beginning of a good answer. Raises what the upstream says otherwise."""
        outgoing = call.outgoing()
        record.dropped = tuple(loss.path for loss in call.losses if loss.loss != "D")
        if call.answer is not None:
            return self._deliver(call, call.answer, self._reply_headers(call, {}), record)
        exchange = call.upstream.provider.send(outgoing, call.credential)
        log.debug(
            "request %s goes to %s as %s: %d bytes, losses %s",
            record.id, call.upstream.label, call.dialect.NAME, len(outgoing.body), [loss.path for loss in call.losses],
        )  # fmt: skip
        kept = False
        try:
            while not exchange.wait_head(self._settings.early_head):
                yield
            record.upstream_request_id = _first(exchange.headers, "x-request-id", "request-id", "opc-request-id")
            log.debug("request %s: %s answers HTTP %d", record.id, call.upstream.label, exchange.status)
            if not 200 <= exchange.status < 300:
                record.upstream_status = exchange.status
                raise call.refusal(exchange)
            opened = yield from self._begin(call, exchange, record)
            kept = opened.exchange is not None
            return opened
        finally:
            if not kept:
                exchange.close()

    def _begin(self, call: Attempt, exchange: Exchange, record: Record) -> Obtaining[Opened]:
        """Reads on until there is something for the client: all of a unary answer, the first events of a stream."""
        headers = self._reply_headers(call, exchange.headers)
        streamed = "event-stream" in exchange.headers.get("content-type", "").lower()
        wait = self._settings.early_head
        if not streamed:
            body = yield from _read_all(exchange, wait)
            if body.lstrip().startswith(EVENT_BEGINNINGS):
                collector = StreamCollector(call.dialect)
                collector.feed(body)
                return self._deliver(call, restage(collector.close(), call.stages, call.reply), headers, record)
            if call.direct and not call.stream:
                out = call.dialect.repair_response(body, call.reply, call.capabilities)
                record.usage = call.dialect.find_usage(body)
                return Opened(None, call.upstream, None, out, headers | JSON_HEADERS)
            response = call.dialect.parse_response(body)
        elif not call.stream:
            response = yield from _collect(exchange, StreamCollector(call.dialect), wait)
        else:
            return (yield from self._begin_stream(call, exchange, headers))
        return self._deliver(call, restage(response, call.stages, call.reply), headers, record)

    def _deliver(self, call: Attempt, response: Response, headers: dict[str, str], record: Record) -> Opened:
        """A whole answer in the client's dialect, as a stream if that is what it asked for."""
        client = call.inbound.dialect
        record.usage = response.usage
        if call.stream:
            out = stream_whole(response, client, call.reply)
            return Opened(None, call.upstream, None, out, headers | STREAM_HEADERS)
        out = client.render_response(response, call.reply)
        return Opened(None, call.upstream, None, out, headers | JSON_HEADERS)

    def _begin_stream(self, call: Attempt, exchange: Exchange, headers: dict[str, str]) -> Obtaining[Opened]:
        """Reads until the first events that a client can be given: before them a failure is still an HTTP status."""
        stream = call.open_stream()
        first = b""
        while not first:
            part = exchange.read_part(self._settings.early_head)
            if part is None:
                yield
            elif part:
                first = stream.feed(part)
            else:
                first = stream.close()
                break
        return Opened(exchange, call.upstream, stream, first, headers | STREAM_HEADERS)

    def _reply_headers(self, call: Attempt, upstreams: Mapping[str, str]) -> dict[str, str]:
        headers = relayed_headers(upstreams, same_dialect=call.same_dialect)
        dropped = dropped_header(call.losses)
        if dropped:
            headers["x-dragoman-dropped"] = dropped
        headers["x-dragoman-upstream"] = call.upstream.label
        return headers


def _read_all(exchange: Exchange, wait: float) -> Obtaining[bytes]:
    parts = []
    while (part := exchange.read_part(wait)) != b"":
        if part is None:
            yield
        else:
            parts.append(part)
    return b"".join(parts)


def _collect(exchange: Exchange, collector: StreamCollector, wait: float) -> Obtaining[Response]:
    while (part := exchange.read_part(wait)) != b"":
        if part is None:
            yield
        else:
            collector.feed(part)
    return collector.close()


def _sleep(seconds: float, longest: float) -> Obtaining[None]:
    """Waits, and yields if the wait is long enough for a client to wonder."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, longest))
        if left > longest:
            yield


def _own_fault(fault: Exception, record: Record) -> Failure:
    """A fault of ours in the middle of an answer: the log gets all of it, the client an id to look for there."""
    log.error("request %s failed", record.id, exc_info=fault)
    error = DragomanError(f"internal error of the gateway; its log tells more about request {record.id}")
    record.fail(error)
    return error.failure


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


def _first(headers: Mapping[str, str], *names: str) -> str | None:
    return next((headers[name] for name in names if name in headers), None)
