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
_MAX_SECONDS = 100_000_000_000


# Where servers put the list, and what they call a model's name.
_PLACES = ("data", "models", "result", "items", "list")
_NAMES = ("model", "name", "model_name", "slug", "key")


def read_entries(body: bytes, shape: type[T]) -> list[T]:
    """The entries of a list under `data`, `models` or their like, or of a bare list, that have the fields `shape`
    requires; any other field with an odd value counts as absent. Entries may be mere names, or call their `id`
    otherwise. Raises UpstreamMalformed if there is no list."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamMalformed("the upstream's model list is not valid") from error
    listed = _find_list(found)
    if listed is None:
        raise UpstreamMalformed("the upstream's model list is not valid")
    if listed and all(isinstance(entry, str) for entry in listed):
        listed = [{"id": entry} for entry in listed]
    entries = [entry for entry in listed if isinstance(entry, dict)]
    if not any(isinstance(entry.get("id"), str) for entry in entries):
        entries = [_name(entry) for entry in entries]
    read = (_read_entry(entry, shape) for entry in entries)
    return [entry for entry in read if entry is not None]


def _find_list(found: Any) -> list[Any] | None:
    """The list in a body; empty where it has no place for one."""
    for _ in range(3):
        if isinstance(found, list):
            return found
        if not isinstance(found, dict):
            return None
        found = next((found[place] for place in _PLACES if found.get(place) is not None), [])
    return None


def _name(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry with its `id`, in a list that calls it otherwise."""
    name = next((entry[name] for name in _NAMES if isinstance(entry.get(name), str) and entry[name]), None)
    return entry if name is None else {**entry, "id": name}


def in_seconds(date: float | None) -> int:
    """A date as whole seconds since 1970; 0 if there is none."""
    if date is None or not 0 < date < _MAX_SECONDS * 1000:
        return 0
    return int(date / 1000 if date >= _MAX_SECONDS else date)


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
