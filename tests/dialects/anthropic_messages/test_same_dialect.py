"""What changes in a request between a client and a server that both speak Anthropic Messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from app.conversation.blocks import Proof
from app.conversation.capabilities import Capabilities
from app.conversation.envelope import seal
from app.dialects import anthropic_messages
from tests.dialects.anthropic_messages.passing import VENDOR, served
from tests.support.same_dialect import send_on

OPUS = served("claude-opus-5-5")


OTHER = served("some-model", "https://llm.example")


DEEPSEEK = served("deepseek-v4", "https://api.deepseek.com/anthropic")


SIGNED = {"type": "thinking", "thinking": "x", "signature": "c2ln"}


REDACTED = {"type": "redacted_thinking", "data": "ZGF0YQ=="}


UNSIGNED = {"type": "thinking", "thinking": "x", "signature": ""}


SEAL = seal(Proof("openai_responses", "reasoning", (b"{}",)))


SEALED = {"type": "thinking", "thinking": "x", "signature": SEAL}


SEALED_REDACTED = {"type": "redacted_thinking", "data": SEAL}


TEXT = {"type": "text", "text": "y"}


CALL = {"type": "tool_use", "id": "a", "name": "f", "input": {}}


RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "ok"}]}


USER = {"role": "user", "content": "z"}


MANUAL = {"thinking": {"type": "enabled", "budget_tokens": 2048}}


def ask(*messages: Any, **fields: Any) -> bytes:
    return json.dumps(
        {"model": "m", "max_tokens": 8000, "messages": [{"role": "user", "content": "q"}, *messages], **fields}
    ).encode()


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def patch(body: bytes, capabilities: Capabilities = VENDOR) -> dict[str, Any]:
    """What the upstream gets, with the texts of messages and results as blocks."""
    patched: dict[str, Any] = json.loads(send_on(anthropic_messages, body, capabilities).body)
    for message in patched["messages"]:
        message["content"] = spread(message["content"])
    return patched


def spread(content: Any) -> Any:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [{**block, "content": spread(block["content"])} if block.get("content") else block for block in content]


@pytest.mark.parametrize(
    ("name", "capabilities"),
    [("agent-turn-of-claude-code", OPUS), ("signed-and-redacted-thinking", VENDOR), ("web-search-by-the-vendor", OPUS)],
)
def test_a_clean_body_passes_byte_by_byte(
    name: str, capabilities: Capabilities, read_wire: Callable[[str], bytes]
) -> None:
    body = read_wire(f"anthropic_messages/requests/{name}.json")

    assert send_on(anthropic_messages, body, capabilities).body == body


def test_only_the_name_of_the_model_changes(read_wire: Callable[[str], bytes]) -> None:
    body = read_wire("anthropic_messages/requests/agent-turn-of-claude-code.json")

    patched = send_on(anthropic_messages, body, msgspec.structs.replace(OPUS, model="real"))

    assert patched.body == body.replace(b'"claude-opus-5-5"', b'"real"', 1)


@pytest.mark.parametrize(
    "block", [UNSIGNED, {"type": "thinking", "thinking": "x"}, SEALED, SEALED_REDACTED, {**UNSIGNED, "signature": None}]
)
def test_reasoning_that_claude_did_not_sign_is_dropped(block: dict[str, Any]) -> None:
    patched = patch(ask(assistant(block, TEXT), {"role": "user", "content": "z"}))

    assert patched["messages"][1] == assistant(TEXT)


def test_a_message_that_held_nothing_else_goes_too() -> None:
    patched = patch(ask(assistant(UNSIGNED), {"role": "user", "content": "z"}))

    assert [message["role"] for message in patched["messages"]] == ["user", "user"]


def test_the_input_of_a_call_beside_a_dropped_block_keeps_its_bytes() -> None:
    kept = b'{"b":1.0,"a":1e-7,"u":"\\u00e9"}'
    call = b'{"type":"tool_use","id":"a","name":"f","input":' + kept + b"}"
    body = ask(assistant(UNSIGNED, "@"), RESULT).replace(b'"@"', call)

    assert kept in send_on(anthropic_messages, body, VENDOR).body


def test_signed_reasoning_stays_but_without_cache_hints() -> None:
    hint = {"cache_control": {"type": "ephemeral"}}

    patched = patch(ask(assistant({**SIGNED, **hint}, {**REDACTED, **hint}, {**TEXT, **hint}), USER))

    assert patched["messages"][1] == assistant(SIGNED, REDACTED, {**TEXT, **hint})


def test_all_reasoning_goes_where_no_proof_is_understood() -> None:
    patched = patch(ask(assistant(SIGNED, REDACTED, TEXT)), msgspec.structs.replace(VENDOR, proofs=()))

    assert patched["messages"][1] == assistant(TEXT)


def test_manual_thinking_stops_when_the_turn_in_progress_has_lost_its_own() -> None:
    rendered = send_on(anthropic_messages, ask(assistant(UNSIGNED, CALL), RESULT, **MANUAL), VENDOR)

    assert "thinking" not in json.loads(rendered.body)
    assert ("degrading", "thinking") in [(loss.severity, loss.path) for loss in rendered.losses]


@pytest.mark.parametrize(
    ("body", "capabilities"),
    [
        (ask(assistant(SIGNED, CALL), RESULT, **MANUAL), VENDOR),
        (ask(assistant(TEXT), USER, **MANUAL), VENDOR),
        (ask(assistant(TEXT, CALL), RESULT, thinking={"type": "adaptive"}), OPUS),
    ],
    ids=["led by thinking", "no tools", "adaptive"],
)
def test_thinking_goes_on_where_the_history_allows_it(body: bytes, capabilities: Capabilities) -> None:
    assert send_on(anthropic_messages, body, capabilities).body == body


def test_empty_texts_are_dropped_from_tool_results_and_the_system_text() -> None:
    empty = {"type": "text", "text": ""}
    result = {"type": "tool_result", "tool_use_id": "a", "content": [empty, TEXT]}
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {"text": ""}}
    turns = (assistant(call), {"role": "user", "content": [result]})

    patched = patch(ask(*turns, system=[empty, TEXT]))

    assert patched["system"] == [TEXT]
    assert patched["messages"][1:] == [assistant(call), {"role": "user", "content": [{**result, "content": [TEXT]}]}]
    assert patch(ask(system=[empty])).get("system") in (None, [])


def test_a_result_that_is_an_empty_string_stays() -> None:
    result = {"type": "tool_result", "tool_use_id": "a", "content": ""}
    body = ask(
        assistant({"type": "tool_use", "id": "a", "name": "f", "input": {}}), {"role": "user", "content": [result]}
    )

    assert send_on(anthropic_messages, body, VENDOR).body == body


def test_empty_texts_are_dropped_from_any_turn() -> None:
    empty = {"type": "text", "text": ""}

    patched = patch(ask(assistant(empty, TEXT), {"role": "user", "content": [empty, TEXT]}))

    assert patched["messages"][1:] == [assistant(TEXT), {"role": "user", "content": [TEXT]}]


BILLING = "x-anthropic-billing-header: cc_version=2; cch=00a1;"


@pytest.mark.parametrize(
    ("system", "kept"),
    [
        ([{"type": "text", "text": BILLING}, TEXT], [TEXT]),
        ([{"type": "text", "text": BILLING}], None),
        (BILLING + "\n\nBe brief.", "Be brief."),
        (BILLING, None),
        ([{"type": "text", "text": "about " + BILLING}], [{"type": "text", "text": "about " + BILLING}]),
    ],
)
def test_the_billing_line_is_for_the_vendor_alone(system: Any, kept: Any) -> None:
    left = patch(ask(system=system), OTHER).get("system")
    assert left == (spread(kept) if kept else kept)
    assert patch(ask(system=system), VENDOR)["system"] == system


def test_a_user_may_write_about_the_billing_line() -> None:
    body = ask({"role": "user", "content": BILLING})

    assert send_on(anthropic_messages, body, OTHER).body == body


def test_servers_that_demand_reasoning_get_what_there_is() -> None:
    patched = patch(
        ask(assistant(UNSIGNED, CALL), RESULT, assistant(SEALED, CALL), RESULT, assistant(CALL), RESULT), DEEPSEEK
    )

    assert [message["content"][0] for message in patched["messages"][1::2]] == [
        {"type": "thinking", "thinking": "x"},
        {"type": "thinking", "thinking": "x"},
        {"type": "thinking", "thinking": ""},
    ]


def test_half_a_surrogate_pair_does_not_cost_the_request() -> None:
    body = ask({"role": "user", "content": "cut \ud83d"}, {"role": "user", "content": "whole \U0001f600"})

    patched = send_on(anthropic_messages, body, VENDOR).body

    said = [message["content"] for message in json.loads(patched)["messages"]]
    assert said == ["q", "cut \ufffd", "whole \U0001f600"]


def test_a_thread_is_refused_where_nobody_holds_it() -> None:
    body = ask(thread={"type": "create"})

    sent = send_on(anthropic_messages, body, OTHER)

    assert "thread" not in json.loads(sent.body)
    assert [(loss.severity, loss.path) for loss in sent.losses] == [("wrong", "thread")]
    assert send_on(anthropic_messages, body, VENDOR).body == body


def test_a_limit_above_the_models_own_is_lowered() -> None:
    rendered = send_on(anthropic_messages, ask(), msgspec.structs.replace(VENDOR, max_output=4000))

    assert json.loads(rendered.body)["max_tokens"] == 4000
    assert [(loss.severity, loss.path) for loss in rendered.losses] == [("degrading", "max_tokens")]


def test_what_the_configuration_refuses_or_adds_is_done() -> None:
    odd = msgspec.structs.replace(VENDOR, refused_fields=("metadata",), extra_body={"speed": "fast"})

    patched = patch(ask(metadata={"user_id": "u"}), odd)

    assert "metadata" not in patched
    assert patched["speed"] == "fast"


@pytest.mark.parametrize(
    "body", [b'{"model":"m","messages":[{"role":"user","content":{}}]}', b'{"model":"m","messages":5}']
)
def test_what_the_gateway_does_not_understand_is_left_to_the_upstream(body: bytes) -> None:
    assert send_on(anthropic_messages, body, OTHER).body == body
