"""Decides what happens after a failure: retry, change the request, try the next upstream, or give up."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping

import msgspec

from app.conversation.capabilities import Capabilities
from app.dialects.overflow import is_near, may_overflow
from app.errors import (
    EMPTY_ANSWER,
    LASTING,
    MALFORMED,
    DragomanError,
    Failure,
    UpstreamCut,
    UpstreamRefused,
    UpstreamUnreachable,
)
from app.gateway.failures.change import Change, Repair
from app.gateway.failures.complaints import LONGEST_COMPLAINT, find_affordable
from app.gateway.failures.complaints import find_repair as find_named
from app.gateway.failures.own_words import own_words
from app.gateway.failures.retry_after import read_moment
from app.providers.provider import Operation

# The gateway itself waits as long as an upstream asks, up to this many seconds. Longer waits are left to the client.
LONGEST_WAIT = 5.0
# Seconds that clients wait by themselves: Claude Code and Anthropic's SDKs obey a `retry-after` up to this.
LONGEST_CLIENT_WAIT = 60.0
# Maximum seconds of the first backoff; each is random, so that requests that failed together are not retried together.
FIRST_BACKOFF = 0.5
# A wait that the upstream asks for is lengthened by up to this share, and never shortened.
SPREAD = 0.5

# Statuses after which the same request may succeed at once or soon; those in the last row come from networks in front
# of a server. The same holds for a rate limit that is short or names no time.
AGAIN_STATUSES = frozenset(
    {408, 409, 500, 502, 503, 504, 529,
     520, 521, 522, 523, 524, 530}
)  # fmt: skip

# Codes for what the model wrote rather than what it was asked, of whatever status: it may write something else (Groq).
AGAIN_CODES = frozenset({"tool_use_failed", "json_validate_failed"})

# The same for failures that come without a status: as a stream's first event, or inside a whole reply.
AGAIN_KINDS = frozenset({"rate_limit", "overloaded", "internal", "timeout"})

# Failures after which another upstream may succeed. An invalid request is invalid everywhere.
ELSEWHERE_KINDS = frozenset(
    {"rate_limit", "quota", "overloaded", "timeout", "internal", "unreachable", "upstream_auth", "authentication",
     "billing", "permission", "not_found", "conflict"}
)  # fmt: skip

# Minimum tokens left for an answer for which a request is worth another try.
LEAST_ROOM = 1024

# Statuses by which servers say that they, or this model, only support newer operations.
ABSENT_STATUSES = (404, 405, 501)


# Kinds and statuses of refusals of a request that might pass with a change.
REPAIRABLE_KINDS = frozenset({"invalid_request", "unsupported", "internal"})
REFUSAL_STATUSES = frozenset({400, 415, 422, 501})
# Gateways pass on their upstream's refusal as their own error, even as a rate limit; then only unambiguous words count.
WRAPPING_STATUSES = frozenset({429, 500, 502, 503})
_SURELY = re.compile(
    r"extra inputs are not permitted|extra_forbidden|unexpected keyword argument|invalid_request_error"
    r"|invalid `?signature"
    r"|system messages? must be|roles must alternate|expected an array with maximum length"
    r"|required for long context requests"
    r"|un(?:supported|known|recogni[sz]ed|expected) (?:request )?(?:parameter|argument|field|value)"
)
# How servers say "not found" about something in the request: OpenRouter of a feature, others of an item of the input.
_LACKS = re.compile(r"no endpoints found that support|\bitem (?:with id )?'?(?:rs|msg|fc)_\w{1,100}'? not found")
# Statuses by which servers say that a request is too long.
OVERFLOW_STATUSES = frozenset({400, 413, 422, 500})


def without_operation(operation: Operation) -> Repair:
    """The repair for an operation that the upstream does not support, or not with this model."""
    return Repair(operation, Change(absent=(operation,)))


def is_unaffordable(failure: Failure) -> bool:
    """Whether the account can pay for requests, but not for one of this size."""
    return failure.status == 402 and "fewer max_tokens" in failure.message[:LONGEST_COMPLAINT]


def find_repair(
    failure: Failure, capabilities: Capabilities, sent: bytes, operation: Operation = "generate"
) -> Repair | None:
    """The repair for a refused request, or None if there is none or it is already in force. `sent` is the refused
    body."""
    if operation == "completions" and failure.status in ABSENT_STATUSES:
        return without_operation(operation)
    lacking = failure.status == 404 and _LACKS.search(failure.message[:LONGEST_COMPLAINT].lower()) is not None
    if failure.kind == "context_overflow":
        return _find_room(failure)
    if is_unaffordable(failure):
        return find_affordable(failure.message, capabilities, sent)
    untold = not failure.status and failure.origin == "upstream"  # an error inside a reply that began with 200
    if failure.status in WRAPPING_STATUSES or (untold and failure.kind == "internal"):
        if not _SURELY.search(failure.message[:LONGEST_COMPLAINT].lower()):
            return None
    elif not lacking and (failure.kind not in REPAIRABLE_KINDS or not (failure.status in REFUSAL_STATUSES or untold)):
        return None
    return find_named(failure, failure.message, capabilities, sent)


def _find_room(failure: Failure) -> Repair | None:
    """The output limit with which a request fits its model's context, if more is left than a short answer needs. With
    less, the client must compact its history."""
    match failure.tokens:
        case (int(input), int(output), int(limit)) if max(LEAST_ROOM, limit // 16) <= limit - input < output:
            return Repair("max_output", Change({"max_output": limit - input}), learned=False)
        case _:
            return None


def is_general(failure: Failure, repair: Repair, capabilities: Capabilities, sent: bytes) -> bool:
    """Whether a refusal shows that other requests will need `repair` too.

    It does not if the words that call for it may be quoted from the client: a tool may be named "Unsupported
    temperature". `capabilities` are those before the repair.
    """
    if not repair.learned or failure.status in ABSENT_STATUSES:
        return repair.learned
    own = find_named(failure, own_words(failure.message, sent), capabilities, sent)
    return own is not None and own.name == repair.name


def recognise_overflow(error: DragomanError, window: int | None, estimate: Callable[[], int]) -> DragomanError:
    """Turns the error into a context overflow if it mentions too much input in words that are in no table, and the
    request is near the model's context window. `window` is that window and `estimate` counts the request, both in
    tokens."""
    failure = error.failure
    if not isinstance(error, UpstreamRefused) or failure.kind not in ("invalid_request", "too_large", "internal"):
        return error
    if failure.status not in OVERFLOW_STATUSES or failure.param in ("tools", "tool_choice", "metadata", "user"):
        return error
    if not may_overflow(failure.message):
        return error
    try:
        tokens = estimate()
    except DragomanError:
        return error
    if not is_near(failure.message, tokens, window):
        return error
    overflow = msgspec.structs.replace(failure, kind="context_overflow", status=400, tokens=(None, None, window))
    refused = UpstreamRefused(overflow, error.headers)
    refused.events = error.events
    return refused


def wait_before_retry(error: DragomanError, attempt: int) -> float | None:
    """Seconds to wait before the same request is sent again; None if it should not be.

    `attempt` counts from 1. No part of the answer to this request may have reached the client yet.
    """
    failure = error.failure
    if isinstance(error, UpstreamRefused):
        if error.headers.get("x-should-retry") == "false":
            return None
        asked = _seconds(error.headers)
        if failure.kind in ("context_overflow", "upstream_auth") or failure.code in (MALFORMED, EMPTY_ANSWER):
            return None
        if failure.kind in ("quota", "billing"):
            return None
        again = failure.status in AGAIN_STATUSES if failure.status else failure.kind in AGAIN_KINDS
        if not again and failure.kind != "rate_limit" and failure.code not in AGAIN_CODES:
            return None
        if asked is not None:
            return asked * (1 + random.random() * SPREAD) if asked <= LONGEST_WAIT else None
    elif not isinstance(error, UpstreamUnreachable) and not (isinstance(error, UpstreamCut) and not error.began):
        return None
    backoff: float = FIRST_BACKOFF * 2 ** (attempt - 1)
    return backoff * random.random()


def is_lasting(failure: Failure) -> bool:
    """Whether trying again within a minute, as vendors' SDKs do on their own, would be in vain."""
    if failure.kind == "quota":
        wait = None if failure.retry_after is None else _seconds({"retry-after": failure.retry_after})
        return wait is None or wait > LONGEST_CLIENT_WAIT
    return failure.kind in LASTING


def is_paced(error: DragomanError) -> bool:
    """Whether the upstream refused because of a rate limit and said when to retry."""
    return (
        isinstance(error, UpstreamRefused)
        and error.failure.kind == "rate_limit"
        and _seconds(error.headers) is not None
    )


def tries_next(error: DragomanError) -> bool:
    """Whether the next upstream of a route should be tried after this failure."""
    return error.failure.kind in ELSEWHERE_KINDS


def more_informative(earlier: DragomanError | None, error: DragomanError) -> DragomanError:
    """Which of a route's failures the client should see: the later one, except that a temporary failure is preferred to
    a lasting one, so that a badly configured fallback does not hide when to retry."""
    if earlier is None or error.failure.kind not in LASTING or earlier.failure.kind in LASTING:
        return error
    return earlier


def cool_down(error: DragomanError) -> float | None:
    """Seconds for which the upstream said it will refuse everything; None if it did not."""
    if not isinstance(error, UpstreamRefused) or error.failure.kind not in ("rate_limit", "quota"):
        return None
    asked = _seconds(error.headers)
    return asked if asked is not None and asked > LONGEST_WAIT else None


def _seconds(headers: Mapping[str, str]) -> float | None:
    """The seconds that the upstream asks to wait, or None."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (asked := read_moment(headers.get(name, ""), time.time())) is not None:
            return asked * unit
    return None
