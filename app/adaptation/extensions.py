"""Translates fields that only the client's dialect has, or reports them as lost.

Runs first: an equivalent may be a tool or a setting that later steps adapt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from app.adaptation import mcp_servers
from app.adaptation.mcp_servers import entries
from app.adaptation.notes import Notes
from app.conversation.blocks import DialectName
from app.conversation.capabilities import Capabilities
from app.conversation.request import Extension, NativeTool, Request, Tool
from app.dialects.registry import traits_of

# Returns the request with the equivalent of a field, None if its value has none.
Carry = Callable[[Request, Extension, Capabilities, Notes], Request | None]
# Returns the request with fields for options of its tools, of which there is at least one.
CarryTools = Callable[[Request, Capabilities, Notes], Request]

ANTHROPIC_WEB_SEARCH = "web_search_20260318"
COMPACT_EDIT = "compact_20260112"
LEAST_COMPACT_TRIGGER = 50_000  # tokens; Anthropic refuses less

# OpenAI's own fields that have the same name and meaning in both of its dialects.
SHARED_BY_OPENAI = ("moderation", "prompt_cache_options", "prompt_cache_retention", "safety_identifier")
# What Chat accepts of an option that knows more values in Responses.
_CHAT_OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "prompt_cache_options": {"mode": ("implicit", "explicit"), "ttl": ("30m",)},
}


# Known options of Chat's search; an unknown one may be a limit.
_SEARCH_OPTIONS = frozenset(("user_location", "search_context_size"))


def adapt_extensions(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    kept: list[Extension] = []
    extensions, request = request.extensions, replace(request, extensions=()) if request.extensions else request
    for extension in extensions:
        if extension.dialect == capabilities.dialect:
            kept.append(extension)
            continue
        carry = _find_carrier(extension, capabilities.dialect)
        carried = carry(request, extension, capabilities, notes) if carry is not None else None
        if carried is None:
            nothing = extension.value is False or extension.value in ("", [])
            notes.lose("ignorable" if nothing else extension.severity, extension.name, extension.why)
        else:
            request = carried
    if request.tools:
        request = _carry_tools(request, capabilities, notes)
    if request.betas and capabilities.dialect != request.dialect:
        notes.lose("ignorable", "anthropic-beta", "betas exist only at Anthropic")
        request = replace(request, betas=())
    return replace(request, extensions=(*kept, *request.extensions)) if kept else request


def _find_carrier(extension: Extension, dialect: DialectName) -> Carry | None:
    theirs = traits_of(dialect).idioms
    for idiom in traits_of(extension.dialect).idioms:
        for (spoken, name, understood), carry in _CARRIERS.items():
            if (spoken, name) == (idiom, extension.name) and understood in theirs:
                return carry
    return None


def _carry_tools(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    spoken_in = {request.dialect, *(tool.dialect for tool in request.tools if isinstance(tool, NativeTool))}
    ours = frozenset[str]().union(*(traits_of(dialect).idioms for dialect in spoken_in - {capabilities.dialect}))
    theirs = traits_of(capabilities.dialect).idioms
    for (spoken, understood), carry in _TOOL_CARRIERS.items():
        if spoken in ours and understood in theirs:
            request = carry(request, capabilities, notes)
    return request


def _share(request: Request, extension: Extension, capabilities: Capabilities, notes: Notes) -> Request | None:
    if not capabilities.first_party:
        return None
    value, accepted = extension.value, _CHAT_OPTIONS.get(extension.name)
    if accepted is not None and isinstance(value, dict) and "chat_search" in traits_of(capabilities.dialect).idioms:
        refused = [name for name in value if value[name] not in accepted.get(name, ())]
        for name in refused:
            notes.lose("ignorable", f"{extension.name}.{name}", "Chat Completions does not accept it")
        value = {name: option for name, option in value.items() if name not in refused}
    return _add(request, replace(extension, dialect=capabilities.dialect, value=value))


def _name_user(request: Request, extension: Extension, capabilities: Capabilities, notes: Notes) -> Request | None:
    """The user's name from `user`, which clients of Responses used before `safety_identifier`; the latter takes
    precedence."""
    user = extension.value
    return replace(request, user=user) if isinstance(user, str) and user and request.user is None else None


def _search_with_anthropic(
    request: Request, extension: Extension, capabilities: Capabilities, notes: Notes
) -> Request | None:
    return _add_search(request, extension, capabilities, {"type": ANTHROPIC_WEB_SEARCH, "name": "web_search"})


def _search_with_openai(
    request: Request, extension: Extension, capabilities: Capabilities, notes: Notes
) -> Request | None:
    if "web_search" not in capabilities.native_tools:
        return None
    size = extension.value.get("search_context_size") if isinstance(extension.value, dict) else None
    sized = {"search_context_size": size} if size else {}
    return _add_search(request, extension, capabilities, {"type": "web_search", **sized})


def _add_search(
    request: Request, extension: Extension, capabilities: Capabilities, definition: dict[str, Any]
) -> Request | None:
    """Chat's `web_search_options` as a vendor's tool; Chat nests the user's location one level deeper."""
    options = extension.value if isinstance(extension.value, dict) else {}
    if not _SEARCH_OPTIONS.issuperset(options):
        return None  # an unknown option may be a limit
    if place := _approximate_place(options):
        definition["user_location"] = place
    tool = NativeTool(capabilities.dialect, definition["type"], "web_search", definition, server=True)
    return replace(request, tools=(*request.tools, tool))


def _approximate_place(options: dict[str, Any]) -> dict[str, Any] | None:
    location = options.get("user_location")
    place = location.get("approximate") if isinstance(location, dict) else None
    return {"type": "approximate", **place} if isinstance(place, dict) else None


def _compact_with_openai(
    request: Request, extension: Extension, capabilities: Capabilities, notes: Notes
) -> Request | None:
    """Only the compaction among Anthropic's context edits; the others clear old content and are lost."""
    edits = entries(extension.value.get("edits") if isinstance(extension.value, dict) else None)
    compact = next((edit for edit in edits if edit.get("type") == COMPACT_EDIT), None)
    if compact is None or not capabilities.store:
        return None
    if len(edits) > 1:
        notes.lose("degrading", extension.name, "the upstream does not clear old tool results and thinking")
    for option in ("instructions", "pause_after_compaction"):
        if compact.get(option):
            notes.lose("degrading", f"{extension.name}.{option}", "the upstream's compaction has no such option")
    entry: dict[str, Any] = {"type": "compaction"}
    trigger = compact.get("trigger")
    if isinstance(trigger, dict) and isinstance(trigger.get("value"), int):
        entry["compact_threshold"] = trigger["value"]
    return _add(
        request, Extension(capabilities.dialect, "context_management", [entry], extension.severity, extension.why)
    )


def _compact_with_anthropic(
    request: Request, extension: Extension, capabilities: Capabilities, notes: Notes
) -> Request | None:
    entry = next((entry for entry in entries(extension.value) if entry.get("type") == "compaction"), None)
    if entry is None or not capabilities.first_party:
        return None
    edit: dict[str, Any] = {"type": COMPACT_EDIT}
    threshold = entry.get("compact_threshold")
    if isinstance(threshold, int):
        edit["trigger"] = {"type": "input_tokens", "value": max(threshold, LEAST_COMPACT_TRIGGER)}
    return _add(
        request,
        Extension(capabilities.dialect, "context_management", {"edits": [edit]}, extension.severity, extension.why),
    )


def _limit_searches(request: Request, extension: Extension, capabilities: Capabilities, notes: Notes) -> Request | None:
    """The limit on all server-run tools, applied to the searches among them; a loss if there are others."""
    tools = [_with_limit(tool, extension.value) for tool in request.tools]
    unlimited = [tool for tool, before in zip(tools, request.tools, strict=True) if tool is before]
    if len(unlimited) == len(tools):
        return None
    if any(isinstance(tool, NativeTool) and tool.server for tool in unlimited):
        notes.lose("degrading", extension.name, "the upstream can limit only the search")
    return replace(request, tools=tuple(tools))


def _with_limit(tool: Tool, limit: Any) -> Tool:
    if not isinstance(tool, NativeTool) or not tool.type.startswith("web_search"):
        return tool
    return replace(tool, definition={**tool.definition, "max_uses": limit})


def _limit_tools(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    """Anthropic's limit on a search, applied to all server-run tools; those that fetch pages are not carried."""
    searches = [tool for tool in request.tools if isinstance(tool, NativeTool) and tool.type.startswith("web_search")]
    limits = [tool.definition.get("max_uses") for tool in searches]
    limit = next((limit for limit in limits if isinstance(limit, int)), None)
    if limit is None or "web_search" not in capabilities.native_tools:
        return request
    return _add(request, Extension(capabilities.dialect, "max_tool_calls", limit, "degrading"))


def _apply_fast_mode(
    request: Request, extension: Extension, capabilities: Capabilities, notes: Notes
) -> Request | None:
    if extension.value != "fast" or not capabilities.service_tier:
        return None
    return replace(request, service_tier="fast")


def _add(request: Request, extension: Extension) -> Request:
    return replace(request, extensions=(*request.extensions, extension))


# By the idiom of the client's dialect, the field, and the idiom of the upstream's dialect.
_CARRIERS: dict[tuple[str, str, str], Carry] = {
    ("chat_search", "web_search_options", "anthropic_tools"): _search_with_anthropic,
    ("chat_search", "web_search_options", "openai_tools"): _search_with_openai,
    ("anthropic_tools", "context_management", "openai_tools"): _compact_with_openai,
    ("openai_tools", "context_management", "anthropic_tools"): _compact_with_anthropic,
    ("anthropic_tools", "mcp_servers", "openai_tools"): mcp_servers.to_responses,
    ("openai_tools", "max_tool_calls", "anthropic_tools"): _limit_searches,
    ("anthropic_tools", "speed", "service_tiers"): _apply_fast_mode,
    ("openai_tools", "user", "anthropic_tools"): _name_user,
    ("openai_tools", "user", "chat_search"): _name_user,
    **{("openai_settings", name, "openai_settings"): _share for name in SHARED_BY_OPENAI},
}
_TOOL_CARRIERS: dict[tuple[str, str], CarryTools] = {
    ("openai_tools", "anthropic_tools"): mcp_servers.to_messages,
    ("anthropic_tools", "openai_tools"): _limit_tools,
}
