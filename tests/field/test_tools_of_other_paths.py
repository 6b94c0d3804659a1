"""Tools of one vendor that clients declare on the path of another, and what servers say that know functions alone."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.asking import UPSTREAMS, every_client
from tests.field.pairs import ask, whole_reply
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

SERVER = {"type": "mcp", "server_label": "docs", "server_url": "https://m.test/mcp", "authorization": "tok",
          "require_approval": "never", "allowed_tools": ["look"]}  # fmt: skip
SEARCH = {"type": "web_search", "filters": {"allowed_domains": ["a.test"]}}


def asked(every: Client, upstream: FakeUpstream, dialect: str, model: str, **more: Any) -> Any:
    upstream.seen.clear()
    upstream.script(json_reply(whole_reply(dialect_of(model), "t")))
    told = ask(every, dialect, model, **more)
    assert told.text == "t", told
    return upstream.seen[0].json()


def dialect_of(model: str) -> str:
    return {"messages": "A", "chat": "C"}.get(model.partition("/")[0], "R")


@every_client
def test_a_search_of_responses_is_one_on_every_path(every: Client, upstream: FakeUpstream, dialect: str) -> None:
    """RayBytes/ChatMock#34, AIProxyTeam/AIProxySwift#166: its limits go with it."""
    to_messages = asked(every, upstream, dialect, "messages/claude-sonnet-4-5", tools=[SEARCH])
    to_responses = asked(every, upstream, dialect, "responses/m", tools=[SEARCH])

    assert to_messages["tools"] == [
        {"type": "web_search_20260318", "name": "web_search", "allowed_domains": ["a.test"]}
    ]
    assert to_responses["tools"] == [SEARCH]


@every_client
def test_a_server_of_mcp_is_one_on_every_path(every: Client, upstream: FakeUpstream, dialect: str) -> None:
    to_messages = asked(every, upstream, dialect, "messages/claude-sonnet-4-5", tools=[SERVER])
    to_responses = asked(every, upstream, dialect, "responses/m", tools=[SERVER])

    toolset = to_messages["tools"][0]
    assert to_messages["mcp_servers"][0]["url"] == "https://m.test/mcp"
    assert (toolset["default_config"], list(toolset["configs"])) == ({"enabled": False}, ["look"])
    assert to_responses["tools"] == [SERVER]


@pytest.mark.parametrize("kind", ["local_shell", "apply_patch", "shell"])
@pytest.mark.parametrize("dialect", ["A", "C"])
def test_a_tool_that_the_client_runs_is_a_function_for_others(
    every: Client, upstream: FakeUpstream, dialect: str, kind: str
) -> None:
    to = {"A": "chat/m", "C": "messages/m"}[dialect]

    tools = asked(every, upstream, dialect, to, tools=[{"type": kind}])["tools"]

    assert [(tool.get("function") or tool)["name"] for tool in tools] == [kind]
    assert asked(every, upstream, dialect, "responses/m", tools=[{"type": kind}])["tools"] == [{"type": kind}]


def test_a_server_s_own_tool_stays_its_own(every: Client, upstream: FakeUpstream) -> None:
    """MetaGLM's search says more below its type: it is none of the vendor of Responses."""
    tool = {"type": "web_search", "web_search": {"enable": True, "search_domain_filter": "a.test"}}

    assert asked(every, upstream, "C", "chat/m", tools=[tool])["tools"] == [tool]
    assert "tools" not in asked(every, upstream, "C", "responses/m", tools=[tool])


TOOLS: dict[str, list[dict[str, Any]]] = {
    "A": [{"type": "web_search_20250305", "name": "web_search"}, {"name": "f", "input_schema": {"type": "object"}}],
    "R": [
        {"type": "function", "name": "f", "parameters": {"type": "object"}},
        {"type": "web_search"},
        {"type": "custom", "name": "apply_patch", "description": "d"},
        {"type": "namespace", "name": "docs", "tools": [
            {"type": "function", "name": "find", "parameters": {"type": "object"}}]},
    ],
}  # fmt: skip

REFUSALS: dict[str, tuple[str, dict[str, Any]]] = {
    "CommandCodeAI/command-code#885": ("R", {"message": 'Only `type:"function"` tools are supported on this endpoint. Built-in tools (web_search, file_search, code_interpreter, computer_use, mcp) are not executed here.', "param": "tools.1.type", "type": "invalid_request_error"}),
    "a value of a type": ("R", {"message": "Invalid value: 'custom'. Supported values are: 'function'.", "param": "tools[2].type", "code": "invalid_value"}),
    "a type that is unknown": ("R", {"message": "Unsupported tool type: namespace", "type": "invalid_request_error"}),
    "a tag": ("A", {"message": "tools.0: Input tag 'web_search_20250305' found using 'type' does not match any of the expected tags: 'custom'", "type": "invalid_request_error"}),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_server_that_knows_functions_alone_gets_functions(every: Client, upstream: FakeUpstream, name: str) -> None:
    dialect, error = REFUSALS[name]
    refused = json_reply({"type": "error", "error": error}, 400)
    upstream.script(refused, json_reply(whole_reply(dialect, "t")))

    told = ask(every, dialect, UPSTREAMS[dialect], tools=TOOLS[dialect])

    names = [tool["name"] for tool in upstream.seen[1].json()["tools"]]
    assert (told.text, names) == ("t", ["f"] if dialect == "A" else ["f", "apply_patch", "docs__find"])
    assert {tool.get("type", "function") for tool in upstream.seen[1].json()["tools"]} == {"function"}


ITEMS: dict[str, tuple[str, dict[str, Any], str]] = {
    "ollama/ollama#18286": ('input[1]: unknown input item type: "agent_message"', {"type": "agent_message", "id": "a_1", "author": "/lead", "recipient": "/lead/c", "content": [{"type": "input_text", "text": "count them"}]}, "count them"),
    "diegosouzapw/OmniRoute#13698": ("input[1] did not match any supported type", {"type": "agent_message", "id": "a_1", "author": "/root", "content": [{"type": "input_text", "text": "count them"}]}, "count them"),
    "envoyproxy/ai-gateway#2442": ("malformed request: failed to parse JSON for /v1/responses: cannot unmarshal unknown input type: agent_reasoning", {"type": "agent_reasoning", "content": "it rains"}, "it rains"),
    "envoyproxy/ai-gateway#2586": ("malformed request: failed to parse JSON for /v1/responses: cannot unmarshal unknown input type: additional_tools", {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "exec", "parameters": {"type": "object"}}]}, '"exec"'),
    "mxyhi/token_proxy#307": ("Unsupported Responses API input item type: 'additional_tools' None", {"type": "additional_tools", "tools": [{"type": "function", "name": "exec", "parameters": {"type": "object"}}]}, '"exec"'),
    "CommandCodeAI/command-code#893": ("Unsupported input item type: tool_search_call", {"type": "tool_search_call", "call_id": "c", "execution": "client", "arguments": {"query": "rain"}, "status": "completed"}, "rain"),
}  # fmt: skip


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_that_a_server_does_not_know_is_said_otherwise(
    every: Client, upstream: FakeUpstream, name: str
) -> None:
    message, item, word = ITEMS[name]
    refused = json_reply({"error": {"message": message, "type": "invalid_request_error", "param": None}}, 400)
    upstream.script(refused, json_reply(whole_reply("R", "t")))

    told = ask(every, "R", "responses/m", input=[{"role": "user", "content": "q"}, item])

    body = upstream.seen[1].json()
    assert (told.text, word in json.dumps(body)) == ("t", True)
    assert item["type"] not in [each.get("type") for each in body["input"]]
    upstream.script(json_reply(whole_reply("R", "t")))  # it has learned
    assert ask(every, "R", "responses/m", input=[{"role": "user", "content": "q"}, item]).text == "t"


def test_a_field_of_a_tool_that_a_server_refuses_is_left_out(make_client: MakeClient, upstream: FakeUpstream) -> None:
    """anthropics/claude-code#63532."""
    message = "tools.0.custom.eager_input_streaming: Extra inputs are not permitted"
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    upstream.script(json_reply(error, 400), json_reply(whole_reply("A", "t")))
    tool = {"name": "f", "input_schema": {"type": "object"}, "eager_input_streaming": True}

    told = ask(make_client(), "A", "messages/m", tools=[tool])

    assert (told.text, "eager_input_streaming" in upstream.seen[1].body.decode()) == ("t", False)
