"""A call is demanded of a tool that no one can run there: no answer could meet that, so the client is told at once.
Beside others, or when it may be left alone, such a tool is dropped and reported: Codex declares some by default."""

from __future__ import annotations

from typing import Any

import pytest

from tests.field.asked import read_asked
from tests.field.asking import UPSTREAMS, every_upstream, tool
from tests.field.pairs import ask, whole_reply
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

FUNCTION = tool("R")
HOSTED: list[dict[str, Any]] = [
    {"type": "image_generation"},
    {"type": "file_search", "vector_store_ids": ["v"]},
    {"type": "web_search"},
    {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "mcp", "server_label": "s", "server_url": "https://m.example", "require_approval": "never"},
]


@pytest.mark.parametrize("hosted", HOSTED, ids=lambda hosted: hosted["type"])
@pytest.mark.parametrize("beside", [[], [FUNCTION]])
def test_a_chosen_tool_that_cannot_be_had_is_refused(
    every: Client, upstream: FakeUpstream, hosted: dict[str, Any], beside: list[Any]
) -> None:
    """BerriAI/litellm#25477: the helper of Claude Code's search, and SDKs that force a hosted tool."""
    named = {"type": hosted["type"], **({"server_label": "s"} if hosted["type"] == "mcp" else {})}

    told = ask(every, "R", UPSTREAMS["C"], tools=[hosted, *beside], tool_choice=named)

    assert (told.status, upstream.seen) == (400, [])
    assert (hosted.get("server_label") or hosted["type"]) in told.error


@pytest.mark.parametrize("hosted", HOSTED, ids=lambda hosted: hosted["type"])
def test_a_demanded_call_is_refused_where_no_tool_is_left(
    every: Client, upstream: FakeUpstream, hosted: dict[str, Any]
) -> None:
    told = ask(every, "R", UPSTREAMS["C"], tools=[hosted], tool_choice="required")

    assert (told.status, "tool_choice" in told.error, upstream.seen) == (400, True, [])


@pytest.mark.parametrize("hosted", HOSTED, ids=lambda hosted: hosted["type"])
@pytest.mark.parametrize("beside", [[], [FUNCTION]])
def test_a_tool_that_may_be_left_alone_is_dropped(
    every: Client, upstream: FakeUpstream, hosted: dict[str, Any], beside: list[Any]
) -> None:
    upstream.script(json_reply(whole_reply("C", "t")))

    assert ask(every, "R", UPSTREAMS["C"], tools=[hosted, *beside], tool_choice="auto").text == "t"

    asked = read_asked(upstream.seen[0].json())
    assert (list(asked.tools), asked.choice) == ([tool["name"] for tool in beside], "auto" if beside else None)


def test_an_empty_list_of_servers_asks_for_nothing(every: Client, upstream: FakeUpstream) -> None:
    """The Anthropic SDK's beta helpers send `mcp_servers: []`."""
    for to in UPSTREAMS:
        upstream.script(json_reply(whole_reply(to, "t")))
        assert ask(every, "A", UPSTREAMS[to], mcp_servers=[]).text == "t"


@every_upstream
def test_instructions_beside_messages_are_the_first_to_be_said(every: Client, upstream: FakeUpstream, to: str) -> None:
    upstream.script(json_reply(whole_reply(to, "t")))

    assert ask(every, "C", UPSTREAMS[to], instructions="s").text == "t"

    assert read_asked(upstream.seen[0].json()).says("system: s", "user: hi")


@every_upstream
def test_a_limit_of_minus_one_is_none(every: Client, upstream: FakeUpstream, to: str) -> None:
    """langchain-ai/langchain's `max_tokens=-1`."""
    upstream.script(json_reply(whole_reply(to, "t")))

    assert ask(every, "R", UPSTREAMS[to], max_output_tokens=-1).text == "t"

    assert read_asked(upstream.seen[0].json()).limit != -1


def test_a_chosen_server_is_the_only_one_left_where_it_has_no_name(every: Client, upstream: FakeUpstream) -> None:
    """The Messages dialect forces a tool by its name, and the tools of a server are not known beforehand."""
    choice = {"type": "mcp", "server_label": "s"}

    ask(every, "R", "messages/claude-sonnet-4-5", tools=[HOSTED[-1], FUNCTION], tool_choice=choice)

    asked = upstream.seen[0].json()
    assert [tool.get("type") for tool in asked["tools"]] == ["mcp_toolset"]
    assert asked["tool_choice"] == {"type": "any"}
