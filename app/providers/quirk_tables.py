"""Reads tables of what servers and models support, from our TOML files and the configuration.

Each row names what it applies to and gives fields of Capabilities; rows apply in order.
"""

from __future__ import annotations

import tomllib
import types
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from app.conversation.blocks import DialectName
from app.conversation.capabilities import Capabilities
from app.dialects.registry import known_names
from app.errors import ConfigError
from app.settings.checks.converting import describe_mismatch, suggest

# Stands for "no limit" in TOML, which has no null.
ANY = "any"


class Row(msgspec.Struct, frozen=True):
    """Fields of Capabilities for matching names; if no dialects or profiles are listed, all match.

    `source` says where the row is defined, for humans.
    """

    names: tuple[str, ...]
    fields: dict[str, Any]
    dialects: tuple[DialectName, ...] = ()
    profiles: tuple[str, ...] = ()
    source: str = ""

    def applies(self, name: str, dialect: DialectName, profile: str) -> bool:
        return (
            (not self.dialects or dialect in self.dialects)
            and (not self.profiles or profile in self.profiles)
            and any(fnmatchcase(name, glob) for glob in self.names)
        )


def read_table(name: str) -> dict[str, Any]:
    """A table that ships with the program."""
    return tomllib.loads(Path(__file__).with_name(name).read_text("utf-8"))


def read_user_rows(path: str | None) -> tuple[Row, ...]:
    """The rows of the user's own file, in the format of models.toml. Raises ConfigError."""
    if path is None:
        return ()
    key = "server.quirks_file"
    try:
        table = tomllib.loads(Path(path).read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", key=key) from error
    rows = table.get("rows", [])
    if table.keys() - {"rows"} or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path} may contain only tables [[rows]], as models.toml does", key=key)
    return read_rows(rows, path)


def read_rows(rows: list[dict[str, Any]], source: str) -> tuple[Row, ...]:
    """The rows of a table. Raises ConfigError for a field that does not exist or has a wrong type."""
    return tuple([_read_row(row, f"{source}[{number}]") for number, row in enumerate(rows)])


def read_fields(fields: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Fields of Capabilities, found below `key`. Raises ConfigError with the name of an invalid one."""
    values: dict[str, Any] = {}
    for name, value in fields.items():
        if name not in FIELD_TYPES:
            raise ConfigError(f"unknown quirk{suggest(name, FIELD_TYPES)}", key=f"{key}.{name}")
        if value == ANY and _may_be_none(FIELD_TYPES[name]):
            values[name] = None
            continue
        try:
            values[name] = msgspec.convert(value, FIELD_TYPES[name])
        except msgspec.ValidationError as error:
            raise ConfigError(describe_mismatch(str(error)), key=f"{key}.{name}") from error
    return values


def _read_row(row: Mapping[str, Any], key: str) -> Row:
    fields = dict(row)
    heads = {name: fields.pop(name) for name in ("names", "dialects", "profiles") if name in fields}
    try:
        head = msgspec.convert(heads, _Head)
    except msgspec.ValidationError as error:
        place = str(error).partition("`$.")[2].rstrip("`").partition("[")[0]
        raise ConfigError(describe_mismatch(str(error)), key=f"{key}.{place}") from error
    for dialect in head.dialects:
        if dialect not in known_names():
            raise ConfigError(f"unknown dialect{suggest(dialect, known_names())}", key=f"{key}.dialects")
    source = f"{key.partition('[')[0]}: {', '.join(head.names)}"
    return Row(head.names, read_fields(fields, key), head.dialects, head.profiles, source)


class _Head(msgspec.Struct):
    names: tuple[str, ...] = ("*",)
    dialects: tuple[DialectName, ...] = ()
    profiles: tuple[str, ...] = ()


def _may_be_none(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)


FIELD_TYPES = {
    name: kind for name, kind in get_type_hints(Capabilities).items() if name not in ("dialect", "model", "first_party")
}
