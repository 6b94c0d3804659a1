"""Finds the repair with which a refused request may pass, if the refusal is about the request at all."""

from __future__ import annotations

import re

from app.conversation.capabilities import Capabilities
from app.errors import Failure
from app.gateway.failures.repairs.change import Change, Repair
from app.gateway.failures.repairs.complaints import repair_of_complaint
from app.gateway.failures.repairs.output_limit import repair_of_limit, repair_of_overflow
from app.gateway.failures.repairs.own_words import own_words
from app.gateway.failures.repairs.refusal import LONGEST_REFUSAL, Refusal
from app.providers.provider import Operation

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


def without_operation(operation: Operation) -> Repair:
    """The repair for an operation that the upstream does not support, or not with this model."""
    return Repair(operation, Change(absent=(operation,)))


def is_unaffordable(failure: Failure) -> bool:
    """Whether the account can pay for requests, but not for one of this size."""
    return failure.status == 402 and "fewer max_tokens" in failure.message[:LONGEST_REFUSAL]


def find_repair(
    failure: Failure, capabilities: Capabilities, sent: bytes, operation: Operation = "generate"
) -> Repair | None:
    """The repair for a refused request, or None if there is none or it is already in force. `sent` is the refused
    body."""
    if operation == "completions" and failure.status in ABSENT_STATUSES:
        return without_operation(operation)
    if failure.kind == "context_overflow":
        return repair_of_overflow(failure)
    refusal = Refusal(failure, failure.message, capabilities, sent)
    if is_unaffordable(failure):
        afforded = repair_of_limit(refusal, learned=False)
        return afforded if afforded is not None and afforded.is_needed(capabilities) else None
    return repair_of_complaint(refusal) if _is_about_request(failure, refusal.text) else None


def _is_about_request(failure: Failure, text: str) -> bool:
    """Whether a failure, which says `text`, is the refusal of a request that might pass with a change."""
    untold = not failure.status and failure.origin == "upstream"  # an error inside a reply that began with 200
    if failure.status in WRAPPING_STATUSES or (untold and failure.kind == "internal"):
        return _SURELY.search(text) is not None
    if failure.status == 404 and _LACKS.search(text) is not None:
        return True
    return failure.kind in REPAIRABLE_KINDS and (failure.status in REFUSAL_STATUSES or untold)


def is_general(failure: Failure, repair: Repair, capabilities: Capabilities, sent: bytes) -> bool:
    """Whether a refusal shows that other requests will need `repair` too.

    It does not if the words that call for it may be quoted from the client: a tool may be named "Unsupported
    temperature". `capabilities` are those before the repair.
    """
    if not repair.learned or failure.status in ABSENT_STATUSES:
        return repair.learned
    own = repair_of_complaint(Refusal(failure, own_words(failure.message, sent), capabilities, sent))
    return own is not None and own.name == repair.name
