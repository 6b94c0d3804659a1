"""Decides what happens after a failure: try again, change the request, go to the next upstream, or say so."""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

import msgspec

from app.conversation.capabilities import Capabilities
from app.errors import LASTING, MALFORMED, DragomanError, Failure, UpstreamCut, UpstreamRefused, UpstreamUnreachable
from app.gateway.own_words import own_words
from app.providers.provider import Operation

# A wait that an upstream asks for is kept if it is at most this long; seconds. A longer one is the client's to keep.
LONGEST_WAIT = 5.0
FIRST_BACKOFF = 0.25

# The same request may succeed at once or soon, the last row at networks before a server. A rate limit only if its
# upstream says when.
AGAIN_STATUSES = frozenset(
    {408, 409, 500, 502, 503, 504, 529,
     520, 521, 522, 523, 524, 530}
)  # fmt: skip

# Another upstream may do what this one could not; a request that is wrong is wrong everywhere.
ELSEWHERE_KINDS = frozenset(
    {"rate_limit", "quota", "overloaded", "timeout", "internal", "unreachable", "upstream_auth", "authentication",
     "billing", "permission", "not_found", "conflict"}
)  # fmt: skip

# How servers say that they, or this model of theirs, only know newer operations.
ABSENT_STATUSES = (404, 405)


# Characters of a complaint that are looked at: servers name the field early, and quote what they were sent after it.
LONGEST_COMPLAINT = 1000


class Repair(msgspec.Struct, frozen=True):
    """A refusal that names what the upstream cannot take. `learned`: it will not take it next time either.

    Each of `patterns` must be found, in any order; none has an open run, so that a hostile text costs no more than its
    length.
    """

    name: str
    patterns: tuple[re.Pattern[str], ...]
    change: Callable[[Capabilities], Capabilities]
    learned: bool

    def answers(self, complaint: str) -> bool:
        return all(pattern.search(complaint) for pattern in self.patterns)


def _without(**changes: object) -> Callable[[Capabilities], Capabilities]:
    return lambda capabilities: msgspec.structs.replace(capabilities, **changes)


def _swap_limit(capabilities: Capabilities) -> Capabilities:
    other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
    return msgspec.structs.replace(capabilities, max_tokens_field=other[capabilities.max_tokens_field])


def _refuse(field: str) -> Callable[[Capabilities], Capabilities]:
    return lambda capabilities: msgspec.structs.replace(
        capabilities, refused_fields=tuple(dict.fromkeys((*capabilities.refused_fields, field)))
    )


# Fields that change no answer, and the words of servers that refuse a field for not knowing it.
HINTS = (
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "safety_identifier",
    "parallel_tool_calls",
    "store",
)
_UNKNOWN = re.compile(
    r"unknown|unrecognized|unsupported|unexpected|extra (?:inputs|fields)|not (?:permitted|supported|allowed)", re.I
)


def _found(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern) for pattern in patterns)


REPAIRS = (
    Repair("usage", _found(r"stream_options"), _without(stream_usage=False), True),
    Repair(
        "limit",
        _found(r"max_(?:completion_)?tokens'? is not supported|[Uu]nsupported[^']{0,40}'max_tokens'"),
        _swap_limit,
        True,
    ),
    Repair("proofs", _found(r"[Ii]nvalid `?signature`? in `?thinking`? block"), _without(proofs=()), False),
    Repair("proofs", _found(r"invalid_encrypted_content"), _without(proofs=()), False),
    Repair("proofs", _found(r"[Ee]ncrypted content", r"not match|not be"), _without(proofs=()), False),
    Repair("proofs", _found(r"not decrypt", r"encrypted"), _without(proofs=()), False),
    Repair("sampling", _found(r"[Uu]nsupported", r"\btemperature\b"), _without(temperature=False, top_p=False), True),
    *(Repair(hint, (_UNKNOWN, re.compile(rf"(?i)\b{hint}\b")), _refuse(hint), True) for hint in HINTS),
)


def forgo(operation: Operation) -> Repair:
    """The repair for an operation that the upstream does not know, or not with this model."""

    def change(capabilities: Capabilities) -> Capabilities:
        return msgspec.structs.replace(capabilities, absent=(*capabilities.absent, operation))

    return Repair(operation, (), change, True)


def find_repair(failure: Failure, capabilities: Capabilities, operation: Operation = "generate") -> Repair | None:
    """The repair that a refused request calls for, unless it is already in force."""
    if operation == "completions" and failure.status in ABSENT_STATUSES:
        return forgo(operation)
    if failure.kind != "invalid_request":
        return None
    complaint = _complaint(failure, failure.message)
    for repair in REPAIRS:
        if repair.answers(complaint) and repair.change(capabilities) != capabilities:
            return repair
    return None


def teaches(failure: Failure, repair: Repair, sent: bytes) -> bool:
    """Whether a refusal shows that `repair` will be needed by other requests too.

    It does not where the words that call for it may be the client's own, quoted: a tool may be named "Unsupported
    temperature". `sent` is the body that was refused.
    """
    if not repair.patterns:
        return repair.learned
    return repair.learned and repair.answers(_complaint(failure, own_words(failure.message, sent)))


def _complaint(failure: Failure, message: str) -> str:
    named = f"{failure.code or ''} {failure.param or ''}"
    return f"{named[:LONGEST_COMPLAINT]} {message[:LONGEST_COMPLAINT]}"


def wait_before_retry(error: DragomanError, attempt: int) -> float | None:
    """Seconds to wait before the same request is sent again; None when it should not be.

    `attempt` counts from 1. Nothing of the answer to this request may have reached the client yet.
    """
    failure = error.failure
    if isinstance(error, UpstreamRefused):
        if error.headers.get("x-should-retry") == "false":
            return None
        asked = _seconds(error.headers)
        if failure.kind in ("context_overflow", "upstream_auth") or failure.code == MALFORMED:
            return None
        if failure.status == 429:
            return asked if asked is not None and failure.kind != "quota" and asked <= LONGEST_WAIT else None
        if failure.status not in AGAIN_STATUSES:
            return None
        if asked is not None:
            return asked if asked <= LONGEST_WAIT else None
    elif not isinstance(error, UpstreamUnreachable) and not (isinstance(error, UpstreamCut) and not error.began):
        return None
    backoff: float = FIRST_BACKOFF * 2 ** (attempt - 1)
    return backoff * (1 + random.random() / 4)


def goes_elsewhere(error: DragomanError) -> bool:
    """Whether the next upstream of a route should be tried after this failure."""
    return error.failure.kind in ELSEWHERE_KINDS


def more_telling(earlier: DragomanError | None, error: DragomanError) -> DragomanError:
    """Which failure of a route the client should see: the last one, but a passing trouble before a lasting one, so that
    a fallback which was never set up right does not hide when to come back."""
    if earlier is None or error.failure.kind not in LASTING or earlier.failure.kind in LASTING:
        return error
    return earlier


def cool_down(error: DragomanError) -> float | None:
    """Seconds for which the upstream has said that it will refuse everything; None without such evidence."""
    if not isinstance(error, UpstreamRefused) or error.failure.kind not in ("rate_limit", "quota"):
        return None
    asked = _seconds(error.headers)
    return asked if asked is not None and asked > LONGEST_WAIT else None


def _seconds(headers: Mapping[str, str]) -> float | None:
    """What the upstream asks to wait."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            asked = float(text) * unit
        except ValueError:
            asked = _until(text)
        if math.isfinite(asked):
            return max(0.0, asked)
    return None


def _until(date: str) -> float:
    """Seconds from now to an HTTP date; not a number for any other text."""
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return math.nan
