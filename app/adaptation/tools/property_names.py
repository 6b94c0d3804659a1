"""Renames tool properties that an upstream refuses, and the arguments of calls to match.

Tools generated from web APIs have properties like `$.xgafv` or `rule_name[]`; a single one makes the upstream refuse
the whole request. Only the properties of the root are checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from app.conversation.schemas import has_odd_properties, is_plain_property
from app.json_values import decode_or_none, fields_decoder

_MOST = 64
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_.-]")


def legalize(schema: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The schema with legal names, and a map from new to old names; the same schema if all are legal."""
    if not has_odd_properties(schema):
        return schema, {}
    properties: dict[str, Any] = schema["properties"]
    legal: dict[str, str] = {name: name for name in properties if is_plain_property(name)}
    meant: dict[str, str] = {}
    for name in properties:
        if name in legal:
            continue
        plain = _ILLEGAL.sub("_", name)[:_MOST] or "_"
        number = 2
        fit = plain
        while fit in legal or fit in meant:
            fit = f"{plain[: _MOST - 1 - len(str(number))]}_{number}"
            number += 1
        meant[fit] = name
    there = {original: fit for fit, original in meant.items()}
    changed = {**schema, "properties": {there.get(name, name): inner for name, inner in properties.items()}}
    if isinstance(required := schema.get("required"), list):
        changed["required"] = [there.get(name, name) if isinstance(name, str) else name for name in required]
    return changed, meant


def rename_properties(arguments: str, names: Mapping[str, str]) -> str:
    """Arguments with their properties renamed; the same text if none of the names occurs."""
    fields = decode_or_none(arguments, fields_decoder) or {}
    if names.keys().isdisjoint(fields):
        return arguments
    return msgspec.json.encode({names.get(name, name): value for name, value in fields.items()}).decode()
