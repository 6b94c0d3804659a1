"""Describes replies that cannot be parsed, quoting their beginning."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from app.dialects.error_bodies import quote
from app.errors import MALFORMED, UpstreamMalformed
from app.json_values import any_decoder

_STEP = re.compile(r"\.(\w+)")
_MAX_ODD_FIELDS = 8

# Fields whose loss harms nobody: counts, names and numbers beside the answer.
HARMLESS = frozenset(
    {"index", "usage", "x_groq", "service_tier", "system_fingerprint", "created", "created_at", "model", "id", "type",
     "output_index", "content_index", "summary_index", "logprobs", "item_id", "sequence_number", "status", "role",
     "incomplete_details", "tool_usage", "metadata", "stop_sequence", "stop_details", "object"}
)  # fmt: skip


def malformed(wanted: str, came: bytes) -> UpstreamMalformed:
    """The error for a reply of the wrong form. `wanted` names what was expected, with its article."""
    return UpstreamMalformed(f"the upstream sent something other than {wanted}: {quote(came)}", code=MALFORMED)


def no_answer(came: bytes) -> UpstreamMalformed:
    """The error for a reply of the right form that contains nothing."""
    message = f": {quote(came)}" if came else ""
    return UpstreamMalformed(f"the upstream's reply contained no answer{message}", code=MALFORMED)


def without_odd_field(payload: bytes, complaint: msgspec.ValidationError) -> bytes | None:
    """JSON without the field whose type a decoder complained about, removed from every element of lists on its path.

    None if an answer would lose something with it: then the reply is malformed.
    """
    steps = _STEP.findall(str(complaint).partition(" - at `$")[2])
    if not steps or not (steps[-1] in HARMLESS or HARMLESS.intersection(steps[:1])):
        return None
    value = any_decoder.decode(payload)
    places = [value]
    for step in steps[:-1]:
        places = [inner for place in places for inner in _list_of(place.get(step)) if isinstance(inner, dict)]
    for place in places:
        place.pop(steps[-1], None)
    return msgspec.json.encode(value)


def decode_tolerantly(decode: Any, payload: bytes) -> Any:
    """`decode(payload)`, ignoring harmless fields of a wrong type. Raises msgspec.MsgspecError."""
    for _ in range(_MAX_ODD_FIELDS):
        try:
            return decode(payload)
        except msgspec.ValidationError as complaint:
            reduced = without_odd_field(payload, complaint)
            if reduced is None:
                raise
            payload = reduced
    return decode(payload)


def _list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
