"""Reads JSON texts of others: the value in one, if it is readable, and whether one holds too many values.

A decoder creates an object for each value, and no other request runs meanwhile: ten thousand bytes that unpack to
millions of `1,` would block all others for seconds. So values are counted without parsing them. Pure.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, TypeVar

import msgspec

T = TypeVar("T")

# The exceptions that decoding raises for invalid JSON and for a wrong type.
UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)

# The values of an object, still raw.
Fields = dict[str, msgspec.Raw]

any_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
text_decoder = msgspec.json.Decoder(str)
object_decoder = msgspec.json.Decoder(dict[str, Any])
fields_decoder = msgspec.json.Decoder(Fields)
list_decoder = msgspec.json.Decoder(list[msgspec.Raw])

# The number of a part of a reply. Numbers without a limit may be chosen so that they all fall into one place of a
# dictionary, which then compares each with all others.
MAX_INDEX = 2**31
Index = Annotated[int, msgspec.Meta(ge=-MAX_INDEX, le=MAX_INDEX)]

# More values than a model's whole context holds, and still decoded in a moment.
MAX_VALUES = 500_000
# Texts up to this size are not counted: whatever they hold is decoded fast enough.
SMALL = 2 * 1024 * 1024
# Bytes that are counted in one uninterrupted step.
_STEP = 256 * 1024
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def decode_object(text: str | bytes) -> dict[str, Any]:
    """The object in a text; empty for anything else."""
    try:
        return as_object(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def as_object(value: Any) -> dict[str, Any]:
    """The value if it is an object; else an empty one."""
    return value if isinstance(value, dict) else {}


def decode_or_none(text: bytes | msgspec.Raw | str, decoder: msgspec.json.Decoder[T]) -> T | None:
    """The value in a text, which nobody judges here: None if it is unreadable or has another shape."""
    try:
        return decoder.decode(text)
    except UNREADABLE:
        return None


def has_too_many_values(text: bytes) -> bool:
    """Whether a text holds more than MAX_VALUES values, judged by the commas outside its strings."""
    if len(text) <= SMALL or _has_few_commas(text):
        return False
    found = end = 0
    for string in _STRING.finditer(text):
        found += text.count(b",", end, string.start())
        if found > MAX_VALUES:
            return True
        end = string.end()
    return found + text.count(b",", end) > MAX_VALUES


def _has_few_commas(text: bytes) -> bool:
    """Whether too few are left, even if all that is not counted yet were values of one byte and their commas."""
    counted = start = 0
    while counted + (len(text) - start + 1) // 2 > MAX_VALUES and start < len(text):
        counted += text.count(b",", start, start + _STEP)
        start += _STEP
    return counted <= MAX_VALUES
