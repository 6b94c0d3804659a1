"""What is understood of any server's stream in the Responses dialect."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from app.conversation.blocks import Reasoning, Text, ToolCall
from app.conversation.events import BlockDelta, Failed
from app.conversation.streams.fold import fold
from app.dialects.openai_responses import StreamParser
from tests.dialects.openai_responses.wire import parse, payloads, to_bytes


@pytest.mark.parametrize(
    "name", ["arguments-only-at-their-end", "calls-only-as-finished-items", "everything-in-the-last-event", "text"]
)
def test_each_piece_is_given_on_once_wherever_it_stood(name: str, read_wire: Callable[[str], bytes]) -> None:
    events = parse(read_wire(f"openai_responses/streams/{name}.sse"))

    said = fold(events)
    deltas = b"".join(event.text for event in events if isinstance(event, BlockDelta))
    for block in said.blocks:
        text = block.arguments if isinstance(block, ToolCall) else getattr(block, "text", "")
        assert deltas.count(json.dumps(text, ensure_ascii=False)[1:-1].encode()) <= 1
    assert said.finish_reason == ("stop" if name == "text" else "tool_calls")


def test_the_rest_of_arguments_that_were_streamed_in_part_follows() -> None:
    item = {"id": "fc_1", "type": "function_call", "call_id": "a", "name": "f", "arguments": '{"p":"é"}'}
    stream = [
        {"type": "response.created", "response": {"id": "r"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"p"'},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [item]}},
    ]

    events = parse(to_bytes(stream))

    assert [event.text for event in events if isinstance(event, BlockDelta)] == [b'"{\\"p\\""', '":\\"é\\"}"'.encode()]


def test_an_answer_is_rebuilt_when_the_last_event_repeats_nothing(read_wire: Callable[[str], bytes]) -> None:
    said = fold(parse(read_wire("openai_responses/streams/empty-output-in-the-last-event.sse")))

    assert said.blocks == (Text("hello"), ToolCall("call_a", "f", '{"x":1}'))


def test_parts_of_a_summary_are_paragraphs(read_wire: Callable[[str], bytes]) -> None:
    events = parse(read_wire("openai_responses/streams/reasoning-text-and-parallel-calls.sse"))

    assert BlockDelta(0, b'"\\n\\n"') in events
    reasoning = fold(events).blocks[0]
    assert isinstance(reasoning, Reasoning)
    assert reasoning.proof is not None
    assert reasoning.proof.kind == "reasoning"


def test_reasoning_without_a_summary_is_all_proof(read_wire: Callable[[str], bytes]) -> None:
    reasoning = fold(parse(read_wire("openai_responses/streams/reasoning-without-summary.sse"))).blocks[0]

    assert isinstance(reasoning, Reasoning)
    assert (reasoning.text, reasoning.proof and reasoning.proof.kind) == ("", "reasoning")


def test_deltas_are_bound_by_index_whatever_their_ids(read_wire: Callable[[str], bytes]) -> None:
    said = fold(parse(read_wire("openai_responses/streams/another-id-in-every-event.sse")))

    assert [getattr(block, "text", None) for block in said.blocks] == ["sum"]


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("failed-in-the-middle", "internal", "overloaded right now"),
        ("error-event-flat", "internal", "overloaded right now"),
        ("error-event-nested-then-failed", "rate_limit", "slow down"),
        ("context-window-exceeded", "context_overflow", "Your input exceeds the context window of this model."),
    ],
)
def test_every_form_of_failure_is_one(name: str, kind: str, message: str, read_wire: Callable[[str], bytes]) -> None:
    events = parse(read_wire(f"openai_responses/streams/{name}.sse"))

    failures = [event.failure for event in events if isinstance(event, Failed)]
    assert [(failure.kind, failure.message) for failure in failures] == [(kind, message)]
    assert isinstance(events[-1], Failed)


def test_a_stream_that_breaks_off_has_failed(read_wire: Callable[[str], bytes]) -> None:
    events = parse(read_wire("openai_responses/streams/cut-in-the-middle.sse"))

    assert isinstance(events[-1], Failed)
    assert events[-1].failure.http_status == 502


@pytest.mark.parametrize("data", [b"{", b"[1]", b'{"type":5}', b"nonsense", b'{"type":"response.output_item.done"}'])
def test_a_payload_that_is_not_valid_is_a_failure(data: bytes) -> None:
    parser = StreamParser()

    events = parser.feed([data])

    assert [type(event) for event in events] == [Failed]
    assert parser.close() == []


def test_an_event_of_an_unknown_type_is_read_over_whatever_it_holds() -> None:
    parser = StreamParser()

    events = parser.feed([b'{"type":"vendor:note","item":5,"response":"x","output_index":null,"logprobs":{}}'])

    assert events == []


def test_an_item_that_was_never_announced_is_told_from_those_that_were() -> None:
    hidden = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "E"}
    message = {"id": "msg_1", "type": "message", "content": [{"type": "output_text", "text": "x"}]}
    stream = [
        {"type": "response.created", "response": {"id": "r"}},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [hidden, message]}},
    ]

    said = fold(parse(to_bytes(stream)))

    assert [type(block) for block in said.blocks] == [Text, Reasoning]


def test_a_message_without_content_is_no_block() -> None:
    message = {"id": "msg_1", "type": "message", "content": []}
    stream = [
        {"type": "response.created", "response": {"id": "r"}},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [message]}},
    ]

    assert fold(parse(to_bytes(stream))).blocks == ()


def test_a_surrogate_pair_that_was_split_is_whole_again() -> None:
    item = {"id": "msg_1", "type": "message", "content": [{"type": "output_text", "text": "😀"}]}
    head = [
        {"type": "response.created", "response": {"id": "r"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
    ]
    delta = b'{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"%b"}'
    tail = [{"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [item]}}]
    parser = StreamParser()

    events = parser.feed([*payloads(to_bytes(head)), delta % b"\\ud83d", delta % b"\\ude00", *payloads(to_bytes(tail))])

    assert fold(events).blocks == (Text("😀"),)


@pytest.mark.parametrize("odd", ['"output_index":null', '"logprobs":"none","output_index":0'])
def test_a_delta_with_a_harmless_field_of_a_wrong_type_is_read(odd: str) -> None:
    item = {"id": "msg_1", "type": "message", "content": []}
    head = [{"type": "response.output_item.added", "output_index": 0, "item": item}]
    delta = f'{{"type":"response.output_text.delta",{odd},"delta":"said"}}'
    tail = [{"type": "response.completed", "response": {"id": "r", "status": "completed"}}]

    events = StreamParser().feed([*payloads(to_bytes(head)), delta.encode(), *payloads(to_bytes(tail))])

    assert fold(events).blocks == (Text("said"),)
