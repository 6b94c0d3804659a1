"""Reduces JSON schemas to the subset that an upstream supports.

Nothing here changes its argument. Whatever is removed is described in words, and the caller reports it under the field
that the schema came from. Only keywords are examined, never property names: a property may well be called "format" or
"$ref".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Literal

import msgspec

Schema = dict[str, Any]
SchemaStyle = Literal["any", "object", "anthropic", "openai", "gemini", "plain"]

# Keywords whose value is a schema, a list of schemas, or schemas by name.
_ONE = ("items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames")
_LIST = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")

_UNIONS = ("anyOf", "oneOf", "allOf")
_NOISE = ("$schema", "$id", "$comment")  # meaningless to a model, and some servers reject them
_NULLABLE = ("default", "const", "example")  # null is a legitimate value of these
_DEFINITIONS = ("$defs", "definitions")
_TYPE_NAMES = ("object", "array", "string", "integer", "number", "boolean", "null")
# What programming languages call these types.
_SYNONYMS = {"dict": "object", "list": "array", "tuple": "array", "str": "string", "int": "integer"}
_SYNONYMS |= {"float": "number", "double": "number", "bool": "boolean", "none": "null"}
_EXCLUSIVE = (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum"))
# A schema without a type but with one of these may describe a non-object.
_UNTYPED = (*_UNIONS, "$ref", "enum", "const")

_PLAIN_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")

# The property that holds the value where only objects are accepted.
WRAPPED = "value"

# Anthropic's structured outputs, as its own SDK transforms schemas; everything else moves into the description.
_ANTHROPIC = frozenset(
    ("type", "properties", "required", "items", "enum", "const", "anyOf", "allOf", "$ref", "$defs", "description")
) | {"title", "format", "minItems", "additionalProperties"}
_ANTHROPIC_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")

# Maximum characters that the references of one schema expand to, and those of all tools of a request; the minimum
# counted for each, and the maximum depth.
MAX_INLINED = 128 * 1024
MAX_INLINED_IN_ALL = 4 * 1024 * 1024
_LEAST_INLINED = 64
_MAX_CHAIN = 64
# Maximum characters of a reference quoted in a loss.
_MAX_QUOTED = 100

_GEMINI = frozenset(
    ("type", "title", "description", "nullable", "enum", "items", "minItems", "maxItems", "properties", "required")
) | {"minProperties", "maxProperties", "minLength", "maxLength", "pattern", "minimum", "maximum", "anyOf", "format"}
# What every vendor accepts. Moonshot checks it: github.com/MoonshotAI/walle, docs/mfjs-spec.md.
_PLAIN = frozenset(
    ("type", "description", "enum", "properties", "required", "items", "anyOf", "additionalProperties", "default")
)
_UNSAID = frozenset((*_NOISE, *_DEFINITIONS, "title", "nullable", "examples", "deprecated", "readOnly", "writeOnly"))
_GEMINI_FORMATS = ("date-time", "enum", "float", "double", "int32", "int64")


def is_plain_property(name: str) -> bool:
    """Whether Anthropic accepts this property name."""
    return _PLAIN_PROPERTY.fullmatch(name) is not None


def has_odd_properties(schema: Any) -> bool:
    """Whether the root of a schema has a property name that Anthropic rejects."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return isinstance(properties, dict) and not all(map(is_plain_property, properties))


def sanitize(schema: Schema | None, style: SchemaStyle, room: int = MAX_INLINED) -> tuple[Schema, tuple[str, ...]]:
    """The schema of a tool's arguments for an upstream of this style, and what it lost.

    The root is always an object. "object", "openai" and "anthropic" lose only noise and a union at the root, "gemini"
    everything beyond its OpenAPI subset, "plain" everything that some vendor rejects. `room` is for these two.
    """
    if schema is None:
        return {"type": "object", "properties": {}}, ()
    lost: list[str] = []
    if style == "any":
        return schema if schema else {"type": "object", "properties": {}}, ()
    match style:
        case "gemini":
            schema, beyond = to_gemini_subset(schema, room)
        case "plain":
            schema, beyond = to_plain_subset(to_current_draft(schema), room)
        case _:
            schema, beyond = without_noise(schema), ()
    lost.extend(beyond)
    return _root_object(schema, lost), tuple(lost)


def wrap_root(schema: Schema) -> Schema:
    """A schema whose root is an object: the schema itself if it is one, else the property `value` of a new one.

    Definitions stay at the root, where references to them start; other references are redirected to their new place.
    """
    kind = schema.get("type", None if any(word in schema for word in _UNTYPED) else "object")
    if kind == "object" and not any(union in schema for union in _UNIONS):
        return schema
    moved = _move_references(schema, f"#/properties/{WRAPPED}")
    inner = {word: value for word, value in moved.items() if word not in (*_DEFINITIONS, *_NOISE)}
    kept = {word: moved[word] for word in _DEFINITIONS if word in moved}
    return {
        "type": "object",
        "properties": {WRAPPED: inner},
        "required": [WRAPPED],
        "additionalProperties": False,
        **kept,
    }


def without_nulls(schema: Schema) -> Schema:
    """The schema without null keywords, which mean nothing and which vendors reject."""
    schema = _map_parts(schema, without_nulls)
    if not any(value is None for value in schema.values()):
        return schema
    return {word: value for word, value in schema.items() if value is not None or word in _NULLABLE}


def to_current_draft(schema: Schema) -> Schema:
    """The schema with the keywords of older drafts, and types in the words of programming languages, as the draft of
    2020-12 has them: vendors check schemas against it."""
    demanded = _demanded_in(schema.get("properties"))
    schema = _map_parts(_with_places(schema), to_current_draft)
    for exclusive, limit in _EXCLUSIVE:  # draft 4 says by a boolean whether the limit itself is excluded
        if isinstance(schema.get(exclusive), bool) and schema.pop(exclusive) and limit in schema:
            schema[exclusive] = schema.pop(limit)
    if isinstance(schema.get("properties"), list):  # PHP's empty object
        schema["properties"] = {}
    if "type" in schema:
        _mend_type(schema)
    if "required" in schema or demanded:
        _mend_required(schema, demanded)
    return schema


def without_noise(schema: Schema) -> Schema:
    """The schema without root keywords that mean nothing to a model."""
    if any(word in schema for word in _NOISE):
        return {word: value for word, value in schema.items() if word not in _NOISE}
    return schema


def to_anthropic_subset(schema: Schema) -> tuple[Schema, tuple[str, ...]]:
    """The schema within the subset of Anthropic's structured outputs and strict tools, and what it lost.

    Objects are closed, `oneOf` becomes `anyOf`, and keywords outside the subset move into the description.
    """
    lost: list[str] = []
    return _to_anthropic(schema, lost), tuple(dict.fromkeys(lost))


def to_gemini_subset(schema: Schema, room: int = MAX_INLINED) -> tuple[Schema, tuple[str, ...]]:
    """The schema within the OpenAPI subset that Gemini supports, and what it lost. Its references may expand to as many
    characters as there is `room`."""
    lost: list[str] = []
    return _to_gemini(_inline(schema, lost, room), lost), tuple(dict.fromkeys(lost))


def to_plain_subset(schema: Schema, room: int = MAX_INLINED, *, closed: bool = False) -> tuple[Schema, tuple[str, ...]]:
    """The schema in the few keywords that every vendor accepts, and what it lost; other keywords move into the
    description. `closed`: objects allow no unlisted properties."""
    lost: list[str] = []
    return _to_plain(_inline(schema, lost, room), lost, closed), tuple(dict.fromkeys(lost))


def is_openai_strict(schema: Schema) -> bool:
    """Whether OpenAI accepts the schema as strict: every object closed, and all its properties required."""

    def is_closed(part: Schema) -> bool:
        if part.get("type") != "object" and "properties" not in part:
            return True
        return part.get("additionalProperties") is False and set(_required(part)) == set(_members(part, "properties"))

    return schema.get("type") == "object" and all(is_closed(part) for part in _walk(schema))


def _with_places(schema: Schema) -> Schema:
    """The schema with `prefixItems` for a list of `items`, one for each place."""
    if not isinstance(schema.get("items"), list):
        return schema
    return {("prefixItems" if word == "items" else word): value for word, value in schema.items()}


def _mend_type(schema: Schema) -> None:
    kind = schema["type"]
    names = [_name_of(name) for name in kind] if isinstance(kind, list) else _name_of(kind)
    if names is None:
        del schema["type"]
    else:
        schema["type"] = [name for name in names if name is not None] if isinstance(names, list) else names


def _name_of(kind: Any) -> Any:
    """The name of a type in this draft; None for one that allows any value, and an unknown one as it is."""
    if not isinstance(kind, str) or kind in _TYPE_NAMES:
        return kind
    name = kind.lower()
    return None if name == "any" else _SYNONYMS.get(name, name if name in _TYPE_NAMES else kind)


def _mend_required(schema: Schema, demanded: list[str]) -> None:
    """Makes `required` a list of different names, with those of the properties that draft 3 marks themselves."""
    given = schema.get("required")
    listed = _required(schema) if isinstance(given, list) else [given] if isinstance(given, str) else []
    names = list(dict.fromkeys([*listed, *demanded]))
    if names or isinstance(given, list):
        schema["required"] = names
    else:
        del schema["required"]


def _demanded_in(properties: Any) -> list[str]:
    if not isinstance(properties, dict):
        return []
    return [name for name, part in properties.items() if isinstance(part, dict) and part.get("required") is True]


def _root_object(schema: Schema, lost: list[str]) -> Schema:
    """The schema with an object at its root, as every vendor requires for tool arguments."""
    if not any(union in schema for union in _UNIONS):
        kind = schema.get("type")
        if kind == "object" and isinstance(schema.get("properties"), dict):
            return schema
        if kind in (None, "object") or (isinstance(kind, list) and "object" in kind):
            return {**schema, "type": "object", "properties": _members(schema, "properties")}
        lost.append(f"arguments that are not an object are wrapped in the property `{WRAPPED}`")
        return {"type": "object", "properties": {WRAPPED: schema}, "required": [WRAPPED]}
    lost.append("the union at the root is merged into one object")
    return _merge_union(schema)


def _merge_union(schema: Schema) -> Schema:
    """One object with the properties of all members; a property is required if every alternative requires it."""
    merged = {word: value for word, value in schema.items() if word not in _UNIONS} | {"type": "object"}
    properties = dict(_members(schema, "properties"))
    required = _required(schema)
    for union in _UNIONS:
        listed = schema.get(union)
        members = [member for member in listed if isinstance(member, dict)] if isinstance(listed, list) else []
        for member in members:
            for name, part in _members(member, "properties").items():
                properties.setdefault(name, part)
        wanted = [_required(member) for member in members]
        if union == "allOf":
            required += [name for names in wanted for name in names]
        elif wanted:
            common = set(wanted[0]).intersection(*wanted[1:])
            required += [name for name in wanted[0] if name in common]
    merged["properties"] = properties
    if required:
        merged["required"] = list(dict.fromkeys(required))
    return merged


def _to_anthropic(schema: Schema, lost: list[str]) -> Schema:
    schema = _map_parts(schema, lambda part: _to_anthropic(part, lost))
    kept: Schema = {}
    notes: Schema = {}
    for word, value in schema.items():
        if word == "definitions":
            kept["$defs"] = value
        elif word == "oneOf":
            kept.setdefault("anyOf", value)
        elif word == "$ref" and isinstance(value, str):
            kept["$ref"] = value.replace("#/definitions/", "#/$defs/")
        elif (
            word in _ANTHROPIC
            and not (word == "format" and value not in _ANTHROPIC_FORMATS)
            and not (word == "minItems" and value not in (0, 1))
        ):
            kept[word] = value
        elif word not in _NOISE:
            notes[word] = value
    _describe(kept, notes, lost)
    if kept.get("type") == "object" or "properties" in kept:
        if kept.get("additionalProperties") not in (None, False):
            lost.append("`additionalProperties` is always false")
        kept["additionalProperties"] = False
    return kept


def _describe(kept: Schema, notes: Schema, lost: list[str]) -> None:
    """Adds keywords that the server does not accept to the description."""
    if notes:
        words = ", ".join(f"{word}: {json.dumps(value, ensure_ascii=False)}" for word, value in notes.items())
        kept["description"] = "\n".join(filter(None, (kept.get("description"), "{" + words + "}")))
        lost.extend(f"`{word}` is given only in the description" for word in notes)


def _to_plain(schema: Schema, lost: list[str], closed: bool) -> Schema:
    schema = _map_parts(_one_kind_of_items(schema), lambda part: _to_plain(part, lost, closed))
    if "allOf" in schema:
        rest = {word: value for word, value in schema.items() if word != "allOf"}
        schema = _merge_union(schema) if "properties" in rest else {**_intersect(schema["allOf"]), **rest}
    kept: Schema = {}
    notes: Schema = {}
    for word, value in schema.items():
        if word == "oneOf":
            kept.setdefault("anyOf", value)
        elif word == "const":
            kept["enum"] = [value]
        elif word in _PLAIN:
            kept[word] = value
        elif word not in _UNSAID:
            notes[word] = value
    _describe(kept, notes, lost)
    return _one_type(kept, closed)


def _one_kind_of_items(schema: Schema) -> Schema:
    """The schema with a single `items` schema instead of one per position: any of those."""
    places = schema["items"] if isinstance(schema.get("items"), list) else schema.get("prefixItems")
    if not isinstance(places, list):
        return schema
    kinds = [place for place in places if isinstance(place, dict)]
    rest = {word: value for word, value in schema.items() if word != "prefixItems"}
    return rest | {"items": kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {}}


def _one_type(schema: Schema, closed: bool) -> Schema:
    """The schema with a single type, or with a union of single types and no type beside it."""
    kinds = schema.get("type")
    if "enum" in schema:
        schema = _one_type_of_values(schema)
    elif isinstance(kinds, list):
        named = [{"type": kind} for kind in kinds if isinstance(kind, str)]
        within = {word: schema.pop(word) for word in ("items", "properties", "required") if word in schema}
        whole = [part | within if part["type"] in ("array", "object") else part for part in named]
        rest = {word: value for word, value in schema.items() if word != "type"}
        parts = [_one_type(part, closed) for part in whole]
        return rest | (parts[0] if len(parts) == 1 else {"anyOf": parts} if parts else {})
    if isinstance(schema.get("anyOf"), list):
        if "properties" in schema:
            schema = _merge_union(schema)
        elif (kind := schema.pop("type", None)) is not None:
            parts = [part for part in schema["anyOf"] if isinstance(part, dict)]
            schema["anyOf"] = [part if {"type", "anyOf"} & part.keys() else {"type": kind, **part} for part in parts]
    if schema.get("type") == "array" and not isinstance(schema.get("items"), dict):
        schema["items"] = {}
    if schema.get("type") == "object" or "properties" in schema:
        _list_properties(schema, closed)
    return schema


def _list_properties(schema: Schema, closed: bool) -> None:
    """Limits an object's `required` to its own properties and gives each property a schema. Changes `schema`."""
    properties = _members(schema, "properties")
    schema["properties"] = {name: part if isinstance(part, dict) else {} for name, part in properties.items()}
    if "required" in schema:
        schema["required"] = [name for name in _required(schema) if name in properties]
    if closed:
        schema["additionalProperties"] = False


def _one_type_of_values(schema: Schema) -> Schema:
    """The schema with enum values of one type, texts or numbers; null and booleans become types."""
    values = schema.pop("enum")
    values = values if isinstance(values, list) else []
    schema.pop("type", None)
    texts = [value for value in values if isinstance(value, str)]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    whole = all(isinstance(number, int) for number in numbers)
    parts: list[Schema] = [{"type": "string", "enum": texts}] if texts else []
    parts += [{"type": "integer" if whole else "number", "enum": numbers}] if numbers else []
    parts += [{"type": "boolean"}] if any(isinstance(value, bool) for value in values) else []
    parts += [{"type": "null"}] if None in values else []
    return schema | (parts[0] if len(parts) == 1 else {"anyOf": parts} if parts else {})


def _to_gemini(schema: Schema, lost: list[str]) -> Schema:
    schema = _map_parts(schema, lambda part: _to_gemini(part, lost))
    kept: Schema = {}
    for word, value in schema.items():
        if word == "type" and isinstance(value, list):
            kept |= _one_gemini_type(value)
        elif word == "const":
            kept["enum"] = [value]
        elif word == "oneOf":
            kept.setdefault("anyOf", value)
        elif word == "allOf":
            kept = {**_intersect(value), **kept}
        elif word in _GEMINI and not (word == "format" and value not in _GEMINI_FORMATS):
            kept[word] = value
        elif word not in (*_NOISE, *_DEFINITIONS, "additionalProperties"):
            lost.append(f"the upstream does not support `{word}`")
    return _fit_gemini(kept, lost)


def _one_gemini_type(names: list[Any]) -> Schema:
    types = [name for name in names if name != "null"]
    nullable: Schema = {"nullable": True} if "null" in names else {}
    if len(types) == 1:
        return nullable | {"type": types[0]}
    return nullable | ({"anyOf": [{"type": name} for name in types]} if types else {})


def _fit_gemini(kept: Schema, lost: list[str]) -> Schema:
    """Fixes what else Gemini rejects: arrays without items, enum values that are not texts, required properties that do
    not exist."""
    if kept.get("type") == "array":
        kept.setdefault("items", {"type": "string"})
    if "enum" in kept:
        texts = [value for value in kept.pop("enum") or () if isinstance(value, str) and value]
        if texts and kept.get("type", "string") == "string":
            kept |= {"type": "string", "enum": texts}
        else:
            lost.append("the upstream supports `enum` only for strings")
    if "required" in kept and "properties" in kept:
        kept["required"] = [name for name in _required(kept) if name in _members(kept, "properties")]
    return kept


def _intersect(parts: Any) -> Schema:
    """One schema that combines all parts."""
    schemas = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    if any("properties" in part for part in schemas):
        return _merge_union({"allOf": schemas})
    return {word: value for part in reversed(schemas) for word, value in part.items()}


def _inline(schema: Schema, lost: list[str], room: int) -> Schema:
    """The schema with each `$ref` replaced by its definition; a recursive one ends as an object of any shape.

    The expansion is limited: a few definitions that use each other twice could grow without end, and a thousand
    properties could all refer to one large definition.
    """
    named = {
        f"#/{word}/{name}": part
        for word in _DEFINITIONS
        for name, part in _members(schema, word).items()
        if isinstance(part, dict)
    }
    sizes: dict[str, int] = {}
    within: set[str] = set()
    left = room

    def fits(target: str) -> bool:
        nonlocal left
        if target in within or target not in named or len(within) >= _MAX_CHAIN:
            return False
        if target not in sizes:
            sizes[target] = _LEAST_INLINED + len(msgspec.json.encode(named[target]))
        left -= sizes[target]
        return left >= 0

    def resolve(part: Schema) -> Schema:
        target = part.get("$ref")
        if not isinstance(target, str):
            return _map_parts(part, resolve)
        beside = {word: value for word, value in part.items() if word != "$ref"}
        if not fits(target):
            lost.append(f"the reference {target[:_MAX_QUOTED]} cannot be resolved")
            return {"type": "object", **beside}
        within.add(target)
        whole = resolve({**named[target], **beside})
        within.discard(target)
        return whole

    return resolve({word: value for word, value in schema.items() if word not in _DEFINITIONS})


def _move_references(schema: Schema, place: str) -> Schema:
    """The schema with its references to itself, except those to definitions, redirected to `place`."""
    target = schema.get("$ref")
    if (
        isinstance(target, str)
        and target.startswith("#")
        and target.split("/")[1:2] not in (["$defs"], ["definitions"])
    ):
        schema = {**schema, "$ref": place + target[1:]}
    return _map_parts(schema, lambda part: _move_references(part, place))


def _members(schema: Schema, word: str) -> Schema:
    """The schemas by name under a keyword; empty if the client wrote something else there."""
    value = schema.get(word)
    return value if isinstance(value, dict) else {}


def _required(schema: Schema) -> list[str]:
    value = schema.get("required")
    return list(dict.fromkeys(name for name in value if isinstance(name, str))) if isinstance(value, list) else []


def _map_parts(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """A copy of the schema with `change` applied to each direct subschema."""
    copy = dict(schema)
    for word, value in schema.items():
        if word in _ONE and isinstance(value, dict):
            copy[word] = change(value)
        elif word in _LIST and isinstance(value, list):
            copy[word] = [change(part) if isinstance(part, dict) else part for part in value]
        elif word in _NAMED and isinstance(value, dict):
            copy[word] = {name: change(part) if isinstance(part, dict) else part for name, part in value.items()}
    return copy


def _walk(schema: Schema) -> list[Schema]:
    """The schema and all schemas within it."""
    found = [schema]

    def note(part: Schema) -> Schema:
        found.append(part)
        return part

    for each in found:  # `found` grows during the loop
        _map_parts(each, note)
    return found
