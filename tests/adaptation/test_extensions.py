"""The specification of fields that only the client's dialect knows."""

from __future__ import annotations

from typing import Any

import pytest

from app.adaptation.extensions import adapt_extensions
from app.conversation.capabilities import Capabilities
from app.conversation.request import Extension, NativeTool, Request
from app.providers.profiles import capabilities_for
from tests.adaptation.tools.asking import function, losses, take
from tests.adaptation.upstreams import by_chat, by_claude_code, by_codex, chat, claude, responses

OPENAI = capabilities_for("openai_responses", "https://api.openai.com/v1", "gpt-5-mini")
ANTHROPIC = capabilities_for("anthropic_messages", "https://api.anthropic.com", "claude-opus-5-5")


def of_claude(name: str, value: Any, loss: Any = "degrading") -> Request:
    return by_claude_code(extensions=(Extension("anthropic_messages", name, value, loss, "only there"),))


def of_chat(name: str, value: Any, loss: Any = "degrading") -> Request:
    return by_chat(extensions=(Extension("openai_chat", name, value, loss, "only there"),))


def of_codex(name: str, value: Any, loss: Any = "degrading") -> Request:
    return by_codex(extensions=(Extension("openai_responses", name, value, loss, "only there"),))


@pytest.mark.parametrize("loss", ["ignorable", "degrading", "wrong"])
def test_a_field_without_equivalent_is_lost_by_its_own_class(loss: str) -> None:
    taken, notes = take(adapt_extensions, of_claude("thread", {}, loss), chat())

    assert taken.extensions == ()
    assert losses(notes) == [(loss, "thread")]


def test_a_field_of_the_upstreams_own_dialect_stays() -> None:
    request = of_chat("min_p", 0.1)

    taken, notes = take(adapt_extensions, request, chat())

    assert (taken, losses(notes)) == (request, [])


def test_betas_are_dropped_for_other_dialects() -> None:
    taken, notes = take(adapt_extensions, by_claude_code(betas=("a-2026-01-01",)), chat())

    assert (taken.betas, losses(notes)) == ((), [("ignorable", "anthropic-beta")])


SEARCH = {
    "search_context_size": "low",
    "user_location": {"type": "approximate", "approximate": {"city": "Linz", "country": "AT"}},
}
PLACE = {"type": "approximate", "city": "Linz", "country": "AT"}


@pytest.mark.parametrize(
    ("upstream", "definition"),
    [
        (claude(), {"type": "web_search_20260318", "name": "web_search", "user_location": PLACE}),
        (responses(), {"type": "web_search", "search_context_size": "low", "user_location": PLACE}),
    ],
    ids=["messages", "responses"],
)
def test_web_search_of_chat_becomes_a_tool(upstream: Capabilities, definition: dict[str, Any]) -> None:
    taken, notes = take(adapt_extensions, of_chat("web_search_options", SEARCH), upstream)

    assert [tool.definition for tool in taken.tools if isinstance(tool, NativeTool)] == [definition]
    assert (taken.extensions, losses(notes)) == ((), [])


def test_web_search_is_lost_where_no_such_tool_is_taken() -> None:
    taken, notes = take(adapt_extensions, of_chat("web_search_options", {}), responses(profile="vllm"))

    assert (taken.tools, losses(notes)) == ((), [("degrading", "web_search_options")])


def test_compaction_of_the_context_is_known_to_both_vendors() -> None:
    edit = {"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 90000}}
    entry = {"type": "compaction", "compact_threshold": 90000}

    there, _ = take(adapt_extensions, of_claude("context_management", {"edits": [edit]}), OPENAI)
    back, _ = take(adapt_extensions, of_codex("context_management", [entry]), ANTHROPIC)

    assert [extension.value for extension in there.extensions] == [[entry]]
    assert [extension.value for extension in back.extensions] == [{"edits": [edit]}]
    assert (there.extensions[0].dialect, back.extensions[0].dialect) == ("openai_responses", "anthropic_messages")


def test_a_threshold_below_anthropics_least_is_raised() -> None:
    taken, _ = take(
        adapt_extensions, of_codex("context_management", [{"type": "compaction", "compact_threshold": 9}]), ANTHROPIC
    )

    assert taken.extensions[0].value["edits"][0]["trigger"]["value"] == 50_000


def test_clearing_the_context_is_lost() -> None:
    edits = {"edits": [{"type": "clear_thinking_20251015"}]}
    both = {"edits": [{"type": "clear_thinking_20251015"}, {"type": "compact_20260112"}]}

    _, alone = take(adapt_extensions, of_claude("context_management", edits), OPENAI)
    taken, beside = take(adapt_extensions, of_claude("context_management", both), OPENAI)

    assert losses(alone) == losses(beside) == [("degrading", "context_management")]
    assert [extension.value for extension in taken.extensions] == [[{"type": "compaction"}]]


def test_mcp_servers_become_tools_of_openai() -> None:
    servers = [{"type": "url", "name": "docs", "url": "https://mcp.example.com", "authorization_token": "t"}]
    toolset = NativeTool(
        "anthropic_messages",
        "mcp_toolset",
        "docs",
        {
            "type": "mcp_toolset",
            "mcp_server_name": "docs",
            "default_config": {"enabled": False},
            "configs": {"find": {"enabled": True}, "drop": {"enabled": False}},
        },
        server=True,
    )
    request = by_claude_code(
        tools=(function("f"), toolset), extensions=(Extension("anthropic_messages", "mcp_servers", servers, "wrong"),)
    )

    taken, notes = take(adapt_extensions, request, OPENAI)

    assert [tool.name for tool in taken.tools] == ["f", "docs"]
    assert taken.tools[1].definition == {  # type: ignore[union-attr]
        "type": "mcp",
        "server_label": "docs",
        "server_url": "https://mcp.example.com",
        "authorization": "t",
        "allowed_tools": ["find"],
        "require_approval": "never",
    }
    assert losses(notes) == []


def mcp(**definition: Any) -> NativeTool:
    fixed = {"type": "mcp", "server_label": "docs", "server_url": "https://mcp.example.com"}
    return NativeTool("openai_responses", "mcp", "docs", {**fixed, **definition}, server=True)


def test_tools_of_openai_become_mcp_servers() -> None:
    request = by_codex(tools=(mcp(authorization="t", allowed_tools=["find"], require_approval="never"),))

    taken, notes = take(adapt_extensions, request, ANTHROPIC)

    server = {"type": "url", "name": "docs", "url": "https://mcp.example.com", "authorization_token": "t"}
    assert [(extension.name, extension.value) for extension in taken.extensions] == [("mcp_servers", [server])]
    assert taken.tools[0].definition == {  # type: ignore[union-attr]
        "type": "mcp_toolset",
        "mcp_server_name": "docs",
        "default_config": {"enabled": False},
        "configs": {"find": {"enabled": True}},
    }
    assert losses(notes) == []


def test_a_server_that_asks_before_each_call_is_no_mcp_server_of_anthropics() -> None:
    for tool in (mcp(), mcp(require_approval="always"), mcp(server_url=None, require_approval="never")):
        taken = take(adapt_extensions, by_codex(tools=(tool,)), ANTHROPIC)[0]

        assert (taken.tools, taken.extensions) == ((tool,), ())


def test_a_limit_of_searches_is_one_of_hosted_tools_and_back() -> None:
    search = NativeTool("openai_responses", "web_search", "web_search", {"type": "web_search"}, server=True)
    limited = NativeTool("anthropic_messages", "web_search_20260318", "web_search", {"max_uses": 3}, server=True)
    asked = Extension("openai_responses", "max_tool_calls", 2, "degrading")

    to_claude, notes = take(adapt_extensions, by_codex(tools=(search,), extensions=(asked,)), ANTHROPIC)
    to_openai = take(adapt_extensions, by_claude_code(tools=(limited,)), OPENAI)[0]
    _, without_search = take(adapt_extensions, by_codex(tools=(function(),), extensions=(asked,)), ANTHROPIC)

    assert to_claude.tools[0].definition["max_uses"] == 2  # type: ignore[union-attr]
    assert [(extension.name, extension.value) for extension in to_openai.extensions] == [("max_tool_calls", 3)]
    assert (losses(notes), losses(without_search)) == ([], [("degrading", "max_tool_calls")])


def test_mcp_servers_are_refused_elsewhere() -> None:
    _, notes = take(adapt_extensions, of_claude("mcp_servers", [{"name": "files"}], "wrong"), chat())
    _, of_none = take(adapt_extensions, of_claude("mcp_servers", [], "wrong"), chat())

    assert losses(notes) == [("wrong", "mcp_servers")]
    assert losses(of_none) == [("ignorable", "mcp_servers")]


def test_a_fast_answer_is_a_service_tier() -> None:
    fast, _ = take(adapt_extensions, of_claude("speed", "fast", "ignorable"), OPENAI)
    slow, notes = take(adapt_extensions, of_claude("speed", "standard", "ignorable"), OPENAI)

    assert (fast.service_tier, slow.service_tier) == ("fast", None)
    assert losses(notes) == [("ignorable", "speed")]


@pytest.mark.parametrize("name", ["moderation", "prompt_cache_options"])
def test_fields_that_openais_dialects_share_pass_to_openai_only(name: str) -> None:
    taken, notes = take(adapt_extensions, of_chat(name, {"a": 1}), OPENAI)
    _, elsewhere = take(adapt_extensions, of_chat(name, {"a": 1}), responses())

    assert [(extension.dialect, extension.name, extension.value) for extension in taken.extensions] == [
        ("openai_responses", name, {"a": 1})
    ]
    assert (losses(notes), losses(elsewhere)) == ([], [("degrading", name)])
