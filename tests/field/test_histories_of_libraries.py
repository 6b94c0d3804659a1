"""Histories as libraries keep them: ids of their own making, arguments that were cut short, thoughts without a word."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

import json
from typing import Any

import pytest

from app.conversation.capabilities import Capabilities
from app.dialects import anthropic_messages, openai_responses
from app.errors import InvalidRequest
from app.providers.profiles import capabilities_for
from tests.field.pairs import ask, whole_reply
from tests.field.translating import RESPONSES, send
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

VENDOR: Capabilities = capabilities_for("openai_responses", "https://api.openai.com/v1", "gpt-5-mini")
THOUGHT = {"type": "reasoning", "id": "reasoning_content", "summary": [{"type": "summary_text", "text": "hm"}]}
SAID = {"type": "message", "role": "assistant", "id": "chatcmpl-1", "status": "completed",
        "content": [{"type": "output_text", "text": "a", "annotations": []}]}  # fmt: skip
CALL = {"type": "function_call", "id": "call_9", "call_id": "c", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "r"}


@pytest.mark.parametrize("items", [[THOUGHT, SAID], [SAID], [CALL, RESULT], [THOUGHT, CALL, RESULT]])
def test_ids_that_the_vendor_never_made_do_not_reach_it(items: list[Any]) -> None:
    """pydantic/pydantic-ai#8020."""
    body = {"model": "m", "input": [{"role": "user", "content": "q"}, *items, {"role": "user", "content": "go"}]}

    assert openai_responses.pass_request(json.dumps(body).encode(), VENDOR) is None
    sent, _ = send(RESPONSES, body, VENDOR)

    kinds = {"message": "msg_", "function_call": "fc_", "reasoning": "rs_"}
    assert all(each["id"].startswith(kinds[each["type"]]) for each in sent["input"] if each.get("id"))
    assert [each["type"] for each in sent["input"]].count("reasoning") == 0


def test_the_vendor_s_own_ids_pass() -> None:
    items = [
        {**THOUGHT, "id": "rs_1", "encrypted_content": "e"},
        {**SAID, "id": "msg_1"},
        {**CALL, "id": "fc_1"},
        RESULT,
    ]
    body = {"model": "gpt-5-mini", "input": [{"role": "user", "content": "q"}, *items]}

    assert openai_responses.pass_request(json.dumps(body).encode(), VENDOR) is not None


@pytest.mark.parametrize("arguments", ['{"x": "so fa', '{"x": 1', "nothing", '"{"'])
def test_arguments_that_were_cut_short_are_json_again(every: Client, upstream: FakeUpstream, arguments: str) -> None:
    """explyt/explyt#23."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "r"},
    ]
    upstream.script(json_reply(whole_reply("C", "t")))

    assert ask(every, "C", "chat/m", messages=turns).text == "t"

    sent = upstream.seen[0].json()["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert isinstance(json.loads(sent), dict)


@pytest.mark.parametrize("arguments", ['{"x": 1}', ' {"x": {"y": 2}} ', "", '{"x": 1}\n'])
def test_sound_arguments_pass_as_they_are(every: Client, upstream: FakeUpstream, arguments: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "r"},
    ]
    upstream.script(json_reply(whole_reply("C", "t")))

    ask(every, "C", "chat/m", messages=turns)

    assert upstream.seen[0].json()["messages"] == turns


@pytest.mark.parametrize(
    "message",
    [
        "messages.1.content.0.thinking: each thinking block must contain thinking",
        "messages.1.content.0.thinking: each thinking block must contain non-whitespace thinking",
        "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`.",
    ],
)
def test_a_thought_without_a_word_is_left_out_where_it_is_refused(
    every: Client, upstream: FakeUpstream, message: str
) -> None:
    """github/CopilotForXcode#703, github/CopilotForXcode#714, and how else the vendor says it."""
    refused = json_reply({"error": {"message": message, "code": "invalid_request_body"}}, 400)
    upstream.script(refused, json_reply(whole_reply("A", "t")))
    thought = {"type": "thinking", "thinking": "", "signature": "s"}
    answered = {"role": "assistant", "content": [thought, {"type": "text", "text": "a"}]}

    told = ask(every, "A", "messages/claude-sonnet-4-5",
               messages=[{"role": "user", "content": "q"}, answered, {"role": "user", "content": "go"}])  # fmt: skip

    assert (told.text, "thinking" in upstream.seen[1].body.decode()) == ("t", False)


@pytest.mark.parametrize(
    "message",
    [
        "`cache_control.ttl: 1h` is not supported",
        "messages.0.content.0.cache_control.ephemeral.ttl: Extra inputs are not permitted",
        "Unknown field: cache_control.ttl",
    ],
)
def test_a_field_is_left_out_whichever_part_of_its_path_is_told(
    every: Client, upstream: FakeUpstream, message: str
) -> None:
    """BerriAI/litellm#38790, horselock/claude-code-proxy#14."""
    refused = json_reply({"type": "error", "error": {"type": "invalid_request_error", "message": message}}, 400)
    upstream.script(refused, json_reply(whole_reply("A", "t")))
    said = {"type": "text", "text": "q", "cache_control": {"type": "ephemeral", "ttl": "1h"}}

    told = ask(every, "A", "messages/m", messages=[{"role": "user", "content": [said]}])

    assert (told.text, '"ttl"' in upstream.seen[1].body.decode()) == ("t", False)


def test_settings_for_a_library_are_left_out_where_they_are_refused(every: Client, upstream: FakeUpstream) -> None:
    """OpenHands/OpenHands#11718, OpenHands/OpenHands-CLI#83."""
    for dialect, to, name, error in (
        ("A", "messages/m", "extra_body", {"type": "error", "error": {"type": "invalid_request_error", "message": "extra_body: Extra inputs are not permitted"}}),
        ("C", "chat/m", "metadata", {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "metadata"], "msg": "Extra inputs are not permitted", "input": {"tags": ["a"]}}]}, "type": "invalid_request_error"}),
    ):  # fmt: skip
        upstream.seen.clear()
        upstream.script(json_reply(error, 422 if dialect == "C" else 400), json_reply(whole_reply(dialect, "t")))

        told = ask(every, dialect, to, **{name: {"tags": ["a"]}})

        assert (told.text, name in upstream.seen[1].json()) == ("t", False)


def test_a_patch_that_failed_says_so_once(every: Client, upstream: FakeUpstream) -> None:
    patch = {"type": "apply_patch_call", "call_id": "c", "status": "completed",
             "operation": {"type": "delete_file", "path": "p"}}  # fmt: skip
    failed = {"type": "apply_patch_call_output", "call_id": "c", "status": "failed", "output": "no such file"}
    items = [{"role": "user", "content": "q"}, patch, failed, {"role": "tool", "tool_call_id": "gone", "content": "r"}]

    for to, marked in (("R", False), ("C", True)):
        upstream.seen.clear()
        upstream.script(json_reply(whole_reply(to, "t")))
        ask(every, "R", {"R": "responses/m", "C": "chat/m"}[to], input=items, tools=[{"type": "apply_patch"}])

        sent = upstream.seen[0].body.decode()
        assert ("no such file" in sent, "[tool error]" in sent, '"status":"failed"' in sent) == (
            True,
            marked,
            not marked,
        )


FUNCTION = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def turns_of_chat(calls: Any, result: Any) -> list[Any]:
    called = {"role": "assistant", "content": "a", "tool_calls": calls}
    return [{"role": "user", "content": "q"}, called, {"role": "tool", "tool_call_id": "c", "content": result}]


@pytest.mark.parametrize(("dialect", "field"), [(openai_responses, "input"), (anthropic_messages, "messages")])
@pytest.mark.parametrize("odd", [None, {}, 5, "x", {"id": "d", "type": "function"}])
def test_a_call_of_chat_that_nobody_can_read_is_named_on_other_paths(dialect: Any, field: str, odd: Any) -> None:
    body = {"model": "m", "max_tokens": 9, field: turns_of_chat([FUNCTION, odd], "r")}

    with pytest.raises(InvalidRequest, match=rf"{field}\[1\].tool_calls\[1\]"):
        dialect.parse_request(json.dumps(body).encode(), {})


@pytest.mark.parametrize(("dialect", "field"), [(openai_responses, "input"), (anthropic_messages, "messages")])
def test_calls_of_chat_and_what_stands_beside_their_results_arrive_on_other_paths(dialect: Any, field: str) -> None:
    custom = {"id": "d", "type": "custom", "custom": {"name": "g", "input": "i"}}
    result = [{"type": "tool_result", "tool_use_id": "c", "content": "r"}, {"type": "text", "text": "and this"}]
    told = []
    for calls in (FUNCTION, [FUNCTION, custom]):
        body = {"model": "m", "max_tokens": 9, field: turns_of_chat(calls, result)}
        request = dialect.parse_request(json.dumps(body).encode(), {})
        blocks = [block for turn in request.turns for block in turn.blocks]
        told.append([getattr(block, "name", None) or getattr(block, "text", None) for block in blocks])

    assert told == [["q", "a", "f", None, "and this"], ["q", "a", "f", "g", None, "and this"]]
