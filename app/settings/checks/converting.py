"""Converts tables to structs, and says what is wrong in words for users."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Struct

from app.errors import ConfigError

T = TypeVar("T", bound=Struct)

# Users' words for the types that msgspec names in backquotes.
_TYPE_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}


class Faults:
    """Collects all faults, in the order in which they are found."""

    def __init__(self) -> None:
        self.found: list[ConfigError] = []

    @contextlib.contextmanager
    def collect(self) -> Iterator[None]:
        try:
            yield
        except ConfigError as error:
            self.found += error.faults

    def tell(self) -> None:
        if self.found:
            raise ConfigError.join(self.found)


def convert(table: Any, kind: type[T], key: str) -> T:
    """Converts a table to its struct. Text is accepted for numbers and truth values, since variables hold only text."""
    table = as_table(table, key)
    faults = Faults()
    for name in table:
        with faults.collect():
            refuse_unknown(name, kind.__struct_fields__, key)
    known = {name: value for name, value in table.items() if name in kind.__struct_fields__}
    try:
        converted = msgspec.convert(known, kind, strict=False)
    except msgspec.ValidationError as error:
        faults.found += _find_mismatches(known, kind, key) or [ConfigError(describe_mismatch(str(error)), key=key)]
    faults.tell()
    return converted


def _find_mismatches(table: dict[str, Any], kind: type[Struct], key: str) -> list[ConfigError]:
    """A fault for each field whose value does not have the field's type."""
    hints = get_type_hints(kind, include_extras=True)
    found = []
    for field, value in table.items():
        try:
            msgspec.convert(value, hints[field], strict=False)
        except msgspec.ValidationError as error:
            choices = _choices(kind, field)
            message = f"{value!r} is not one of {', '.join(choices)}" if choices else describe_mismatch(str(error))
            found.append(ConfigError(message, key=f"{key}.{field}"))
    return found


_TYPE_NAME = re.compile("`([^`]*)`")  # as msgspec writes one


def describe_mismatch(message: str) -> str:
    """Rewords msgspec's message about a value's type for users."""

    def name(found: re.Match[str]) -> str:
        return " or ".join(_TYPE_WORDS.get(word, word) for word in found[1].split(" | ") if word != "null")

    wording = _TYPE_NAME.sub(name, message.partition(" - at `$")[0])
    return wording[:1].lower() + wording[1:]


def _choices(kind: type[Struct], field: str) -> tuple[str, ...]:
    """The values that a field accepts, if they are a fixed list; else empty."""
    hint = get_type_hints(kind).get(field)
    values = [value for part in (hint, *get_args(hint)) for value in get_args(part)]
    return tuple(value for value in values if isinstance(value, str))


def as_table(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError("this must be a table, not a single value", key=key)
    return value


def refuse_unknown(name: str, known: Sequence[str], key: str, elsewhere: Mapping[str, Sequence[str]] = {}) -> None:
    """Raises ConfigError for an unknown name. `elsewhere` maps other tables to their names, for the hint."""
    if name not in known:
        homes = [f"[{home}]" for home, names in elsewhere.items() if name in names]
        hint = f"; it belongs in {' or '.join(homes)}" if homes else suggest(name, known)
        raise ConfigError(f"there is no such setting{hint}", key=f"{key}.{name}" if key else name)


def suggest(name: str, known: Iterable[str]) -> str:
    """The hint that ends a message about an unknown name: the most similar known one, or empty."""
    import difflib  # needed only for wrong names

    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
