"""What is understood of any server's stream in Anthropic Messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from app.conversation.blocks import Proof, Reasoning, ServerTool, Text, ToolCall
from app.conversation.envelope import seal
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Event, Failed, Finished, Started, UsageSeen
from app.conversation.response import Usage
from app.conversation.streams.fold import fold
from app.dialects.anthropic_messages import StreamParser
from app.sse import SseDecoder

START = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 5, "output_tokens": 1}},
}


STOP = {"type": "message_stop"}


def parse(*payloads: Any) -> list[Event]:
    parser = StreamParser()
    data = [payload if isinstance(payload, bytes) else json.dumps(payload).encode() for payload in payloads]
    return parser.feed(data) + parser.close()


def opened(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


def closed(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ended(reason: str | None, **usage: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def test_text_moves_as_the_literal_that_it_came_as() -> None:
    payload = rb'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\u00e9\n\/"}}'

    events = parse(START, opened(0, type="text", text=""), payload)

    assert events[2] == BlockDelta(0, rb'"\u00e9\n\/"')


def test_a_surrogate_pair_cut_between_two_deltas_is_whole_again() -> None:
    halves = [
        rb'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a\ud83d"}}',
        rb'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\ude00b"}}',
    ]

    events = parse(START, opened(0, type="text", text=""), *halves, closed(0), ended("end_turn"), STOP)

    assert fold(events).blocks == (Text("a\U0001f600b"),)


def test_a_number_that_json_lacks_ends_no_stream() -> None:
    start = b'{"type":"message_start","message":{"id":"msg_1","model":"m","score":NaN,"usage":{"input_tokens":5}}}'
    delta = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a","logprob":-Infinity}}'

    events = parse(start, opened(0, type="text", text=""), delta, closed(0), ended("end_turn"), STOP)

    assert fold(events).blocks == (Text("a"),)


def test_counts_at_the_end_replace_those_at_the_start() -> None:
    events = parse(START, ended("end_turn", output_tokens=9, cache_read_input_tokens=3), STOP)

    assert UsageSeen(Usage(fresh=5, cache_read=3, output=9)) in events
    assert events[0] == Started("msg_1", "m", None, Usage(fresh=5, output=1))


def test_the_signature_makes_the_proof_of_the_whole_block() -> None:
    events = parse(
        START,
        opened(0, type="thinking", thinking="", signature=""),
        delta(0, type="thinking_delta", thinking="a"),
        delta(0, type="thinking_delta", thinking="b"),
        delta(0, type="signature_delta", signature="sig"),
        closed(0),
    )

    original = b'{"type":"thinking","thinking":"ab","signature":"sig"}'
    assert BlockClosed(0, Proof("anthropic_messages", "thinking", (original,))) in events


def test_a_signature_that_another_gateway_sealed_is_opened() -> None:
    proof = Proof("openai_responses", "reasoning", (b"{}",))

    events = parse(
        START,
        opened(0, type="thinking", thinking=""),
        delta(0, type="signature_delta", signature=seal(proof)),
        closed(0),
    )

    assert BlockClosed(0, proof) in events


def test_a_call_without_arguments_has_an_empty_object() -> None:
    events = parse(START, opened(0, type="tool_use", id="a", name="f", input={}), closed(0))

    assert events[1:4] == [BlockOpened(0, ToolCall("a", "f", "")), BlockDelta(0, b'"{}"'), BlockClosed(0)]


def test_arguments_in_the_start_of_a_call_are_not_lost() -> None:
    events = parse(
        START, opened(0, type="tool_use", id=7, name="f", input={"a": 1}), closed(0), ended("tool_use"), STOP
    )

    (call,) = fold(events).blocks
    assert isinstance(call, ToolCall)
    assert (call.id, json.loads(call.arguments)) == ("7", {"a": 1})


def test_a_call_without_an_id_gets_one_that_never_changes() -> None:
    first, second = (parse(START, opened(0, type="tool_use", name="f"), closed(0)) for _ in range(2))

    assert first == second
    assert first[1] == BlockOpened(0, ToolCall("toolu_msg_1_0", "f", ""))


def test_reasoning_inside_a_text_block_becomes_a_block_of_its_own() -> None:
    events = parse(
        START,
        opened(0, type="text", text=""),
        delta(0, type="thinking_delta", thinking="hm"),
        delta(0, type="text_delta", text="so"),
        closed(0),
        ended("end_turn"),
        STOP,
    )

    assert [type(block) for block in fold(events).blocks] == [Text, Reasoning, Text]


def test_a_server_tool_is_whole_with_its_arguments(read_wire: Callable[[str], bytes]) -> None:
    data = SseDecoder().feed(read_wire("anthropic_messages/streams/web-search-with-citation.sse"))

    call, result, text = fold(parse(*data)).blocks

    assert isinstance(call, ServerTool)
    assert json.loads(call.raw)["input"] == {"query": "news"}
    assert isinstance(result, ServerTool)
    assert isinstance(text, Text)
    assert text.citations[0]["cited_text"] == "Headline"


def test_unknown_events_and_done_are_read_over() -> None:
    events = parse(
        START, {"type": "shiny", "delta": 5, "index": "x"}, {"type": "ping"}, b"[DONE]", ended("end_turn"), STOP
    )

    assert [type(event) for event in events] == [Started, UsageSeen, Finished]


def test_an_error_event_fails_with_what_the_upstream_said() -> None:
    events = parse(START, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, STOP)

    assert isinstance(events[-1], Failed)
    assert (events[-1].failure.kind, events[-1].failure.message) == ("overloaded", "Overloaded")


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"type":"content_block_delta","index":0,"delta":"x"}',
        b'{"type":"content_block_start","index":0}',
        b'{"type":"content_block_delta","index":5,"delta":{"type":"input_json_delta","partial_json":"{}"}}',
    ],
)
def test_a_malformed_payload_fails_the_stream(payload: bytes) -> None:
    events = parse(START, payload, STOP)

    assert isinstance(events[-1], Failed)
    assert events[-1].failure.status == 502


def test_a_stream_without_its_start_is_still_read() -> None:
    events = parse(opened(0, type="text", text="hi"), closed(0), ended("end_turn"), STOP)

    assert fold(events).blocks == (Text("hi"),)


def test_blocks_that_nobody_closed_are_closed_at_the_end() -> None:
    events = parse(START, opened(0, type="text", text="hi"), ended("end_turn"), STOP)

    assert [type(event) for event in events[-3:]] == [BlockClosed, UsageSeen, Finished]
