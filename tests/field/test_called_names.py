"""Names of tools as models write them instead of as they were declared.

lijunzh/koda#49, Tencent/AI-Infra-Guard#360, XiaomiMiMo/MiMo-Code#2343: the case and the dashes; Kimi and Gemini put
what their own templates have around a name.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.field.asking import both_modes, tool
from tests.field.pairs import ask, chat_events, chat_reply, delta
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

WRITTEN = {
    "Read_File": "Read_File",
    "read_file": "Read_File",
    "READ-FILE": "Read_File",
    "ReadFile": "Read_File",
    " Read_File\n": "Read_File",
    "functions.Read_File:0": "Read_File",
    "functions.read_file": "Read_File",
    "default_api.Read_File": "Read_File",
    "default_api:Read_File": "Read_File",
    "Read_File:12": "Read_File",
    "grep": "grep",
    "Grep": "Grep",
    "GREP": "GREP",
    "Write": "Write",
    "mcp__a__b": "mcp__a__b",
    "list_dir": "mcp__files__list_dir",
    "ListDir": "mcp__files__list_dir",
    "open": "open",
    "f" * 300: "f" * 300,
}


def declared(dialect: str) -> list[dict[str, Any]]:
    names = ("Read_File", "grep", "Grep", "mcp__files__list_dir", "mcp__a__open", "mcp__b__open")
    return [tool(dialect, name) for name in names]


@pytest.mark.parametrize("dialect", ["A", "R"])
@both_modes
def test_a_tool_is_found_by_what_a_model_calls_it(
    client: Client, upstream: FakeUpstream, dialect: str, stream: bool
) -> None:
    """Where two are alike, and where none is, the name stays: the client tells its model."""
    for written, meant in WRITTEN.items():
        call = {"id": "c1", "type": "function", "function": {"name": written, "arguments": '{"x":1}'}}
        events = chat_events(delta({"tool_calls": [{"index": 0, **call}]}), delta({}, "tool_calls"), "[DONE]")
        upstream.script(events if stream else json_reply(chat_reply({"content": None, "tool_calls": [call]})))

        assert ask(client, dialect, "chat/m", stream=stream, tools=declared(dialect)).calls == [(meant, {"x": 1})]
