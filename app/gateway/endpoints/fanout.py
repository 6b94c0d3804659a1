"""Makes several answers to one request with several upstream requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gevent.pool import Pool

from app.conversation.response import add_usages
from app.errors import DragomanError
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record

# Maximum concurrent upstream requests for one client request.
AT_ONCE = 4


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
