"""Decides what happens after a failure: retry, try the next upstream, or give up."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping

import msgspec

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
from app.gateway.failures.retry_after import read_moment

# The gateway itself waits as long as an upstream asks, up to this many seconds. Longer waits are left to the client.
LONGEST_WAIT = 5.0
# Seconds that clients wait by themselves: Claude Code and Anthropic's SDKs obey a `retry-after` up to this.
LONGEST_CLIENT_WAIT = 60.0
# A rate limit that ends later than this is told as lasting: an agent that slept until then would seem to hang.
LONGEST_SLEEP = 600.0
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

# Statuses by which servers say that a request is too long.
OVERFLOW_STATUSES = frozenset({400, 413, 422, 500})


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
    wait = _wait(failure)
    if failure.kind == "rate_limit":
        return wait is not None and wait > LONGEST_SLEEP
    if failure.kind == "quota":
        return wait is None or wait > LONGEST_CLIENT_WAIT
    return failure.kind in LASTING


def with_end(failure: Failure) -> Failure:
    """A lasting failure with the moment at which it ends, if that is known."""
    wait = _wait(failure)
    if wait is None or failure.kind not in ("rate_limit", "quota"):
        return failure
    return msgspec.structs.replace(failure, until=math.ceil(time.time() + wait))


def _wait(failure: Failure) -> float | None:
    return None if failure.retry_after is None else _seconds({"retry-after": failure.retry_after})


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
