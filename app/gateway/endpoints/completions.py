"""Answers Chat Completions and legacy Completions, with one upstream request for each answer or prompt if an upstream
gives only one answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from gevent.pool import Pool

from app.conversation.capabilities import RenderContext
from app.conversation.response import add_usages
from app.dialects.json_bodies import is_set
from app.dialects.openai_chat.request_parser import ask_single
from app.dialects.openai_chat.response_renderer import join_responses
from app.dialects.openai_completions.request_parser import read_request, split_request
from app.dialects.openai_completions.response_renderer import join_responses as join_completions
from app.dialects.openai_completions.response_renderer import stream_response
from app.errors import DragomanError
from app.gateway.delivery import JSON_HEADERS, STREAM_HEADERS
from app.gateway.gateway import Gateway
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.peek import Peek, peek_body
from app.gateway.record import Record


class ChatPeek(Peek):
    """How many answers are wanted, in which form calls are rendered, and whether the conversation may be stored."""

    n: Any = None
    functions: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    store: Any = None

    @property
    def several(self) -> bool:
        return self.n not in (None, 1)

    @property
    def legacy(self) -> bool:
        return is_set(self.functions) and not is_set(self.tools)

    @property
    def stored(self) -> bool:
        return self.store is not False


PEEK_CHAT = peek_body(ChatPeek)

# Maximum answers that are requested one by one for a single request, and maximum concurrent upstream requests for it.
MAX_ANSWERS = 8
AT_ONCE = 4


def answer_chat(gateway: Gateway, client_request: ClientRequest, record: Record) -> ClientResponse:
    """Answers a Chat request. Raises DragomanError while it can still be an HTTP status."""
    peek = client_request.peek
    assert isinstance(peek, ChatPeek), "the Chat endpoint reads its requests with PEEK_CHAT"
    if peek.n is None or peek.stream or not _must_fan_out(gateway, client_request, peek.n):
        return gateway.answer(client_request, record)
    record.model, record.stream = peek.model, False
    single = client_request.with_body(ask_single(client_request.body))
    bodies = answer_each(gateway.answer, [single] * peek.n, record)
    return ClientResponse(200, dict(JSON_HEADERS), join_responses(bodies))


def _must_fan_out(gateway: Gateway, client_request: ClientRequest, n: object) -> bool:
    if not isinstance(n, int) or not 1 < n <= MAX_ANSWERS:
        return False
    upstreams = gateway.resolve(client_request)
    return not all(upstream.capabilities.n for upstream in upstreams)


def answer_each(
    answer: Callable[[ClientRequest, Record], ClientResponse], client_requests: Sequence[ClientRequest], record: Record
) -> list[bytes]:
    """The whole answers to requests that do not stream, in order; `record` gets their totals.

    Raises the first DragomanError, and then ends the requests that are still running.
    """
    pool = Pool(AT_ONCE)
    records = [Record(record.id, record.client) for _ in client_requests]

    def ask(number: int) -> ClientResponse | DragomanError:
        try:
            return answer(client_requests[number], records[number])
        except DragomanError as error:
            return error

    asking = [pool.spawn(ask, number) for number in range(len(client_requests))]
    bodies: list[bytes] = []
    try:
        for greenlet in asking:
            answered = greenlet.get()
            if isinstance(answered, DragomanError):
                raise answered
            assert isinstance(answered.body, bytes)
            bodies.append(answered.body)
    finally:
        pool.kill()
        _sum_up(records, record)
    return bodies


def _sum_up(records: Sequence[Record], total: Record) -> None:
    for record in records:
        if record.counted is not None:
            record.counted.settle(record.freeze())
    first = records[0]
    total.model, total.upstream, total.upstream_dialect = first.model, first.upstream, first.upstream_dialect
    total.dropped, total.lowered, total.matched = first.dropped, first.lowered, first.matched
    total.provider, total.upstream_model, total.billed = first.provider, first.upstream_model, first.billed
    total.routed, total.upstream_head, total.upstream_headers = (
        first.routed,
        first.upstream_head,
        first.upstream_headers,
    )
    total.attempts = sum(record.attempts for record in records)
    total.tried = tuple(attempt for record in records for attempt in record.freeze().attempts)
    total.usage = add_usages([record.usage for record in records if record.usage is not None])


def complete(gateway: Gateway, client_request: ClientRequest, record: Record) -> ClientResponse:
    """Answers a legacy Completions request. Raises DragomanError."""
    peek = client_request.peek
    client_request.operation = "completions"
    upstreams = gateway.resolve(client_request)
    if all(gateway.offers(upstream, client_request, "completions") for upstream in upstreams):
        return gateway.answer(client_request, record)
    singles = split_request(client_request.body)
    if len(singles) == 1:
        return gateway.answer(client_request, record)
    bodies = answer_each(gateway.answer, [client_request.with_body(single) for single in singles], record)
    record.stream = bool(peek.stream)
    joined = join_completions(bodies, RenderContext(model=peek.model, id=client_request.id, created=int(time.time())))
    if not peek.stream:
        return ClientResponse(200, dict(JSON_HEADERS), joined)
    options = read_request(client_request.body).stream_options
    streamed = stream_response(joined, include_usage=bool(options and options.include_usage))
    return ClientResponse(200, dict(STREAM_HEADERS), iter((streamed,)))
