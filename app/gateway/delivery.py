"""Delivers one reply: reads it from the upstream and passes it on as it arrives.

Generators do the reading and yield whenever the upstream has been silent for a while, so that the waiting client can
be sent a ping.
"""

from __future__ import annotations

import logging
import time
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping

import msgspec

from app.conversation.losses import lost_headers
from app.conversation.response import Response, Usage
from app.conversation.traits import DialectTraits
from app.dialects.json_bodies import repair_escapes
from app.errors import (
    MALFORMED,
    ClientError,
    DragomanError,
    Failure,
    UpstreamCut,
    UpstreamMalformed,
    UpstreamRefused,
    in_units,
)
from app.gateway.attempt import Attempt
from app.gateway.large_bodies.heavy_work import run_heavy
from app.gateway.messages import StartedResponse
from app.gateway.record import Record
from app.gateway.replies.pieces import pass_on
from app.gateway.replies.reply_headers import clean_events, mask_errors, name_upstream, relayed_headers
from app.gateway.replies.translation import StreamCollector, StreamTranslation
from app.json_values import MAX_VALUES, has_too_many_values
from app.json_values import SMALL as VALUES_UNSEEN
from app.known_secrets import known_secrets
from app.providers.provider import Provider
from app.sse import frame_json_lines
from app.transport import Exchange, Obtaining

log = logging.getLogger("dragoman")

STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}
JSON_HEADERS = {"content-type": "application/json"}
# Seconds to keep reading after the finish: an upstream may still report usage, or just leave its connection open.
GRACE = 2.0
# How an event stream begins, for servers that send one under another content type. Such a reply is read whole first.
EVENT_BEGINNINGS = (b"data:", b"event:", b": ")
# What reading raises for a reply that is malformed in a way nobody has foreseen.
UNREADABLE = (
    ClientError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError,
    msgspec.MsgspecError,
)  # fmt: skip
MAX_SPACE = 256  # maximum bytes at the start of a body in which its beginning is sought
# Maximum bytes of a stream's opening events, which may repeat the request.
MAX_OPENING = 4 << 20
# If a part follows within AT_ONCE seconds of the one before, others are right behind it: they gather for a moment that
# nobody notices, and share a read and a write. Not if reads already bring LARGE_READ bytes.
AT_ONCE, GATHERING = 0.0003, 0.001
LARGE_READ = 16 * 1024
# How a body begins that cannot be an event stream.
DOCUMENT_BEGINNINGS = (b"{", b"[", b"<")


def begin_delivery(attempt: Attempt, exchange: Exchange, wait: float | None) -> Obtaining[StartedResponse]:
    """Reads until there is something for the client: all of a unary answer, or the first events of a stream. Yields
    after each `wait` seconds of silence. Raises DragomanError, which can still become an HTTP status or another
    attempt."""
    try:
        return (yield from _begin(attempt, exchange, wait))
    except UNREADABLE as fault:
        raise read_fault(fault, attempt.record) from fault


def _begin(attempt: Attempt, exchange: Exchange, wait: float | None) -> Obtaining[StartedResponse]:
    limit = attempt.target.resources.limits.reply_mb << 20
    streamed = is_streamed(exchange.headers)
    early = b""
    if streamed:
        early = yield from _first_part(exchange, wait)
        # Some servers label anything an event stream: a whole answer, an error, a proxy's HTML page.
        streamed = not early[:MAX_SPACE].lstrip().startswith(DOCUMENT_BEGINNINGS)
    if streamed and attempt.target.stream:
        return (yield from _begin_stream(attempt, exchange, early, wait))
    if streamed:
        collector = StreamCollector(attempt.make_parser(), attempt.context)
        collector.feed(early)
        whole = attempt.finish_response((yield from _collect(exchange, collector, limit, wait)))
    else:
        body = None if early else exchange.take_body(limit)
        if body is None:
            body = early + (yield from exchange.gather_body(limit, wait))
        whole = _finish(attempt, body)
    return deliver(attempt, whole, exchange.headers)


def is_streamed(headers: Mapping[str, str]) -> bool:
    return "event-stream" in headers.get("content-type", "").lower()


def begins_like_event(body: bytes) -> bool:
    """Whether a body is an event stream, regardless of its content type."""
    return body[:MAX_SPACE].lstrip().startswith(EVENT_BEGINNINGS)


def _finish(attempt: Attempt, body: bytes) -> tuple[bytes, Usage | None]:
    """The client's answer, made from the upstream's whole body, with its usage."""
    if len(body) > VALUES_UNSEEN and run_heavy(len(body), has_too_many_values, body):
        raise UpstreamMalformed(f"the upstream's reply contains more than {MAX_VALUES:,} values")
    body.decode()  # raw parts are never decoded here, but clients decode everything
    if begins_like_event(body):
        return _finish_stream(attempt, body)
    try:
        return attempt.finish(body)
    except DragomanError as error:
        if error.failure.code != MALFORMED:
            raise
        if lines := frame_json_lines(body):
            return _finish_stream(attempt, lines)
        repaired = repair_escapes(body)
        if repaired is body:
            raise
    return attempt.finish(repaired)


def _finish_stream(attempt: Attempt, body: bytes) -> tuple[bytes, Usage | None]:
    collector = StreamCollector(attempt.make_parser(), attempt.context)
    collector.feed(body)
    return attempt.finish_response(collector.close())


def deliver(attempt: Attempt, whole: tuple[bytes, Usage | None], headers: Mapping[str, str] = {}) -> StartedResponse:
    """Makes the response of a whole answer and puts its usage into the record. `headers` are the upstream's."""
    body, usage = whole
    attempt.record.usage = usage
    body = mask_reply(body, usage)
    reply_headers = _reply_headers(attempt, headers)
    reply_headers.update(STREAM_HEADERS if attempt.target.stream else JSON_HEADERS)
    return StartedResponse(None, attempt.target.upstream, None, body, reply_headers)


def mask_reply(body: bytes, usage: Usage | None) -> bytes:
    """Masks secrets in a whole answer. If it has usage it is not an error, and only errors inside it are masked."""
    is_answer = usage is not None or body.find(b'"usage"') >= 0
    return mask_errors(body) if is_answer else known_secrets.mask_bytes(body)


def deliver_stream(
    started: StartedResponse, record: Record, interval: float, clock: Callable[[], float], limit: int
) -> Iterator[bytes]:
    """Yields the parts of an opened stream: one for each read of the upstream's socket, and a ping whenever the client
    has heard nothing for `interval` seconds. A failure becomes the last part; more than `limit` bytes are a failure."""
    stream, exchange, upstream, first = started.stream, started.exchange, started.upstream, started.first
    if stream is None or exchange is None:
        yield first
        return
    token_mark = started.token_mark  # sought until the first token
    if started.speaks:
        record.note_token()
        token_mark = None
    record.bytes_out += len(first)
    del started  # here and below, nothing is kept for as long as the stream lasts
    exchange.headers = {}  # type: ignore[misc]  # an attribute of each kind of exchange
    record.forget_head()
    try:
        if first:
            yield first
        heard = record.heard = clock()
        left, grace = limit, Grace(clock)
        while True:
            part: bytes | None
            first = part = run = rest = out = b""  # nothing is kept while the next part is awaited
            finished = stream.finished
            part = exchange.read_part(GRACE if finished else interval)
            if part == b"" or (finished and (part is None or grace.is_over())):
                break
            if part is None:
                yield stream.ping()
                heard = clock()
                continue
            left -= len(part)
            if left < 0:
                raise UpstreamMalformed(f"the upstream's stream is larger than {in_units(limit)}")
            is_burst = clock() - heard < AT_ONCE and len(part) < LARGE_READ
            run, rest = stream.run(part)
            for out in pass_on(stream, run, rest) if rest else (run,):
                if out:
                    if token_mark is not None and token_mark.search(out) is not None:
                        record.note_token()
                        token_mark = None
                    record.bytes_out += len(out)
                    yield out
                    heard = record.heard = clock()
                elif clock() - heard >= interval:
                    yield stream.ping()
                    heard = clock()
            if is_burst and not stream.finished:
                time.sleep(GATHERING)
        if out := clean_events(stream.close()):
            record.bytes_out += len(out)
            yield out
        if not stream.finished:
            record.terminal = "upstream_cut"
            upstream.provider.health.fail(UpstreamCut("its reply ended before it was complete", began=True))
    except Exception as fault:
        yield stream.fail(_judge_break(fault, record, upstream.provider))
    except BaseException:
        record.terminal = "client_closed"
        raise
    finally:
        exchange.close()
        record.usage = stream.usage or record.usage


def _judge_break(fault: Exception, record: Record, provider: Provider) -> Failure:
    """Why a stream breaks off, for its client; notes it in the record."""
    if isinstance(fault, DragomanError):
        record.fail(fault, "upstream_cut" if isinstance(fault, UpstreamCut) else "error")
        provider.health.fail(fault)
        return fault.failure
    if isinstance(fault, UNREADABLE):
        malformed = read_fault(fault, record)
        record.fail(malformed)
        # Marked as the gateway's own error: after the finish the stream ignores an upstream's and reads on to the end.
        return msgspec.structs.replace(malformed.failure, origin="gateway")
    return record.fault(fault).failure


def _first_part(exchange: Exchange, wait: float | None) -> Obtaining[bytes]:
    """The first bytes of a stream, without a byte order mark; empty if the stream is empty."""
    while (part := exchange.read_part(wait)) is None:
        yield
    return part.removeprefix(BOM_UTF8)


def _begin_stream(attempt: Attempt, exchange: Exchange, early: bytes, wait: float | None) -> Obtaining[StartedResponse]:
    """Reads until the answer says something; a long silence brings out the opening events. What gives no output, such
    as the comments of a server that is waiting itself, is silence too. Raises UpstreamRefused if it fails before."""
    stream = attempt.open_stream()
    traits = attempt.client_request.dialect.TRAITS
    said = b"".join(pass_on(stream, b"", early)) if early else b""
    opening, size, speaks = [said], len(said), _speaks(said, traits)  # joined once, however small the reads are
    heard = time.monotonic()
    while not speaks and size <= MAX_OPENING and _only_opens(said, traits):
        part = exchange.read_part(wait)
        said = b"".join(pass_on(stream, b"", part)) if part else b"" if part is None else clean_events(stream.close())
        if said:
            opening.append(said)
            size, speaks = size + len(said), _speaks(said, traits)
        if part == b"":
            break
        if part is None or (wait is not None and time.monotonic() - heard >= wait):
            if not size and isinstance(stream, StreamTranslation):
                opening.append(stream.open())
            if any(opening):
                break
            yield
            heard = time.monotonic()
    first = b"".join(opening)
    if stream.failed is not None and not speaks:
        refused = UpstreamRefused(stream.failed)
        # Clients try again by themselves after a 5xx, but read the event for anything else.
        lasts = attempt.client_request.dialect.error_status(stream.failed) < 500
        refused.events = first if traits.fails_by_events and lasts else None
        raise refused
    return StartedResponse(
        exchange, attempt.target.upstream, stream, first,
        _reply_headers(attempt, exchange.headers) | STREAM_HEADERS, traits.token_mark, speaks,
    )  # fmt: skip


def _speaks(events: bytes, traits: DialectTraits) -> bool:
    """Whether events contain the first token of the answer."""
    return traits.token_mark is not None and traits.token_mark.search(events) is not None


def _only_opens(events: bytes, traits: DialectTraits) -> bool:
    """Whether events say nothing of the answer, so that it can still be given up for another."""
    return not events or (traits.opening is not None and traits.opening.fullmatch(events) is not None)


class Grace:
    """Measures how long a stream goes on after its end was named: some servers send pings, and never the last event."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ended: float | None = None

    def is_over(self) -> bool:
        self._ended = self._ended or self._clock()
        return self._clock() - self._ended > GRACE


def _collect(exchange: Exchange, collector: StreamCollector, limit: int, wait: float | None) -> Obtaining[Response]:
    left = limit
    grace = Grace(time.monotonic)
    while True:
        try:
            part = exchange.read_part(GRACE if collector.ending else wait)
        except UpstreamCut:
            if not collector.ending:
                raise
            break
        if part == b"" or (collector.ending and (part is None or grace.is_over())):
            break
        if part is None:
            yield
            continue
        left -= len(part)
        if left < 0:
            raise UpstreamMalformed(f"the upstream's stream is larger than {in_units(limit)}")
        collector.feed(part)
    return collector.close()


def read_fault(fault: Exception, record: Record) -> UpstreamMalformed:
    """Turns an unexpected error while reading a reply into a failure of the upstream. Its traceback is logged at debug
    level only."""
    message = str(fault)[:200]
    log.warning("request %s: cannot read the reply: %s: %s", record.id, type(fault).__name__, message)
    log.debug("request %s: cannot read the reply", record.id, exc_info=fault)
    # The messages of these describe the data; those of all others describe our internals.
    about_data = isinstance(fault, ClientError | UnicodeError | msgspec.MsgspecError)
    return UpstreamMalformed(f"the upstream's reply cannot be read{f': {message}' if about_data else ''}")


def _reply_headers(attempt: Attempt, upstreams: Mapping[str, str]) -> dict[str, str]:
    headers = relayed_headers(upstreams, same_dialect=attempt.target.same_dialect)
    if attempt.losses:
        headers |= lost_headers(attempt.losses)
    headers["x-dragoman-upstream"] = name_upstream(attempt.target.upstream.label)
    return headers
