"""Gives each tool of a request a flat, legal and unique name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

# A tool as the client knows it: the namespace it was declared in, if any, and its name there.
Key = tuple[str | None, str]

# The namespace used for vendors' own tools; no client's has this name.
VENDORS = "\0"

_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]")
_BAD_START = re.compile(r"[^a-zA-Z_]")  # Gemini and Moonshot refuse such names
# The name assumed for a past call without one.
NAMELESS = "unnamed_tool"
_HASH = 8  # hexadecimal digits that distinguish shortened names


def name_tools(
    keys: Iterable[Key], limit: int, *, keep_namespaces: bool = False, fixed: Iterable[str] = ()
) -> dict[Key, str]:
    """The upstream's name for each tool, of at most `limit` characters.

    Legal names are kept, except those that the vendor has `fixed` for its own tools. If two tools get the same name,
    the earlier one keeps it, so a tool added later in a conversation renames none that the model has used. With
    `keep_namespaces` names need to be unique only within their namespace.
    """
    names: dict[Key, str] = {}
    taken: set[Key] = {(None, name) for name in fixed}
    for key in keys:
        if key in names:
            continue
        namespace, name = key
        namespace = None if namespace == VENDORS else namespace
        scope = namespace if keep_namespaces else None
        wire = legal_name(name if keep_namespaces or not namespace else join_name(namespace, name), limit)
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


def legal_name(name: str, limit: int) -> str:
    """The name itself if it is legal, else its legal beginning and a hash of the whole; NAMELESS for an empty name,
    which only a history can contain."""
    name = name or NAMELESS
    clean = _ILLEGAL.sub("_", name)
    if _BAD_START.match(clean):
        clean = f"_{clean}"
    return name if clean == name and 0 < len(name) <= limit else _mark(clean, name, limit)


def _mark(name: str, whole: str, limit: int) -> str:
    digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
    return f"{name[: limit - _HASH - 1]}_{digest}"
