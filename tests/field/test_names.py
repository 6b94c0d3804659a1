"""Names of tools: unique and legal after all of them have names, and turned back.

Sources: openai/codex#26234, #33263 (names that meet), hebo-ai/gateway and LiteLLM (names beside hosted tools).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.conversation.blocks import DialectName
from tests.field.translating import CHAT, MESSAGES, RESPONSES, answer, send, upstream

FUNCTION_NAMES = (
    "web_search",
    "bash",
    "shell",
    "local_shell",
    "f",
    "a.b",
    "a_b",
    "x" * 90,
    "ns__f",
    "tool search",
    "é",
)
HOSTED = ({"type": "web_search"}, {"type": "local_shell"}, {"type": "shell"}, {"type": "apply_patch"})


def declared(functions: list[str], hosted: list[dict[str, Any]], space: list[str]) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = [*hosted, *({"type": "function", "name": name} for name in functions)]
    if space:
        inner = [{"type": "function", "name": name} for name in space]
        tools.append({"type": "namespace", "name": "ns", "description": "d", "tools": inner})
    return tools


@settings(max_examples=200, deadline=None)
@given(
    functions=st.lists(st.sampled_from(FUNCTION_NAMES), unique=True),
    hosted=st.lists(st.sampled_from(HOSTED), unique_by=lambda tool: tool["type"]),
    space=st.lists(st.sampled_from(FUNCTION_NAMES), unique=True),
    to=st.sampled_from([CHAT, MESSAGES]),
)
def test_no_two_tools_have_one_name_and_every_call_finds_its_tool(
    functions: list[str], hosted: list[dict[str, Any]], space: list[str], to: DialectName
) -> None:
    body = {"input": [{"role": "user", "content": "q"}], "tools": declared(functions, hosted, space)}

    asked, _ = send(RESPONSES, body, upstream(to))

    sent = [(tool.get("function") or tool)["name"] for tool in asked.get("tools", [])]
    assert len(sent) == len(set(sent))
    assert all(name.replace("_", "").replace("-", "").isascii() and len(name) <= 128 for name in sent)
    found = [called(body, name, to) for name in sent if not is_hosted(asked, name)]
    wanted = {("function_call", name, None) for name in functions} | {("function_call", name, "ns") for name in space}
    wanted |= {(f"{tool['type']}_call", None, None) for tool in hosted if tool["type"] != "web_search"}
    assert sorted(map(str, found)) == sorted(map(str, wanted))


def is_hosted(asked: dict[str, Any], name: str) -> bool:
    return any(tool.get("name") == name and str(tool.get("type")).startswith("web_search_2") for tool in asked["tools"])


def called(body: dict[str, Any], name: str, to: DialectName) -> tuple[str, str | None, str | None]:
    function = {"name": name, "arguments": "{}"}
    choice = {"message": {"tool_calls": [{"id": "c", "type": "function", "function": function}]}}
    chat = {"id": "c", "choices": [{**choice, "finish_reason": "tool_calls"}]}
    block = {"type": "tool_use", "id": "c", "name": name, "input": {}}
    message = {"id": "m", "content": [block], "stop_reason": "tool_use"}
    item = answer(RESPONSES, body, upstream(to), chat if to == CHAT else message, stream=False)["output"][0]
    return item["type"], item.get("name"), item.get("namespace")


def test_a_function_and_a_predefined_tool_of_one_name_are_two() -> None:
    tools = [{"type": "bash_20250124", "name": "bash"}, {"name": "bash", "input_schema": {"type": "object"}}]

    asked, _ = send(MESSAGES, {"messages": [{"role": "user", "content": "q"}], "tools": tools}, upstream(CHAT))

    names = [tool["function"]["name"] for tool in asked["tools"]]
    assert names[0] == "bash"
    assert len(set(names)) == 2


@pytest.mark.parametrize("to", [CHAT, MESSAGES, RESPONSES])
def test_a_past_call_without_a_name_gets_one(to: DialectName) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "", "arguments": "{}"}}
    said = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "r"},
    ]

    asked, _ = send(CHAT, {"messages": said}, upstream(to))

    assert "unnamed_tool" in str(asked)
