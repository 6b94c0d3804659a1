"""Finds and removes nested fields, and betas, that an upstream refuses.

What clients own is no place for fields of ours: schemas, arguments and metadata keep every key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

# Values that belong to the client, whatever stands in them.
_OWNED = frozenset({"parameters", "input_schema", "schema", "arguments", "metadata", "properties", "output"})
# The mark of a refused name that is meant below the top.
NESTED = "*."
# The mark of a refused beta, which stands in a header.
BETA = "beta:"


def nested_names(body: Any) -> set[str]:
    """The names of all fields below the top of a decoded request."""
    names: set[str] = set()
    pending = list(body.values()) if isinstance(body, dict) else []
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            names.update(value)
            pending.extend(_inside(value))
        elif isinstance(value, list):
            pending.extend(value)
    return names


def leave_out(body: bytes, refused: tuple[str, ...]) -> tuple[bytes, list[str]]:
    """The request without the refused fields, and the names of those that it had: renderers leave out those at its top,
    but there are bodies that pass."""
    names = {name.removeprefix(NESTED) for name in refused if name.startswith(NESTED)}
    top = set(refused) - names
    if not any(b'"%b"' % name.encode() in body for name in names | top):
        return body, []
    value = msgspec.json.decode(body)
    found: set[str] = top & value.keys() if isinstance(value, dict) else set()
    for name in found:
        del value[name]
    pending = list(value.values()) if isinstance(value, dict) else []
    while pending:
        inner = pending.pop()
        if isinstance(inner, dict):
            for name in names & inner.keys():
                del inner[name]
                found.add(name)
            pending.extend(_inside(inner))
        elif isinstance(inner, list):
            pending.extend(inner)
    return (msgspec.json.encode(value), sorted(found)) if found else (body, [])


def taken_betas(betas: Iterable[str], refused: Collection[str]) -> list[str]:
    """The betas without those that are refused."""
    return [beta for beta in betas if BETA + beta not in refused]


def _inside(fields: dict[str, Any]) -> list[Any]:
    """What may hold fields of ours: the `input` of a call is the client's, that of a request is not below the top."""
    call = fields.get("type") in ("tool_use", "server_tool_use", "custom_tool_call")
    return [value for name, value in fields.items() if name not in _OWNED and not (call and name == "input")]
