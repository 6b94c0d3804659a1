"""The delivery of one reply: read from its upstream, given to the client as it comes.

Reading is done by generators that yield whenever the upstream has been silent for a while, so that a client who waits
can be kept waiting.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping

import msgspec

from app.conversation.losses import dropped_header
from app.conversation.response import Response
from app.dialects.contract import StreamPassthrough
from app.errors import DragomanError, UpstreamCut, UpstreamMalformed, in_units
from app.gateway.attempt import Attempt
from app.gateway.record import Record
from app.gateway.reply_headers import relayed_headers
from app.gateway.translation import StreamCollector, restage, stream_whole
from app.routing.router import Upstream
from app.transport import Exchange, Obtaining

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
MOST_SPACE = 256  # bytes before that


class StartedResponse(msgspec.Struct):
    """An upstream that has begun to answer well. `first` is what of its answer is ready for the client: all of it
    when there is no `stream`."""

    exchange: Exchange | None
    upstream: Upstream
    stream: StreamPassthrough | None
    first: bytes
    headers: dict[str, str]


def begin_delivery(attempt: Attempt, exchange: Exchange, record: Record, wait: float) -> Obtaining[StartedResponse]:
    """Reads until there is something for the client: all of a unary answer, the first events of a stream. A silence is
    `wait` seconds long. Raises DragomanError, which can still become an HTTP status or another attempt."""
    limit = attempt.limits.reply_mb << 20
    streamed = "event-stream" in exchange.headers.get("content-type", "").lower()
    if streamed and attempt.stream:
        return (yield from _begin_stream(attempt, exchange, wait))
    if streamed:
        response = yield from _collect(exchange, StreamCollector(attempt.make_parser(), attempt.context), limit, wait)
    else:
        body = yield from exchange.gather_body(limit, wait)
        if body[:MOST_SPACE].lstrip().startswith(EVENT_BEGINNINGS):
            collector = StreamCollector(attempt.make_parser(), attempt.context)
            collector.feed(body)
            response = collector.close()
        elif attempt.direct and not attempt.stream:
            out = attempt.repair(body)
            record.usage = attempt.dialect.find_usage(body)
            return StartedResponse(
                None, attempt.upstream, None, out, _reply_headers(attempt, exchange.headers) | JSON_HEADERS
            )
        else:
            response = attempt.dialect.parse_response(body)
    return deliver(attempt, restage(response, attempt.stages, attempt.context), record, exchange.headers)


def deliver(attempt: Attempt, response: Response, record: Record, headers: Mapping[str, str] = {}) -> StartedResponse:
    """A whole answer in the client's dialect, as a stream if it asked for one. `headers` are the upstream's."""
    client = attempt.client_request.dialect
    record.usage = response.usage
    told = _reply_headers(attempt, headers)
    if attempt.stream:
        return StartedResponse(
            None, attempt.upstream, None, stream_whole(response, client, attempt.context), told | STREAM_HEADERS
        )
    return StartedResponse(
        None, attempt.upstream, None, client.render_response(response, attempt.context), told | JSON_HEADERS
    )


def go_on(
    started: StartedResponse, record: Record, interval: float, clock: Callable[[], float], limit: int
) -> Iterator[bytes]:
    """The parts of an opened stream; one for each read of the upstream's socket, and a ping whenever the client has
    heard nothing for `interval` seconds. Failures are its last part, and so is a stream of more than `limit` bytes."""
    stream, exchange = started.stream, started.exchange
    if stream is None or exchange is None:
        yield started.first
        return
    try:
        if started.first:
            yield started.first
        heard = clock()
        left = limit
        while True:
            part = exchange.read_part(GRACE if stream.finished else interval)
            if part:
                left -= len(part)
                if left < 0:
                    raise UpstreamMalformed(f"the upstream's stream is larger than {in_units(limit)}")
                out = stream.feed(part)
                if out:
                    yield out
                    heard = clock()
                elif clock() - heard >= interval:
                    yield stream.ping()
                    heard = clock()
            elif part is None and not stream.finished:
                yield stream.ping()
                heard = clock()
            else:
                break
        out = stream.close()
        if out:
            yield out
        if not stream.finished:
            record.terminal = "upstream_cut"
            started.upstream.provider.health.fail(UpstreamCut("its reply ended before it was complete", began=True))
    except DragomanError as error:
        record.fail(error, "upstream_cut" if isinstance(error, UpstreamCut) else "error")
        started.upstream.provider.health.fail(error)
        yield stream.fail(error.failure)
    except Exception as fault:
        yield stream.fail(record.fault(fault).failure)
    except BaseException:
        record.terminal = "client_closed"
        raise
    finally:
        exchange.close()
        record.usage = stream.usage or record.usage


def _begin_stream(attempt: Attempt, exchange: Exchange, wait: float) -> Obtaining[StartedResponse]:
    """Reads until the first events that a client can be given."""
    stream = attempt.open_stream()
    first = b""
    while not first:
        part = exchange.read_part(wait)
        if part is None:
            yield
        elif part:
            first = stream.feed(part.removeprefix(BOM_UTF8))
        else:
            first = stream.close()
            break
    return StartedResponse(
        exchange, attempt.upstream, stream, first, _reply_headers(attempt, exchange.headers) | STREAM_HEADERS
    )


def _collect(exchange: Exchange, collector: StreamCollector, limit: int, wait: float) -> Obtaining[Response]:
    left = limit
    while (part := exchange.read_part(wait)) != b"":
        if part is None:
            yield
            continue
        left -= len(part)
        if left < 0:
            raise UpstreamMalformed(f"the upstream's stream is larger than {in_units(limit)}")
        collector.feed(part)
    return collector.close()


def _reply_headers(attempt: Attempt, upstreams: Mapping[str, str]) -> dict[str, str]:
    headers = relayed_headers(upstreams, same_dialect=attempt.same_dialect)
    dropped = dropped_header(attempt.losses)
    if dropped:
        headers["x-dragoman-dropped"] = dropped
    headers["x-dragoman-upstream"] = attempt.upstream.label
    return headers
