"""Describes replies that cannot be parsed, quoting their beginning."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from app.dialects.error_bodies import quote
from app.errors import MALFORMED, UpstreamMalformed
from app.json_values import any_decoder

_scan = json.JSONDecoder(strict=False, parse_constant=lambda _: None).raw_decode
_UNSOUND = re.compile(r"NaN|Infinity|[\x00-\x1f]")
_STEP = re.compile(r"\.(\w+)")
# What stands around documents, or in place of one: a second prefix, a list, a comment, a heartbeat, a value that says
# nothing.
_AROUND = re.compile(
    r"(?:[\s,\]]|\[(?!DONE\])|data:|:[^\n]*|-?(?:ping|pong|heartbeat|keep-?alive|alive)\b"
    r'|(?:null|true|false|""|\d{1,20})(?=\s|$))*',
    re.IGNORECASE,
)
_END = "[DONE]"
_MAX_DOCUMENTS = 10_000
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


def split_documents(payload: bytes) -> list[bytes] | None:
    """The objects and end marks in a payload that is no single one: several events without their blank lines, an event
    in a list, in a text or behind a second `data:`, or one with what Python writes for numbers that JSON lacks. Empty
    for a heartbeat, None for anything else."""
    value: Any = None
    text, documents, place = payload.decode("utf-8", "replace").strip(), list[bytes](), 0
    try:
        if text.startswith('"{'):
            text = _scan(text)[0].strip()
        while place < len(text) and len(documents) < _MAX_DOCUMENTS:
            start = place = _skip(text, place)
            if text.startswith(_END, place):
                place += len(_END)
            elif text.startswith("{", place):
                value, place = _scan(text, place)
            elif place < len(text):
                return None
            if place > start:
                found = text[start:place]
                documents.append((json.dumps(value) if _UNSOUND.search(found) else found).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return None if place < len(text) or documents == [payload.strip()] else documents


def _skip(text: str, place: int) -> int:
    """The place of the next document."""
    found = _AROUND.match(text, place)
    return found.end() if found is not None else place


def _without_odd_field(payload: bytes, complaint: msgspec.ValidationError) -> bytes | None:
    """JSON without the field whose type a decoder complained about, removed from every element of lists on its path; of
    a list only the entries that say nothing.

    None if an answer would lose something with it: then the reply is malformed.
    """
    steps = _STEP.findall(str(complaint).partition(" - at `$")[2])
    if not steps:
        return None
    harmless = steps[-1] in HARMLESS or bool(HARMLESS.intersection(steps[:1]))
    value = any_decoder.decode(payload)
    places = [value]
    for step in steps[:-1]:
        places = [inner for place in places for inner in _list_of(place.get(step)) if isinstance(inner, dict)]
    for place in places:
        odd = place.pop(steps[-1], None)
        if harmless or not odd:
            continue
        if not isinstance(odd, list) or all(odd):
            return None
        place[steps[-1]] = [entry for entry in odd if entry]
    return msgspec.json.encode(value)


def decode_tolerantly(decode: Any, payload: bytes) -> Any:
    """`decode(payload)`, ignoring harmless fields of a wrong type. Raises msgspec.MsgspecError."""
    for _ in range(_MAX_ODD_FIELDS):
        try:
            return decode(payload)
        except msgspec.ValidationError as complaint:
            reduced = _without_odd_field(payload, complaint)
            if reduced is None:
                raise
            payload = reduced
    return decode(payload)


def _list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
