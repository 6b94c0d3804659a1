"""Finds and removes nested fields, and betas, that an upstream refuses.

Data that belongs to the client is left alone: schemas, arguments and metadata keep every key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

# Values that belong to the client, whatever they contain.
_OWNED = frozenset({"parameters", "input_schema", "schema", "arguments", "metadata", "properties", "output"})
# The prefix of a refused field below the top level.
NESTED = "*."
# The prefix of a refused beta, which is sent in a header, and what refuses all of them.
BETA = "beta:"
ANY_BETA = f"{BETA}*"
# The prefix of a refused type of content blocks, which have to be translated.
BLOCK = "block:"
# The prefix of a refused type of the vendor's own tools.
TOOL = "tool:"
# The prefix of a refused type of entries in any list, which are left out.
ENTRY = "entry:"


def nested_names(body: Any) -> set[str]:
    """The names of all fields below the top level of a decoded request."""
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
    """The request without the refused fields, and the names of those it had. A name such as `reasoning.summary` is that
    field in an object at the top level, and `messages[].id` that in each object of a list. Renderers omit refused
    fields at the top level already, but passing bodies may contain them."""
    names = {name.removeprefix(NESTED) for name in refused if name.startswith(NESTED)}
    entries = {name.removeprefix(ENTRY) for name in refused if name.startswith(ENTRY)}
    top = set(refused) - names
    if not any(b'"%b"' % name.rpartition(".")[2].encode() in body for name in names | top | entries):
        return body, []
    value = msgspec.json.decode(body)
    found: set[str] = set()
    for path in top if isinstance(value, dict) else ():
        owner, _, name = path.rpartition(".")
        held = value.get(owner.removesuffix("[]")) if owner else value
        for holder in held if owner.endswith("[]") and isinstance(held, list) else [held]:
            if isinstance(holder, dict) and name in holder:
                del holder[name]
                found.add(path)
    pending = list(value.values()) if isinstance(value, dict) else []
    while pending:
        inner = pending.pop()
        if isinstance(inner, dict):
            for name in names & inner.keys():
                del inner[name]
                found.add(name)
            pending.extend(_inside(inner))
        elif isinstance(inner, list):
            gone = {one["type"] for one in inner if isinstance(one, dict) and one.get("type") in entries}
            if gone:
                inner[:] = [one for one in inner if not (isinstance(one, dict) and one.get("type") in gone)]
                found |= gone
            pending.extend(inner)
    return (msgspec.json.encode(value), sorted(found)) if found else (body, [])


def taken_betas(betas: Iterable[str], refused: Collection[str]) -> list[str]:
    """The betas that are not refused."""
    return [] if ANY_BETA in refused else [beta for beta in betas if BETA + beta not in refused]


def _inside(fields: dict[str, Any]) -> list[Any]:
    """The values that may contain fields of ours: the `input` of a call belongs to the client."""
    call = fields.get("type") in ("tool_use", "server_tool_use", "custom_tool_call")
    return [value for name, value in fields.items() if name not in _OWNED and not (call and name == "input")]
