"""Properties of tools whose names an upstream refuses.

freee/freee-mcp#15, twilio-labs/mcp#42, anthropics/claude-code#34771, anthropics/claude-code#79418, decocms/studio#6874,
erikmaday/unusual-whales-mcp#57: one tool of an MCP server, and no request of the session goes through any more.
"""

from __future__ import annotations

import pytest

from app.adaptation.tools.property_names import legalize, rename_properties
from tests.field.asking import UPSTREAMS, both_modes, called, every_client, saying, tool
from tests.field.pairs import ask, whole_reply
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

SCHEMA = {
    "type": "object",
    "properties": {"$.xgafv": {"type": "string"}, "rule[]": {"type": "array", "items": {"type": "string"}}, "a.b": {}},
    "required": ["$.xgafv"],
}
GIVEN = {"$.xgafv": "1", "rule[]": ["x"], "a.b": 2}
WORDS = "tools.0.custom.input_schema.properties: Property keys should match pattern '^[a-zA-Z0-9_.-]{1,64}$'"
REFUSAL = {"type": "error", "error": {"type": "invalid_request_error", "message": WORDS}}
THERE = {"_.xgafv": "1", "rule__": ["x"], "a.b": 2}


@every_client
@both_modes
def test_a_property_has_a_legal_name_there_and_its_own_here(
    every: Client, upstream: FakeUpstream, dialect: str, stream: bool
) -> None:
    call = {"type": "tool_use", "id": "c2", "name": "f", "input": THERE}
    answer = {**whole_reply("A", ""), "content": [call], "stop_reason": "tool_use"}
    upstream.script(json_reply(REFUSAL, 400), json_reply(answer))  # other servers of the dialect take any name

    told = ask(
        every,
        dialect,
        "messages/claude-x",
        stream=stream,
        tools=[tool(dialect, schema=SCHEMA)],
        **saying(dialect, called(dialect, GIVEN)),
    )

    assert told.calls == [("f", GIVEN)]
    body = upstream.seen[-1].json()
    assert list(body["tools"][0]["input_schema"]["properties"]) == list(THERE)
    assert body["tools"][0]["input_schema"]["required"] == ["_.xgafv"]
    assert body["messages"][1]["content"][0]["input"] == THERE


@pytest.mark.parametrize("to", ["C", "R"])
@every_client
def test_upstreams_that_take_any_name_get_it(every: Client, upstream: FakeUpstream, dialect: str, to: str) -> None:
    upstream.script(json_reply(whole_reply(to, "t")))
    ask(every, dialect, UPSTREAMS[to], tools=[tool(dialect, schema=SCHEMA)], **saying(dialect, called(dialect, GIVEN)))

    assert "$.xgafv" in upstream.seen[0].body.decode()


def test_names_that_become_alike_stay_apart() -> None:
    schema = {"type": "object", "properties": {"a_": {}, "a[": {}, "a]": {}, "ä" * 70: {}, "é" * 70: {}}}

    changed, meant = legalize(schema)

    assert len(changed["properties"]) == 5
    assert sorted(meant.values()) == sorted(name for name in schema["properties"] if name != "a_")
    assert all(len(name) <= 64 for name in changed["properties"])


def test_arguments_that_are_no_object_stay_as_they_are() -> None:
    assert rename_properties('{"a": ', {"a": "b"}) == '{"a": '
    assert rename_properties("[1]", {"a": "b"}) == "[1]"
    assert (
        rename_properties('{"n": 12345678901234567890, "a": 1.0}', {"a": "b"}) == '{"n":12345678901234567890,"b":1.0}'
    )
