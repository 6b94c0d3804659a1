"""Which requests pass byte by byte to a server of Responses, and which go through the conversation instead."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from app.dialects import openai_responses
from app.dialects.openai_responses.passing_request import pass_request
from app.providers.profiles import capabilities_for
from tests.support.same_dialect import send_on

VENDOR = capabilities_for("openai_responses", "https://api.openai.com/v1", "gpt-5.1")
# A server that knows neither the vendor's proofs nor its newer items.
STRANGER = capabilities_for("openai_responses", "http://127.0.0.1:8000/v1", "m", profile="vllm")

QUESTION = {"role": "user", "content": "q"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}]}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "o"}

TAKEN: dict[str, list[Any]] = {
    "a question": [QUESTION],
    "a call and its result": [QUESTION, CALL, RESULT],
    "results in another order": [CALL, {**CALL, "call_id": "d"}, {**RESULT, "call_id": "d"}, RESULT],
    "a thought before its call": [QUESTION, THOUGHT, CALL, RESULT],
    "a thought before its answer": [QUESTION, THOUGHT, {"role": "assistant", "content": "a"}, QUESTION],
}

# What only the vendor reads, with what stands for it at another server.
VENDORS_OWN: dict[str, tuple[dict[str, Any], str]] = {
    "a wish to compact": ({"type": "compaction_trigger"}, "Summarize everything above"),
    "a message between agents": (
        {"type": "agent_message", "author": "a", "content": [{"type": "input_text", "text": "hi"}]},
        "message from the agent a] hi",
    ),
    "a search of the vendor": (
        {"type": "web_search_call", "id": "ws", "status": "completed", "action": {"type": "search", "query": "x"}},
        "[web_search] x",
    ),
    "code that the vendor ran": (
        {"type": "code_interpreter_call", "id": "ci", "code": "1+1", "container_id": "c", "outputs": []},
        "[code_interpreter] 1+1",
    ),
    "an item that is newer": ({"type": "brand_new_item", "text": "hello"}, "hello"),
}

REFUSED: dict[str, list[Any]] = {
    "a thought that led to nothing": [QUESTION, THOUGHT, QUESTION],
    "a thought before a result": [CALL, THOUGHT, RESULT],
    "a nameless call": [QUESTION, {**CALL, "name": ""}, RESULT],
    "a call without a result": [QUESTION, CALL, QUESTION],
    "a result without a call": [QUESTION, RESULT],
    "two items with one id": [{**CALL, "id": "fc_1"}, RESULT, {**CALL, "id": "fc_1", "call_id": "d"}, RESULT],
}


def ask(items: list[Any], **more: Any) -> bytes:
    return json.dumps({"model": "m", "input": items, **more}).encode()


@pytest.mark.parametrize("items", TAKEN.values(), ids=TAKEN)
def test_what_every_server_takes_passes(items: list[Any]) -> None:
    assert pass_request(ask(items), VENDOR) == ask(items).replace(b'"m"', b'"gpt-5.1"', 1)
    assert pass_request(ask(items), STRANGER) == ask(items)


@pytest.mark.parametrize(("item", "told"), VENDORS_OWN.values(), ids=VENDORS_OWN)
def test_what_only_the_vendor_reads_is_told_to_others_in_words(item: dict[str, Any], told: str) -> None:
    body = ask([QUESTION, item])

    assert pass_request(body, VENDOR) is not None
    assert pass_request(body, STRANGER) is None
    sent = json.loads(send_on(openai_responses, body, STRANGER).body)["input"]
    assert {each["type"] for each in sent} == {"message"}
    assert told in json.dumps(sent)


@pytest.mark.parametrize("items", REFUSED.values(), ids=REFUSED)
def test_what_the_vendor_refuses_is_translated_to_what_it_takes(items: list[Any]) -> None:
    assert pass_request(ask(items), VENDOR) is None

    sent = send_on(openai_responses, ask(items), VENDOR).body

    assert pass_request(sent, msgspec.structs.replace(VENDOR, model="m")) is not None


@pytest.mark.parametrize(
    "more", [{"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"prompt": {"id": "pmpt_1"}}], ids=str
)
def test_a_result_may_answer_a_call_that_the_server_keeps(more: dict[str, Any]) -> None:
    assert pass_request(ask([RESULT], **more), VENDOR) is not None
    assert pass_request(ask([{"type": "item_reference", "id": "fc_1"}, RESULT]), VENDOR) is not None
