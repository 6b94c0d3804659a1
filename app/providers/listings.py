"""Parses providers' model lists.

Servers differ in which fields they omit, write as text or set to null; one odd entry must not hide all the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from app.errors import UpstreamMalformed

T = TypeVar("T", bound=msgspec.Struct)

# Dates above this are in milliseconds; in seconds it is the year 5138.
_MOST_SECONDS = 100_000_000_000


class _List(msgspec.Struct):
    data: list[Any] | None = None
    models: list[Any] | None = None


def read_entries(body: bytes, shape: type[T]) -> list[T]:
    """The entries of a list under `data` or `models`, or of a bare list, that have the fields `shape` requires; any
    other field with an odd value counts as absent. Raises UpstreamMalformed if there is no list."""
    try:
        found = msgspec.json.decode(body, type=_List | list[Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamMalformed("the upstream's list of models cannot be read") from error
    entries = found if isinstance(found, list) else found.data or found.models or []
    read = (_read_entry(entry, shape) for entry in entries if isinstance(entry, dict))
    return [entry for entry in read if entry is not None]


def in_seconds(date: float | None) -> int:
    """A date as whole seconds since 1970; 0 if there is none."""
    if date is None or not 0 < date < _MOST_SECONDS * 1000:
        return 0
    return int(date / 1000 if date >= _MOST_SECONDS else date)


def stated(*limits: int | None) -> int | None:
    """The first limit that states something; servers write 0 or -1 for none."""
    return next((limit for limit in limits if limit is not None and limit > 0), None)


def _read_entry(entry: Mapping[str, Any], shape: type[T]) -> T | None:
    try:
        return msgspec.convert(entry, shape, strict=False)
    except msgspec.ValidationError:
        values = {}
        for field in msgspec.structs.fields(shape):
            if field.encode_name in entry:
                value = _read_field(entry[field.encode_name], field.type)
                if value is not None:
                    values[field.name] = value
            if field.required and field.name not in values:
                return None
        return shape(**values)


def _read_field(value: Any, kind: Any) -> Any:
    if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _read_entry(value, kind)
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError:
        return None
