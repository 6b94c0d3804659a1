"""Gives each tool of a request a flat, legal and unique name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

# A tool as the client knows it: the namespace it was declared in, if any, and its name there.
Key = tuple[str | None, str]

# Stands for the namespace of the vendors' own tools; no client's is called like this.
VENDORS = "\0"

_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]")
_BAD_START = re.compile(r"[^a-zA-Z_]")  # which Gemini and Moonshot refuse
# What a past call without a name is taken to have called.
NAMELESS = "unnamed_tool"
_HASH = 8  # hexadecimal digits that keep shortened names apart


def name_tools(
    keys: Iterable[Key], limit: int, *, keep_namespaces: bool = False, fixed: Iterable[str] = ()
) -> dict[Key, str]:
    """The name of each tool towards the upstream, of at most `limit` characters.

    Legal names stay, but for those that the vendor has `fixed` for tools of its own. Of two tools that come to the same
    name the earlier one keeps it, so that a tool which joins later in a conversation renames none that the model has
    used. With `keep_namespaces` names need to be unique within their namespace only.
    """
    names: dict[Key, str] = {}
    taken: set[Key] = {(None, name) for name in fixed}
    for key in keys:
        if key in names:
            continue
        namespace, name = key
        namespace = None if namespace == VENDORS else namespace
        scope = namespace if keep_namespaces else None
        wire = spell_name(name if keep_namespaces or not namespace else join_name(namespace, name), limit)
        marked, number = wire, 0
        while (scope, marked) in taken:
            marked = _mark(wire, f"{key!r}{number or ''}", limit)
            number += 1
        wire = marked
        taken.add((scope, wire))
        names[key] = wire
    return names


def join_name(namespace: str, name: str) -> str:
    return namespace + name if namespace.endswith("__") else f"{namespace}__{name}"


def spell_name(name: str, limit: int) -> str:
    """The name itself where it is legal, else its legal beginning and a hash of the whole; a tool without a name, which
    only a history can hold, gets one."""
    name = name or NAMELESS
    clean = _ILLEGAL.sub("_", name)
    if _BAD_START.match(clean):
        clean = f"_{clean}"
    return name if clean == name and 0 < len(name) <= limit else _mark(clean, name, limit)


def _mark(name: str, whole: str, limit: int) -> str:
    digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
    return f"{name[: limit - _HASH - 1]}_{digest}"
