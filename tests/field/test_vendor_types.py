"""Fields as the vendors' own types have them: openai 3.57 and anthropic 2.15, walked field by field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.conversation.blocks import DialectName
from app.dialects.registry import DIALECTS
from app.errors import InvalidRequest
from app.providers.profiles import capabilities_for
from tests.field.asking import both_modes
from tests.field.translating import CHAT, MESSAGES, RESPONSES, answer, send, upstream
from tests.support.same_dialect import send_on

OPENAI = "https://api.openai.com/v1"
HI = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
DESCRIBED = {"name": "city", "description": "where it is", "schema": SCHEMA}
SEARCH = {"type": "web_search", "user_location": {"city": "Oslo"}}
FREE = {"type": "custom", "name": "f", "allowed_callers": ["programmatic"], "async": True}
CACHED = {"mode": "explicit", "ttl": "12h", "prewarm": True}

# The client, its fields, the upstream; a place in what it is asked, and the value there.
ASKED: list[tuple[DialectName, dict[str, Any], DialectName, tuple[Any, ...], Any]] = [
    (RESPONSES, {"tools": [SEARCH]}, MESSAGES, ("tools", 0, "user_location"), {"type": "approximate", "city": "Oslo"}),
    (RESPONSES, {"prompt_cache_options": CACHED}, CHAT, ("prompt_cache_options",), {"mode": "explicit"}),
    (RESPONSES, {"tools": [FREE]}, RESPONSES, ("tools", 0), FREE),
    (RESPONSES, {"service_tier": "ultrafast"}, CHAT, ("service_tier",), "fast"),
    (
        CHAT,
        {"response_format": {"type": "json_schema", "json_schema": DESCRIBED}},
        MESSAGES,
        ("output_config", "format", "schema", "description"),
        "where it is",
    ),
]


@pytest.mark.parametrize(("client", "fields", "to", "place", "value"), ASKED)
def test_a_field_reaches_an_upstream_in_the_words_of_its_types(
    client: DialectName, fields: dict[str, Any], to: DialectName, place: tuple[Any, ...], value: Any
) -> None:
    said = {"input": "hi"} if client == RESPONSES else {"messages": [HI]}
    model = "claude-sonnet-4-6" if to == MESSAGES else "gpt-5.6-sol"
    asked: Any = send(client, said | fields, capabilities_for(to, "" if to == MESSAGES else OPENAI, model))[0]
    for name in place:
        asked = asked[name]
    assert asked == value


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
@pytest.mark.parametrize("to", [MESSAGES, RESPONSES])
def test_a_name_of_a_message_is_not_lost_in_silence(role: str, to: DialectName) -> None:
    said = [{"role": role, "name": "bob", "content": "hi"}, HI]
    losses = send(CHAT, {"messages": said}, upstream(to))[1]
    assert [(loss.path.removesuffix(".name"), loss.severity) for loss in losses] == [("messages[0]", "ignorable")]


COMPACT = {"type": "compact_20260112", "instructions": "briefly", "pause_after_compaction": True}
FOUND = {"type": "search_result", "title": "T", "source": "s", "content": [{"type": "text", "text": "x"}]}
LOST: list[tuple[dict[str, Any], set[str]]] = [
    ({"context_management": {"edits": [COMPACT]}}, {"context_management." + name for name in [*COMPACT][1:]}),
    ({"messages": [{"role": "user", "content": [{**FOUND, "citations": {"enabled": True}}]}]}, {"messages[0]"}),
    ({"messages": [{"role": "user", "content": [{**FOUND, "citations": {"enabled": False}}]}]}, set()),
]


@pytest.mark.parametrize(("fields", "reported"), LOST)
def test_options_that_responses_lacks_are_reported(fields: dict[str, Any], reported: set[str]) -> None:
    losses = send(MESSAGES, {"messages": [HI]} | fields, capabilities_for(RESPONSES, OPENAI, "gpt-5.6-sol"))[1]
    assert {loss.path for loss in losses if loss.severity == "degrading"} == reported


@pytest.mark.parametrize("kind", [[], {}, ["text"], 5, True])
def test_a_part_whose_type_is_no_word_is_refused(kind: Any) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": [{"type": kind, "text": "hi"}]}]}
    with pytest.raises(InvalidRequest):
        send_on(DIALECTS[CHAT], json.dumps(body).encode(), upstream(CHAT, "openai"))


@pytest.mark.parametrize("to", [MESSAGES, CHAT])
def test_a_tools_description_that_is_no_text_breaks_nothing(to: DialectName) -> None:
    tool = {"type": "custom", "custom": {"name": "f", "description": 5}}
    assert len(send(CHAT, {"messages": [HI], "tools": [tool]}, upstream(to))[0]["tools"]) == 1


# --- replies ---

HEAD: dict[DialectName, dict[str, Any]] = {
    MESSAGES: {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": "end_turn",
        "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    CHAT: {"id": "x", "object": "chat.completion", "created": 1, "model": "m"},
    RESPONSES: {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "created_at": 1},
}  # fmt: skip
SAID: dict[DialectName, dict[str, Any]] = {
    MESSAGES: {"content": [{"type": "text", "text": "hi"}]},
    CHAT: {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]},
    RESPONSES: {
        "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": "hi", "annotations": []}]}]
    },
}  # fmt: skip


def reply(client: DialectName, of: DialectName, stream: bool, **fields: Any) -> dict[str, Any]:
    said = {"input": "hi"} if client == RESPONSES else {"messages": [HI]}
    return answer(client, said, upstream(of), HEAD[of] | SAID[of] | fields, stream=stream)


BARE = {"token": "é", "logprob": -0.5}
OTHER = {"token": "ho", "logprob": -2.0}
FILLED = {"bytes": [104, 111], **OTHER}
# The alternatives that a server lists, and those that its client is told.
LISTED: list[tuple[Any, list[Any]]] = [
    (None, []), (5, []), ([OTHER, 5, {"token": "x"}], [FILLED]), ([{**OTHER, "bytes": None}], [FILLED])
]  # fmt: skip


@pytest.mark.parametrize(("listed", "told"), LISTED)
@pytest.mark.parametrize("client", [CHAT, RESPONSES])
@both_modes
def test_log_probabilities_have_the_lists_that_the_types_demand(
    client: DialectName, listed: Any, told: list[Any], stream: bool
) -> None:
    choice = {**SAID[CHAT]["choices"][0], "logprobs": {"content": [{**BARE, "top_logprobs": listed}], "refusal": None}}
    part = {**SAID[RESPONSES]["output"][0]["content"][0], "logprobs": [{**BARE, "top_logprobs": listed}]}
    item = {**SAID[RESPONSES]["output"][0], "content": [part]}
    for of, fields in ((CHAT, {"choices": [choice]}), (RESPONSES, {"output": [item]})):
        body: Any = reply(client, of, stream, **fields)
        holder = body["output"][0]["content"][0] if client == RESPONSES else body["choices"][0]["logprobs"]
        entries = holder["logprobs" if client == RESPONSES else "content"]
        assert entries == [{**BARE, "top_logprobs": told, "bytes": [195, 169]}]


@both_modes
def test_a_failed_step_has_the_error_of_the_type_and_comes_back_as_it_was(stream: bool) -> None:
    failed = {"type": "tool_search_tool_result_error", "error_code": "unavailable", "error_message": None}
    content = [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "tool_search_tool_regex", "input": {"pattern": "x"}},
        {"type": "tool_search_tool_result", "tool_use_id": "srvtoolu_1", "content": failed},
        {"type": "text", "text": "hi"},
    ]
    item = reply(RESPONSES, MESSAGES, stream, content=content)["output"][0]
    assert item["error"] == {"type": "mcp_tool_execution_error", "content": "unavailable"}
    told = answer(CHAT, {"messages": [HI]}, upstream(RESPONSES), _with_item(item), stream=False)
    assert "unavailable" in json.dumps(told)
    assert "mcp_tool_execution_error" not in json.dumps(told)


def _with_item(item: dict[str, Any]) -> dict[str, Any]:
    return HEAD[RESPONSES] | {"output": [item, *SAID[RESPONSES]["output"]]}


@both_modes
def test_what_two_dialects_call_alike_is_not_mistaken(stream: bool) -> None:
    removed = [{"id": "rs_1", "type": "reasoning", "action": "removed", "reason": "model_mismatch"}]
    assert "input_transformations" not in reply(MESSAGES, RESPONSES, stream, input_transformations=removed)
    assert reply(RESPONSES, RESPONSES, stream, input_transformations=removed)["input_transformations"] == removed


@pytest.mark.parametrize("tier", ["auto", "default", "flex", "fast", "ultrafast", "priority", "scale"])
@both_modes
def test_tiers_are_reported_in_words_of_messages(tier: str, stream: bool) -> None:
    usage = reply(MESSAGES, RESPONSES, stream, service_tier=tier)["usage"]
    assert usage["service_tier"] in ("standard", "priority")


OWN = {"caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}, "toolset_name": "desk"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}, **OWN}
PICTURE = {
    "type": "image",
    "source": {"type": "url", "url": "https://x.example/a.png"},
    "transformations": {"oversized_image": "error"},
}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "done", "toolset_name": "desk"}


def test_a_blocks_own_fields_stay_when_a_request_of_their_dialect_is_rewritten() -> None:
    said = [{"role": "user", "content": [PICTURE]}, {"role": "assistant", "content": [CALL]}]
    asked = send(MESSAGES, {"messages": [*said, {"role": "user", "content": [RESULT]}]}, upstream(MESSAGES))[0]
    assert [turn["content"] for turn in asked["messages"]] == [[PICTURE], [CALL], [RESULT]]


@pytest.mark.parametrize("to", [CHAT, RESPONSES])
def test_a_blocks_own_fields_reach_no_other_dialect(to: DialectName) -> None:
    said = [HI, {"role": "assistant", "content": [CALL]}, {"role": "user", "content": [RESULT]}]
    asked, losses = send(MESSAGES, {"messages": said}, upstream(to))
    assert not any(name in json.dumps(asked) for name in OWN)
    assert {loss.path.rpartition(".")[2] for loss in losses} >= set(OWN)


@both_modes
def test_a_calls_own_fields_reach_a_client_of_their_dialect(stream: bool) -> None:
    assert reply(MESSAGES, MESSAGES, stream, content=[CALL], stop_reason="tool_use")["content"] == [CALL]
