"""What a client limits stays limited: tools, domains, servers, approvals.

Sources: smg-project/smg#163, praxis-proxy/ai#331, Anthropic's documentation of the MCP connector (MCP tools);
vercel/ai#18035 (domains); OpenAI API reference, "tool_choice" (allowed tools).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from app.conversation.blocks import DialectName
from app.errors import InvalidRequest, Unsupported
from tests.field.translating import CHAT, MESSAGES, RESPONSES, send, upstream

NAMES = ("read", "write", "delete")
DOMAINS = ("a.example", "b.example", "sub.a.example", "c.example")
SEARCH = "web_search"

names = st.lists(st.sampled_from(NAMES), unique=True)
domains = st.none() | st.lists(st.sampled_from(DOMAINS), unique=True)
switch = st.sampled_from([None, {}, {"enabled": True}, {"enabled": False}, {"enabled": None}])
allowed_tools = st.one_of(
    st.none(),
    names,
    st.fixed_dictionaries({"tool_names": names}),
    st.fixed_dictionaries({"tool_names": names, "read_only": st.booleans()}),
    st.just({"read_only": True}),
    st.just({"of_tomorrow": ["read"]}),
)
approvals = st.one_of(
    st.sampled_from([None, "never", "always", "sometimes"]),
    st.fixed_dictionaries({"never": allowed_tools}),
    st.fixed_dictionaries({"never": allowed_tools, "always": allowed_tools}),
    st.fixed_dictionaries({"always": allowed_tools}),
)
law = settings(max_examples=150, deadline=None)


def names_in(filter_: Any) -> set[str] | None:
    """The tools that a filter of OpenAI's lets through; None for all, nothing for one that cannot be read."""
    match filter_:
        case None:
            return None
        case [*listed]:
            return set(listed)
        case {"tool_names": [*listed], **rest} if not any(value is not None for value in rest.values()):
            return set(listed)
        case _:
            return set()


def free_of_asking(approval: Any) -> set[str] | None:
    """The tools that may run without asking, as the reference has it; the default is to ask for all."""
    match approval:
        case "never":
            return None
        case {"never": {} as free}:
            asked = names_in(approval.get("always")) or set()
            return (names_in(free) or set()) - asked
        case _:
            return set()


def both(one: set[str] | None, other: set[str] | None) -> set[str]:
    """What two limits allow, with `other` the names that there are."""
    return {name for name in (*NAMES, "others") if all(limit is None or name in limit for limit in (one, other))}


def ask(client: DialectName, **fields: Any) -> dict[str, Any]:
    question = {"role": "user", "content": "q"}
    return {"input": [question], **fields} if client == RESPONSES else {"messages": [question], **fields}


@law
@given(allowed=allowed_tools, approval=approvals, chosen=st.none() | names)
def test_a_server_of_mcp_may_run_no_more_at_claude_than_at_openai(
    allowed: Any, approval: Any, chosen: list[str] | None
) -> None:
    tool = {"type": "mcp", "server_label": "s", "server_url": "https://mcp.example/"}
    limits = {"allowed_tools": allowed, "require_approval": approval}
    tool |= {name: limit for name, limit in limits.items() if limit is not None}
    choice: dict[str, Any] = {}
    if chosen is not None:
        listed = [{"type": "mcp", "server_label": "s", "name": name} for name in chosen]
        choice = {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": listed}}
    may = both(names_in(allowed), free_of_asking(approval)) & both(None if chosen is None else set(chosen), None)
    if chosen == []:
        may = set()

    try:
        asked, _ = send(RESPONSES, ask(RESPONSES, tools=[tool], **choice), upstream(MESSAGES))
    except Unsupported:
        return

    assert rights_at_claude(asked) <= may


def rights_at_claude(asked: dict[str, Any]) -> set[str]:
    if (asked.get("tool_choice") or {}).get("type") == "none":
        return set()
    rights: set[str] = set()
    for tool in asked.get("tools", []):
        if tool.get("type") == "mcp_toolset":
            configs = tool.get("configs", {})
            default = tool.get("default_config", {}).get("enabled", True)
            rights |= {name for name in (*NAMES, "others") if configs.get(name, {}).get("enabled", default)}
    return rights


REFERENCES: tuple[dict[str, str], ...] = (
    {"type": "tool_reference", "name": "f"},
    {"type": "tool_reference", "name": "g"},
    *({"type": "mcp_tool_reference", "server_name": "s", "name": name} for name in NAMES),
    {"type": "mcp_toolset_reference", "server_name": "s"},
)


@law
@given(
    changes=st.lists(st.tuples(st.booleans(), st.sampled_from(REFERENCES)), min_size=1, max_size=6),
    on=st.booleans(),
    configured=st.dictionaries(st.sampled_from(NAMES), st.booleans()),
    declared=st.booleans(),
    to=st.sampled_from([RESPONSES, CHAT]),
)
def test_what_was_taken_away_in_the_middle_of_a_conversation_stays_away(
    changes: list[tuple[bool, dict[str, str]]], on: bool, configured: dict[str, bool], declared: bool, to: DialectName
) -> None:
    """Tools of servers of MCP too, with and without a toolset."""
    configs = {name: {"enabled": switched} for name, switched in configured.items()}
    toolset = {"type": "mcp_toolset", "mcp_server_name": "s", "default_config": {"enabled": on}, "configs": configs}
    may = {name for name in (*NAMES, "others") if not declared or configured.get(name, on)} | {"f", "g"}
    for added, reference in changes:
        meant = {reference["name"]} if "name" in reference else {*NAMES, "others"}
        may = may | meant if added else may - meant
    blocks = [{"type": "tool_addition" if added else "tool_removal", "tool": reference} for added, reference in changes]
    body = {
        "messages": [{"role": "user", "content": "q"}, {"role": "system", "content": blocks}],
        "mcp_servers": [{"type": "url", "name": "s", "url": "https://mcp.example/"}],
        "tools": [*({"name": name, "input_schema": {"type": "object"}} for name in ("f", "g"))],
    }
    body["tools"] += [toolset] if declared else []

    try:
        asked, _ = send(MESSAGES, body, upstream(to))
    except Unsupported:
        return

    rights: set[str] = set()
    for tool in asked.get("tools", []):
        if tool["type"] == "mcp":
            rights |= set(tool.get("allowed_tools") or (*NAMES, "others"))
        else:
            rights.add(tool.get("function", tool)["name"])
    assert rights <= may
    assert {"f", "g"} & may <= rights


def test_a_server_that_no_toolset_has_is_not_switched_on_by_the_toolset_of_another() -> None:
    servers = [{"type": "url", "name": name, "url": f"https://{name}.example/"} for name in ("s", "t")]
    body = ask(MESSAGES, mcp_servers=servers, tools=[{"type": "mcp_toolset", "mcp_server_name": "s"}])

    asked, losses = send(MESSAGES, body, upstream(RESPONSES))

    assert [tool["server_label"] for tool in asked["tools"]] == ["s"]
    assert [loss.path for loss in losses] == ["mcp_servers[1]"]


@law
@given(
    default=switch,
    configs=st.none() | st.dictionaries(st.sampled_from(NAMES), switch.filter(lambda one: one is not None)),
    old=st.none() | st.fixed_dictionaries({}, optional={"enabled": st.booleans(), "allowed_tools": st.none() | names}),
    toolset=st.booleans(),
)
def test_a_server_of_mcp_may_run_no_more_at_openai_than_at_claude(
    default: Any, configs: Any, old: Any, toolset: bool
) -> None:
    server = {"type": "url", "name": "s", "url": "https://mcp.example/", "tool_configuration": old}
    tool = {"type": "mcp_toolset", "mcp_server_name": "s", "default_config": default, "configs": configs}
    may = {name for name in (*NAMES, "others") if not toolset or is_on((configs or {}).get(name), is_on(default, True))}
    may &= set() if (old or {}).get("enabled") is False else both(names_in((old or {}).get("allowed_tools")), None)

    try:
        body = ask(MESSAGES, mcp_servers=[server], tools=[tool] if toolset else [])
        asked, _ = send(MESSAGES, body, upstream(RESPONSES))
    except Unsupported:
        return

    for sent in asked.get("tools", []):
        assert sent["require_approval"] == "never"
        assert both(names_in(sent.get("allowed_tools")), None) <= may
        assert set(sent.get("allowed_tools") or NAMES) & may == may & set(NAMES), "no narrower either"


def is_on(config: Any, default: bool) -> bool:
    enabled = (config or {}).get("enabled")
    return default if enabled is None else bool(enabled)


@law
@given(allowed=domains, blocked=domains, more=st.sampled_from([{}, {"excluded_sites": ["a.example"]}]))
def test_a_search_may_see_no_more_at_claude_than_at_openai(allowed: Any, blocked: Any, more: dict[str, Any]) -> None:
    filters = {"allowed_domains": allowed, "blocked_domains": blocked}
    filters = {name: listed for name, listed in filters.items() if listed is not None}
    tool = {"type": SEARCH, "filters": filters, **more}

    asked, losses = send(RESPONSES, ask(RESPONSES, tools=[tool]), upstream(MESSAGES))

    for sent in asked.get("tools", []):
        assert not more
        assert not (sent.get("allowed_domains") and sent.get("blocked_domains")), "Claude takes one of them"
        for domain in DOMAINS:
            assert visible(domain, allowed, blocked) or not visible(
                domain, sent.get("allowed_domains"), sent.get("blocked_domains")
            )
    assert asked.get("tools") or losses


@law
@given(limit=st.sampled_from(["allowed_domains", "blocked_domains"]), listed=st.lists(st.sampled_from(DOMAINS)))
def test_a_search_keeps_its_domains_at_openai(limit: str, listed: list[str]) -> None:
    tool = {"type": "web_search_20250305", "name": SEARCH, limit: listed}

    asked, _ = send(MESSAGES, ask(MESSAGES, tools=[tool]), upstream(RESPONSES))

    assert [sent["filters"] for sent in asked["tools"]] == [{limit: listed}]


def visible(domain: str, allowed: list[str] | None, blocked: list[str] | None) -> bool:
    def within(listed: list[str]) -> bool:
        return any(domain == one or domain.endswith(f".{one}") for one in listed)

    return (not allowed or within(allowed)) and not within(blocked or [])


SPELLINGS: dict[str, Any] = {
    "chat": lambda chosen: {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": n}} for n in chosen]},
    },
    "chat-flat": lambda chosen: {"type": "allowed_tools", "mode": "auto", "tools": [{"name": n} for n in chosen]},
    "chat-words": lambda chosen: {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": list(chosen)}},
    "responses": lambda chosen: {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": n} for n in chosen],
    },
}


@law
@given(
    spelling=st.sampled_from(sorted(SPELLINGS)),
    chosen=st.lists(st.sampled_from(("f", "g", SEARCH, "gone")), unique=True),
    to=st.sampled_from([MESSAGES, CHAT, RESPONSES]),
)
def test_a_choice_among_tools_never_becomes_a_choice_of_more(spelling: str, chosen: list[str], to: DialectName) -> None:
    client = RESPONSES if spelling == "responses" else CHAT
    tools: list[dict[str, Any]] = [{"type": "function", "name": name} for name in ("f", "g", "h")]
    if client == RESPONSES:
        tools.append({"type": SEARCH})
    else:
        tools = [{"type": "function", "function": {"name": tool["name"]}} for tool in tools]

    asked, _ = send(client, ask(client, tools=tools, tool_choice=SPELLINGS[spelling](chosen)), upstream(to))

    assert callable_there(asked) <= set(chosen)


@law
@given(
    profile=st.sampled_from(["generic", "openai", "lmstudio", "glm", "kimi", "xai", "gemini", "mistral", "ollama"]),
    chosen=st.lists(st.sampled_from(("f", "g", "h", "gone")), min_size=1, unique=True),
    mode=st.sampled_from(["auto", "required", "named"]),
    maximum=st.integers(1, 4),
    client=st.sampled_from([MESSAGES, CHAT, RESPONSES]),
)
def test_no_server_s_own_ways_open_what_was_not_chosen(
    profile: str, chosen: list[str], mode: str, maximum: int, client: DialectName
) -> None:
    """A choice goes through all that servers lack: named and forced tools, and room for all that are declared."""
    to = replace(upstream(CHAT, profile), tools_limit=maximum)
    tools: list[dict[str, Any]] = [
        {"type": "function", "name": name, "parameters": {}} for name in ("f", "g", "h", "i")
    ]
    choice: Any = {"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": n} for n in chosen]}
    if mode == "named":
        chosen = chosen[:1]
        choice = {"type": "function", "name": chosen[0]}
    match client:
        case "openai_chat":
            tools = [{"type": "function", "function": {"name": tool["name"]}} for tool in tools]
            inner = {"mode": mode, "tools": [{"type": "function", "function": {"name": name}} for name in chosen]}
            named = {"type": "function", "function": {"name": chosen[0]}}
            choice = named if mode == "named" else {"type": "allowed_tools", "allowed_tools": inner}
        case "anthropic_messages":
            tools = [{"name": tool["name"], "input_schema": {"type": "object"}} for tool in tools]
            chosen = chosen[:1]
            choice = {"type": "tool", "name": chosen[0]}

    try:
        asked, _ = send(client, ask(client, tools=tools, tool_choice=choice), to)
    except (InvalidRequest, Unsupported):
        return

    assert callable_there(asked) <= set(chosen) or is_forced(asked, chosen)


def is_forced(asked: dict[str, Any], chosen: list[str]) -> bool:
    """Whether the model must call the one tool that was chosen, whatever else is declared."""
    choice = asked.get("tool_choice")
    return isinstance(choice, dict) and (choice.get("function") or {}).get("name") in chosen


def callable_there(asked: dict[str, Any]) -> set[str]:
    declared = {(tool.get("function") or tool).get("name") or tool["type"] for tool in asked.get("tools", [])}
    choice = asked.get("tool_choice")
    if choice in ("none", {"type": "none"}):
        return set()
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        listed = (choice.get("allowed_tools") or choice)["tools"]
        return declared & {(tool.get("function") or tool).get("name") or tool["type"] for tool in listed}
    return declared


@pytest.mark.parametrize("tools", [[{}], [{"type": "function"}], [7], [["f"]]])
def test_an_entry_of_a_choice_that_names_nothing_is_no_permission(tools: list[Any]) -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools}}
    declared = [{"type": "function", "function": {"name": "f"}}]

    with pytest.raises(InvalidRequest, match="tool_choice"):
        send(CHAT, ask(CHAT, tools=declared, tool_choice=choice), upstream(MESSAGES))


def test_a_demand_for_a_tool_that_the_upstream_lacks_is_refused() -> None:
    tools = [{"type": "function", "name": "f"}, {"type": "file_search", "vector_store_ids": ["v"]}]

    with pytest.raises(Unsupported, match="file_search"):
        send(RESPONSES, ask(RESPONSES, tools=tools, tool_choice={"type": "file_search"}), upstream(CHAT))


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer TK"}, {"authorization": "bearer  TK"}])
def test_the_token_of_an_mcp_server_goes_with_it_from_a_header(headers: dict[str, str]) -> None:
    tool = {"type": "mcp", "server_label": "s", "server_url": "https://mcp.example/", "require_approval": "never"}

    asked, _ = send(RESPONSES, ask(RESPONSES, tools=[{**tool, "headers": headers}]), upstream(MESSAGES))

    assert asked["mcp_servers"][0]["authorization_token"] == "TK"


def test_other_headers_of_an_mcp_server_are_reported() -> None:
    tool = {"type": "mcp", "server_label": "s", "server_url": "https://mcp.example/", "require_approval": "never"}

    _, losses = send(RESPONSES, ask(RESPONSES, tools=[{**tool, "headers": {"x-team": "1"}}]), upstream(MESSAGES))

    assert [loss.path for loss in losses if loss.severity != "ignorable"] == ["tools.s.headers"]
