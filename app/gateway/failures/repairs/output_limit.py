"""Finds how long an answer may be."""

from __future__ import annotations

import re

from app.errors import Failure
from app.gateway.failures.repairs.change import Change, Repair
from app.gateway.failures.repairs.refusal import Refusal

# Minimum tokens left for an answer for which a request is worth another try.
LEAST_ROOM = 1024
# Maximum digits of a number of tokens.
_MAX_DIGITS = 18
# How servers say how long an answer may be; the number is beside it, often together with the requested one.
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
LEAST_LIMIT = 16
_SPEAKS_OF_LIMIT = re.compile(
    r"max_?tokens|max_completion_tokens|max_output_tokens|(?:completion|output|response) tokens"
    r"|maximum tokens you requested"
)
_IS_LIMIT = re.compile(
    r"at most|maximum|can only afford|less than|no more|<=|≤|>|range|exceed|limit|up to|too (?:large|high|big)|between"
    r"|范围"
)
_COUNT = re.compile(
    r"(?<![\w.,-])\d{1,3}(?:,\d{3}){1,3}(?![\w-])|(?<![\w.,-])\d{2,9}(?![\w-])|(?<=\[[01],)\d{2,9}(?=\])"
)


def repair_of_limit(refusal: Refusal, *, learned: bool = True) -> Repair | None:
    """The maximum tokens of an answer that a refusal names, if the request asks for more."""
    text = refusal.text
    if not _SPEAKS_OF_LIMIT.search(text) or not _IS_LIMIT.search(text):
        return None
    limits = [refusal.field(name) for name in LIMITS]
    asked = max([int(raw) for raw in limits if raw.isdigit() and len(raw) <= _MAX_DIGITS], default=0)
    named = [int(number[0].replace(",", "")) for number in _COUNT.finditer(text)]
    limit = max([number for number in named if LEAST_LIMIT <= number < asked], default=None)
    return None if limit is None else _lower_to(limit, learned=learned)


def repair_of_overflow(failure: Failure) -> Repair | None:
    """The output limit with which a request fits its model's context, if more is left than a short answer needs. With
    less, the client must compact its history."""
    match failure.tokens:
        case (int(input), int(output), int(limit)) if max(LEAST_ROOM, limit // 16) <= limit - input < output:
            return _lower_to(limit - input, learned=False)
        case _:
            return None


def _lower_to(limit: int, *, learned: bool) -> Repair:
    return Repair("max_output", Change({"max_output": limit}), learned)
