"""Receives the head of an upstream's reply, and reads the error if it is one."""

from __future__ import annotations

import logging
import time

import msgspec

from app.credentials.credential import Credential
from app.dialects.error_kinds import has_login_words
from app.errors import UpstreamMalformed, UpstreamRefused
from app.gateway.attempt import Target
from app.gateway.failures.policy import is_lasting
from app.gateway.failures.retry_after import find_retry_after
from app.gateway.record import Record
from app.gateway.replies.reply_headers import clean_error, relayed_headers
from app.known_secrets import known_secrets
from app.providers.provider import Provider
from app.providers.quotas import has_nothing_left
from app.transport import Exchange, WholeReply

log = logging.getLogger("dragoman")

# Maximum characters of foreign text quoted in one of our errors.
MAX_QUOTED = 300


def receive_head(target: Target, exchange: Exchange) -> None:
    """Records the head that has arrived. Raises the upstream's error if its status is not 2xx."""
    record, status = target.sends.record, exchange.status
    note_head(exchange, record, target.upstream.provider, target.credential)
    if not 200 <= status < 300:
        record.upstream_status = status
        log.debug("request %s: %s answers HTTP %d", record.id, target.upstream.label, status)
        raise _read_refusal(target, exchange)


def note_head(
    exchange: Exchange | WholeReply, record: Record, provider: Provider, credential: Credential | None
) -> None:
    """Stores the head of a reply in the record, and its quota headers with the provider's account."""
    headers = exchange.headers
    record.receive_head(exchange.status, headers)
    named = headers.get("x-request-id") or headers.get("request-id") or headers.get("opc-request-id")
    if named is not None and not known_secrets.is_plain(named):
        named = known_secrets.mask(named)
    record.upstream_request_id = named and named[:MAX_QUOTED]
    provider.note_quotas(credential, headers)


def _read_refusal(target: Target, exchange: Exchange) -> UpstreamRefused:
    """The error that the upstream answered with, stripped of credentials."""
    if not 400 <= exchange.status < 600:
        place = known_secrets.mask(exchange.headers.get("location", ""))[:MAX_QUOTED]
        onward = (
            f" and redirected to {place!r}; redirects are not followed, so set base_url to that address"
            if place
            else ""
        )
        raise UpstreamMalformed(f"the upstream answered HTTP {exchange.status}, which is not an answer{onward}")
    body = exchange.read_body(target.resources.limits.error_kb << 10, cut=True)
    failure = target.dialect.parse_error(exchange.status, exchange.headers, body)
    headers = relayed_headers(exchange.headers, same_dialect=target.same_dialect)
    if "retry-after" in exchange.headers and headers.get("retry-after") != failure.retry_after:
        failure = msgspec.structs.replace(failure, retry_after=headers.get("retry-after"))
    limited = failure.kind in ("rate_limit", "quota")
    if limited and "retry-after" not in headers:
        seconds = find_retry_after(exchange.headers, failure, time.time())
        if seconds is not None:
            headers["retry-after"] = str(seconds)
            failure = msgspec.structs.replace(failure, retry_after=str(seconds))
    refused = UpstreamRefused(failure, headers)
    refused.is_spent = limited and has_nothing_left(exchange.headers)
    # These two are rendered anew, in the words that clients act on.
    reworded = failure.kind == "context_overflow" or (failure.kind == "rate_limit" and is_lasting(failure))
    known = target.dialect.error_status(failure) == exchange.status and not reworded
    if target.same_dialect and known and clean_error(body, is_typed=target.dialect.TRAITS.types_errors):
        text = known_secrets.mask(body.decode("utf-8", "replace"))
        refused.body = None if has_login_words(text) else text.encode()
    return refused
