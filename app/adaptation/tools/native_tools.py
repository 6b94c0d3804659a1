"""Translates vendors' built-in tools: into a function, into another vendor's equivalent, or not at all.

Tools that the client runs (shells, editors, memory) have fixed schemas, which any model can use as a function's. Tools
that the vendor's server runs have none; a few exist at both vendors.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

from app.conversation.blocks import DialectName
from app.conversation.capabilities import Capabilities
from app.conversation.losses import Severity
from app.conversation.request import FunctionTool, NativeTool
from app.dialects.registry import traits_of

_STRING = {"type": "string"}
_INTEGER = {"type": "integer"}
_STRINGS = {"type": "array", "items": _STRING}
_LINES = {"type": "array", "items": _INTEGER, "description": "First and last line, counted from 1; -1 is the end."}


def _object(required: tuple[str, ...], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


# type (a glob) → the description for the model, and the schema. The schemas for Responses match the `action` or
# `operation` of its calls, so arguments need no conversion in the reply.
_CLIENT_RUN: dict[str, tuple[str, dict[str, Any]]] = {
    "local_shell": (
        "Runs a command on the user's machine and returns its output.",
        _object(
            ("command",),
            command={**_STRINGS, "description": "The program and its arguments."},
            working_directory=_STRING,
            timeout_ms=_INTEGER,
            env={"type": "object", "additionalProperties": _STRING},
        ),
    ),
    "shell": (
        "Runs shell commands one after another and returns the output of each.",
        _object(("commands",), commands=_STRINGS, timeout_ms=_INTEGER, max_output_length=_INTEGER),
    ),
    "apply_patch": (
        "Creates, changes or deletes one file. `diff` is in the V4A format, its lines led by '+', '-' or a space; a"
        " file to be deleted needs none.",
        _object(
            ("type", "path"),
            type=_one_of("create_file", "update_file", "delete_file"),
            path=_STRING,
            diff=_STRING,
        ),
    ),
    "tool_search": (
        "Searches for further tools. Those that are found can be called afterwards.",
        _object(("query",), query=_STRING, limit=_INTEGER),
    ),
    "bash_*": (
        "Runs a command in a shell that stays open between calls.",
        _object(
            (),
            command=_STRING,
            restart={"type": "boolean", "description": "Start the shell anew; then no command is needed."},
        ),
    ),
    "text_editor_*": (
        "Views, creates and edits text files. `view` takes path and view_range; `create` path and file_text;"
        " `str_replace` path, old_str, which must occur exactly once, and new_str; `insert` path, insert_line, the line"
        " to insert after, and new_str.",
        _object(
            ("command", "path"),
            command=_one_of("view", "create", "str_replace", "insert"),
            path=_STRING,
            view_range=_LINES,
            file_text=_STRING,
            old_str=_STRING,
            new_str=_STRING,
            insert_line=_INTEGER,
        ),
    ),
    "memory_*": (
        "Keeps notes in files below /memories that outlive the conversation. `view` takes path and view_range; `create`"
        " path and file_text; `str_replace` path, old_str and new_str; `insert` path, insert_line and insert_text;"
        " `delete` path; `rename` old_path and new_path.",
        _object(
            ("command",),
            command=_one_of("view", "create", "str_replace", "insert", "delete", "rename"),
            path=_STRING,
            view_range=_LINES,
            file_text=_STRING,
            old_str=_STRING,
            new_str=_STRING,
            insert_line=_INTEGER,
            insert_text=_STRING,
            old_path=_STRING,
            new_path=_STRING,
        ),
    ),
}

# Severity of a tool that cannot be carried, by glob (the first match); "degrading" for all others.
_LOSSES: dict[str, Severity] = {"computer*": "wrong", "browser*": "wrong"}

# Equivalent types by the idiom of a dialect; the first that the upstream supports is used.
_SEARCHES: dict[str, tuple[str, ...]] = {
    "anthropic_tools": ("web_search_20260318", "web_search_20260209", "web_search_20250305"),
    "openai_tools": ("web_search", "web_search_preview"),
}
_CODE_RUNNERS: dict[str, tuple[str, ...]] = {
    "anthropic_tools": ("code_execution_20260521", "code_execution_20260120", "code_execution_20250825"),
    "openai_tools": ("code_interpreter",),
}


def is_taken(tool: NativeTool, capabilities: Capabilities) -> bool:
    """Whether the upstream accepts the tool unchanged."""
    return tool.dialect == capabilities.dialect and _takes(capabilities, tool.type)


def as_function(tool: NativeTool) -> FunctionTool | None:
    """The function that replaces a client-run tool; None for any other."""
    if tool.server or (tool.type == "tool_search" and tool.definition.get("execution") == "server"):
        return None
    for glob, (description, schema) in _CLIENT_RUN.items():
        if fnmatchcase(tool.type, glob):
            own = tool.definition.get("parameters")
            return FunctionTool(
                name=tool.name,
                description=tool.definition.get("description") or description,
                schema=own if isinstance(own, dict) else schema,
            )
    return None


def as_equivalent(tool: NativeTool, capabilities: Capabilities) -> tuple[NativeTool, tuple[str, ...]] | None:
    """The upstream's own equivalent tool, and the options that it lacks; None if there is none.

    A search restricted to the vendor's cache has no equivalent.
    """
    if tool.definition.get("external_web_access") is False:
        return None
    for family, translate in ((_SEARCHES, _translate_search), (_CODE_RUNNERS, _translate_code_runner)):
        alike = (tool.type.startswith(known) or known.startswith(tool.type) for known in _of(tool.dialect, family))
        taken = [type_ for type_ in _of(capabilities.dialect, family) if _takes(capabilities, type_)]
        if taken and any(alike):
            return translate(tool, capabilities.dialect, taken[0])
    return None


def _of(dialect: DialectName, family: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    return next((types for idiom, types in family.items() if idiom in traits_of(dialect).idioms), ())


def loss_of(tool: NativeTool) -> Severity:
    """The severity of losing the tool."""
    return next((loss for glob, loss in _LOSSES.items() if fnmatchcase(tool.type, glob)), "degrading")


def _takes(capabilities: Capabilities, type_: str) -> bool:
    return any(fnmatchcase(type_, glob) for glob in capabilities.native_tools)


_Translated = tuple[NativeTool, tuple[str, ...]]


# Search options whose loss cannot make a search go further than allowed.
_HINTS = frozenset(
    (
        "allowed_callers",
        "cache_control",
        "defer_loading",
        "description",
        "external_web_access",
        "image_settings",
        "max_uses",
        "response_inclusion",
        "return_token_budget",
        "search_content_types",
        "search_context_size",
        "strict",
    )
)
_CARRIED = frozenset(("type", "name", "filters", "allowed_domains", "blocked_domains", "user_location"))
_DOMAINS = ("allowed_domains", "blocked_domains")
# Parts of names by which an unknown option may be a limit.
_LIMITING = re.compile(r"allow|block|den(?:y|ied)|exclu|restrict|domain|site|only|permi|approv|filter")


def _translate_search(tool: NativeTool, dialect: DialectName, type_: str) -> _Translated | None:
    """The other vendor's search; None if it might be less restricted than this one."""
    given = tool.definition
    filters = given.get("filters") or {}
    if not isinstance(filters, dict) or not set(_DOMAINS).issuperset(filters):
        return None
    unknown = [name for name, value in given.items() if name not in _HINTS | _CARRIED and value is not None]
    if any(_LIMITING.search(name) for name in unknown):
        return None
    limits = {name: filters.get(name, given.get(name)) for name in _DOMAINS}
    limits = {name: domains for name, domains in limits.items() if domains is not None}
    definition: dict[str, Any] = {"type": type_}
    if "anthropic_tools" in traits_of(dialect).idioms:
        exclusive = _allow_only(limits)
        if exclusive is None:
            return None
        definition |= {"name": "web_search", **exclusive}
        if given.get("max_uses"):
            definition["max_uses"] = given["max_uses"]
    elif limits:
        definition["filters"] = limits
    if isinstance(place := given.get("user_location"), dict) and place:
        definition["user_location"] = {"type": "approximate", **place}  # Anthropic demands the type
    # A limit on uses became a limit of the whole request if the tool has none.
    return NativeTool(dialect, type_, "web_search", definition, server=True), tuple(unknown)


def _allow_only(limits: dict[str, Any]) -> dict[str, Any] | None:
    """Domains for a vendor that accepts either a list of allowed or of blocked ones; None if one list cannot express
    both."""
    allowed, blocked = limits.get("allowed_domains"), limits.get("blocked_domains")
    if not allowed or not blocked:
        return limits if allowed is None or blocked is None else {name: one for name, one in limits.items() if one}
    if not isinstance(allowed, list) or not isinstance(blocked, list):
        return None
    if any(_is_within(one, outer) for one in blocked for outer in allowed):
        return None  # a blocked domain is inside an allowed one
    left = [one for one in allowed if not any(one == outer or _is_within(one, outer) for outer in blocked)]
    return {"allowed_domains": left} if left else None


def _is_within(domain: Any, outer: Any) -> bool:
    """Whether a domain is another one's subdomain."""
    return str(domain).endswith(f".{outer}")


def _translate_code_runner(tool: NativeTool, dialect: DialectName, type_: str) -> _Translated:
    if "anthropic_tools" in traits_of(dialect).idioms:
        definition: dict[str, Any] = {"type": type_, "name": "code_execution"}
    else:
        definition = {"type": type_, "container": {"type": "auto"}}
    lost = ("container",) if tool.definition.get("container") not in (None, {"type": "auto"}) else ()
    return NativeTool(dialect, type_, definition.get("name", type_), definition, server=True), lost
