"""Translates remote MCP servers between vendors.

A server may come with limits: which of its tools may run, and which only with approval. A limit is carried exactly or
not at all: a server whose limits have no equivalent is left out if the loss can be reported, or refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TypeGuard

from msgspec.structs import replace

from app.adaptation.notes import Notes
from app.conversation.capabilities import Capabilities
from app.conversation.request import Extension, NativeTool, Request, Tool, ToolChoice

# The tools of a server that may run: by name, or (None) all.
Allowed = frozenset[str] | None

_ONE_BY_ONE = "this upstream cannot exclude individual tools of a server"


def to_responses(request: Request, extension: Extension, capabilities: Capabilities, notes: Notes) -> Request | None:
    """Each server as a tool of its own; its allowed tools come from its configuration or its toolset."""
    if "mcp" not in capabilities.native_tools:
        return None
    toolsets: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for tool in request.tools:
        if _is_toolset(tool):
            toolsets[str(tool.definition.get("mcp_server_name"))].append(tool.definition)
    tools: list[Tool] = [tool for tool in request.tools if not _is_toolset(tool)]
    for index, server in enumerate(entries(extension.value)):
        name, path = str(server.get("name", "")), f"{extension.name}[{index}]"
        limits = [_read_configuration(server.get("tool_configuration")), *map(_read_toolset, toolsets.get(name, ()))]
        if toolsets and name not in toolsets:
            notes.lose("ignorable", path, "no toolset names it, so none of its tools are enabled")
            continue
        if any(limit == _UNTOLD for limit in limits):
            notes.lose("wrong", path, _ONE_BY_ONE)
            continue
        allowed = _join([limit for limit in limits if not isinstance(limit, str)])
        if allowed is not None and not allowed:
            notes.lose("ignorable", path, "none of its tools are enabled")
            continue
        definition = {
            "type": "mcp",
            "server_label": name,
            "server_url": server.get("url"),
            "authorization": server.get("authorization_token"),
            "allowed_tools": sorted(allowed) if allowed is not None else None,
            "require_approval": "never",
        }
        stated = {key: value for key, value in definition.items() if value is not None}
        tools.append(NativeTool(capabilities.dialect, "mcp", name, stated, server=True))
    return replace(request, tools=tuple(tools))


def to_messages(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    """The servers that may be called without approval, each with a toolset; Anthropic has no approvals."""
    declared = {tool.name for tool in request.tools if type(tool) is NativeTool and tool.type == "mcp"}
    if not declared or "mcp_toolset" not in capabilities.native_tools:
        return request
    servers: list[dict[str, Any]] = []
    tools: list[Tool] = []
    choice = request.tool_choice
    chosen_tools = _chosen_tools(choice)
    for tool in request.tools:
        given = tool.definition if isinstance(tool, NativeTool) and tool.type == "mcp" else {}
        chosen = chosen_tools.get(tool.name) if given else None
        allowed = _join_all((_read_list(given.get("allowed_tools")), _read_approval(given), chosen))
        if not given.get("server_url") or isinstance(allowed, str):
            tools.append(tool)  # a later step drops it and reports the loss
            continue
        name = given.get("server_label")
        if allowed is not None and not allowed:
            notes.lose("degrading", f"tools.{name}", "none of its tools may run without approval")
            continue
        server = {"type": "url", "name": name, "url": given["server_url"]}
        if (token := _read_authorization(given, notes)) is not None:
            server["authorization_token"] = token
        servers.append(server)
        toolset: dict[str, Any] = {"type": "mcp_toolset", "mcp_server_name": name}
        if allowed is not None:
            toolset["default_config"] = {"enabled": False}
            toolset["configs"] = {one: {"enabled": True} for one in sorted(allowed)}
        tools.append(NativeTool(capabilities.dialect, "mcp_toolset", str(name), toolset, server=True))
    if choice is not None and choice.names:
        names = tuple((None, key[0]) if key[0] in declared else key for key in choice.names)
        request = replace(request, tool_choice=replace(choice, names=tuple(dict.fromkeys(names))))
    request = replace(request, tools=tuple(tools))
    if not servers:
        return request
    return replace(
        request, extensions=(*request.extensions, Extension(capabilities.dialect, "mcp_servers", servers, "wrong"))
    )


def entries(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; empty for anything else."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


# A limit that the other vendor cannot express.
_UNTOLD = "untold"


def _is_toolset(tool: Tool) -> TypeGuard[NativeTool]:
    return isinstance(tool, NativeTool) and tool.type == "mcp_toolset"


def _join(limits: Sequence[Allowed]) -> Allowed:
    """What all limits together allow."""
    joined: Allowed = None
    for limit in limits:
        joined = limit if joined is None else joined if limit is None else joined & limit
    return joined


def _join_all(limits: Sequence[Allowed | str]) -> Allowed | str:
    if any(isinstance(limit, str) for limit in limits):
        return _UNTOLD
    return _join([limit for limit in limits if not isinstance(limit, str)])


def _read_configuration(value: Any) -> Allowed | str:
    """Anthropic's older `tool_configuration`: a switch and a list."""
    match value:
        case None:
            return None
        case {"enabled": False}:
            return frozenset()
        case {**known} if known.keys() <= {"enabled", "allowed_tools"} and known.get("enabled") in (None, True):
            return _read_list(known.get("allowed_tools"))
        case _:
            return _UNTOLD


def _read_toolset(toolset: dict[str, Any]) -> Allowed | str:
    """A default with exceptions. If the default is on, an exception is a denial, which has no equivalent."""
    default, configs = toolset.get("default_config"), toolset.get("configs")
    on = _is_on(default, inherited=True)
    if on is None or not isinstance(configs, dict | None):
        return _UNTOLD
    switches = {name: _is_on(config, inherited=on) for name, config in (configs or {}).items()}
    if None in switches.values():
        return _UNTOLD
    if on:
        return None if all(switches.values()) else _UNTOLD
    return frozenset(name for name, switched in switches.items() if switched)


def _is_on(config: Any, *, inherited: bool) -> bool | None:
    """Whether a configuration enables a tool, by default as `inherited`; None if it cannot be read."""
    match config:
        case None:
            return inherited
        case {"enabled": bool(enabled)}:
            return enabled
        case {} if config.get("enabled") is None:
            return inherited
        case _:
            return None


def _read_list(value: Any) -> Allowed | str:
    """OpenAI's `allowed_tools`: a list, or a filter by names. Only its own servers can filter by what a tool does."""
    match value:
        case None:
            return None
        case [*names] if all(isinstance(name, str) for name in names):
            return frozenset(names)
        case {"tool_names": [*names], **rest} if all(isinstance(name, str) for name in names) and not any(
            value is not None for value in rest.values()
        ):
            return frozenset(names)
        case _:
            return _UNTOLD


def _read_approval(definition: dict[str, Any]) -> Allowed | str:
    """The tools that may run without approval."""
    match definition.get("require_approval"):
        case "never":
            return None
        case {"never": {} as free, **rest} if not any(_read_list(value) for value in rest.values() if value):
            return _read_list(free) if free else _UNTOLD
        case {"never": {"tool_names": [*_]} as free, "always": {"tool_names": [*asked]}}:
            allowed = _read_list(free)
            return allowed - set(map(str, asked)) if isinstance(allowed, frozenset) else _UNTOLD
        case _:
            return _UNTOLD


def _chosen_tools(choice: ToolChoice | None) -> dict[str, frozenset[str]]:
    """The tools that the choice allows, by the label of their server; no entry if it names the whole server."""
    names = choice.names if choice is not None else ()
    chosen: defaultdict[str, set[str]] = defaultdict(set)
    for server, name in names:
        if server is not None:
            chosen[server].add(name)
    whole = {name for server, name in names if server is None}
    return {server: frozenset(tools) for server, tools in chosen.items() if server not in whole}


def _read_authorization(definition: dict[str, Any], notes: Notes) -> str | None:
    """The server's token, which older clients send as a header. Other headers cannot be carried."""
    token = definition.get("authorization")
    headers = definition.get("headers")
    for name, value in headers.items() if isinstance(headers, dict) else ():
        if str(name).lower() == "authorization" and isinstance(value, str):
            scheme, _, rest = value.strip().partition(" ")
            token = token or (rest.strip() if scheme.lower() == "bearer" else value)
        else:
            notes.lose(
                "degrading",
                f"tools.{definition.get('server_label')}.headers",
                "the upstream accepts only a bearer token",
            )
    return token if isinstance(token, str) and token else None
