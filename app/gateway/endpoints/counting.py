"""Counts a request's input tokens."""

from __future__ import annotations

import math

import msgspec

from app.conversation.tokens.estimate import estimate_tokens
from app.errors import DragomanError
from app.gateway.choice import open_attempt
from app.gateway.failures.repairs.repair import ABSENT_STATUSES, without_operation
from app.gateway.gateway import Gateway
from app.gateway.messages import ClientRequest
from app.gateway.record import Record
from app.routing.upstream import Upstream

# Seconds after which a count is no longer worth waiting for.
COUNT_LIMIT = 10.0


class _Counted(msgspec.Struct):
    input_tokens: int | None = None


_counted = msgspec.json.Decoder(_Counted)


def count_tokens(gateway: Gateway, client_request: ClientRequest, record: Record) -> int:
    """The input tokens of a request: counted by the upstream if it offers that, otherwise estimated; never 0."""
    record.model = client_request.peek.model
    upstream = gateway.resolve(client_request)[0]
    client_request = gateway.with_history(client_request, upstream, record)
    record.operation = "count_tokens"
    record.go_to(upstream)
    record.upstream_dialect = upstream.capabilities.dialect
    return math.ceil(_count(gateway, client_request, upstream) * upstream.usage_scale)


def _count(gateway: Gateway, client_request: ClientRequest, upstream: Upstream) -> int:
    request = client_request.request
    offered = gateway.offers(upstream, client_request, "count_tokens")
    if upstream.provider.dialect == client_request.dialect.NAME and offered:
        counted = _ask_upstream(gateway, client_request, upstream)
        if counted:
            return counted
    rule = client_request.dialect.TRAITS.image_rule
    return estimate_tokens(request, upstream.capabilities.model or upstream.model, rule)


def _ask_upstream(gateway: Gateway, client_request: ClientRequest, upstream: Upstream) -> int | None:
    """The upstream's count; None if it cannot or will not count, since an estimate is better than an error."""
    capabilities = gateway.capabilities(upstream, client_request)
    try:
        attempt = open_attempt(client_request, upstream, capabilities, None, False)
        upstream_request = msgspec.structs.replace(attempt.upstream_request, operation="count_tokens")
        exchange = upstream.provider.send(upstream_request, upstream.provider.credential())
        try:
            if not exchange.wait_head(COUNT_LIMIT):
                return None
            if exchange.status in ABSENT_STATUSES:
                gateway.facts.report(
                    upstream.label, client_request.tenant, "count_tokens", without_operation("count_tokens").change
                )
            if exchange.status != 200:
                return None
            return _counted.decode(exchange.read_body()).input_tokens
        finally:
            exchange.close()
    except (DragomanError, msgspec.MsgspecError):
        return None
