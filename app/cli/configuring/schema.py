"""Generates the configuration file's JSON schema from the settings tables."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from app.settings import RouteSettings, Settings
from app.settings.known_servers import KNOWN_SERVERS

ADDRESS = "https://json-schema.org/draft/2020-12/schema"
# Fields that the program sets itself.
NOT_WRITTEN = ("source", "found", "key_variable")
# A number or a switch may be given as an environment variable, and is then written as text.
FROM_VARIABLE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"}
_SCALARS = ("integer", "number", "boolean")


def make_schema() -> dict[str, Any]:
    types = [field.type for field in msgspec.structs.fields(Settings) if field.name not in NOT_WRITTEN]
    names = [field.name for field in msgspec.structs.fields(Settings) if field.name not in NOT_WRITTEN]
    schemas, definitions = msgspec.json.schema_components([*types, RouteSettings])
    definitions = {name: _close(name, schema) for name, schema in definitions.items()}
    definitions["RouteSettings"] = _describe_route(definitions["RouteSettings"])
    provider = definitions["ProviderSettings"]
    # The table's own name is the default for its kind.
    provider["required"] = [name for name in provider.get("required", []) if name != "kind"]
    provider["properties"]["kind"] = {"type": "string", "examples": ["oca", "anthropic", "openai", *KNOWN_SERVERS]}
    sections = dict(zip(names, map(_allow_variables, schemas), strict=False))
    return {
        "$schema": ADDRESS,
        "title": "Dragoman's configuration file",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: sections[name] for name in names},
        "$defs": dict(sorted(definitions.items())),
    }


def _close(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A table's schema that, like the program, rejects unknown keys."""
    closed: dict[str, Any] = _allow_variables(schema)
    if "description" in closed:  # a docstring, whose indentation only newer Python versions strip
        closed["description"] = inspect.cleandoc(closed["description"])
    return closed | {"additionalProperties": False} if "properties" in closed else closed


def _describe_route(table: dict[str, Any]) -> dict[str, Any]:
    """The schema of a route as written: with other keys than in memory, or as a target alone."""
    several = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    rest = {name: schema for name, schema in table["properties"].items() if name != "targets"}
    written = table | {"properties": {"target": several, "fallback": several, **rest}, "required": ["target"]}
    return {"anyOf": [*several["anyOf"], written]}


def _allow_variables(schema: Any) -> Any:
    match schema:
        case {"type": str(kind), **_rest} if kind in _SCALARS:
            return {"anyOf": [schema, FROM_VARIABLE]}
        case {"default": default, **rest}:
            return _allow_variables(rest) | {"default": default}
        case dict():
            return {
                key: value if key in ("enum", "required") else _allow_variables(value) for key, value in schema.items()
            }
        case list():
            return [_allow_variables(each) for each in schema]
    return schema
