"""Streams as clients of Anthropic Messages get them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import anthropic
import pytest

from app.conversation.blocks import Compaction, Proof, Reasoning, Refusal, Text, ToolCall
from app.conversation.capabilities import RenderContext
from app.conversation.envelope import seal
from app.conversation.events import (
    BlockClosed,
    BlockDelta,
    BlockNoted,
    BlockOpened,
    Event,
    Failed,
    Finished,
    Started,
    UsageSeen,
)
from app.conversation.response import Usage
from app.conversation.streams.fold import unfold
from app.dialects.anthropic_messages import StreamRenderer, parse_response
from app.dialects.anthropic_messages.content.blocks import read_citations
from app.errors import Failure
from app.sse import SseDecoder
from tests.dialects.anthropic_messages.sdk import read_stream

CONTEXT = RenderContext(model="asked-for", id="abc", created=1, input_tokens=42)


def render(*events: Event, context: RenderContext = CONTEXT) -> bytes:
    renderer = StreamRenderer(context)
    return renderer.feed(events) + renderer.close()


def sent(stream: bytes) -> list[dict[str, Any]]:
    """The payloads of a rendered stream, after a check of its grammar."""
    payloads = [json.loads(data) for data in SseDecoder().feed(stream)]
    check_grammar(payloads)
    for name, payload in zip(stream.split(b"\n\n")[:-1], payloads, strict=True):
        assert name.startswith(f"event: {payload['type']}\n".encode())
    return payloads


DELTAS = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
    "server_tool_use": {"input_json_delta"},
    "compaction": {"compaction_delta"},
}


def check_grammar(payloads: Sequence[dict[str, Any]]) -> None:
    """One start; blocks one after another, counted from 0; one delta of the message and one stop, or one error."""
    running: str | None = None
    count = 0
    if payloads and payloads[0]["type"] != "error":
        assert payloads[0]["type"] == "message_start"
    for payload in payloads[1:-2]:
        match payload["type"]:
            case "content_block_start":
                assert running is None
                assert payload["index"] == count
                running = payload["content_block"]["type"]
            case "content_block_delta":
                assert payload["index"] == count
                assert payload["delta"]["type"] in DELTAS[running or ""]
            case "content_block_stop":
                assert payload["index"] == count
                running, count = None, count + 1
            case other:
                assert other == "ping"
    if payloads[-1]["type"] != "error":
        assert [payload["type"] for payload in payloads[-2:]] == ["message_delta", "message_stop"]
        assert payloads[-2]["delta"]["stop_reason"]
        assert all(isinstance(count, int) for name, count in payloads[-2]["usage"].items() if name.endswith("tokens"))


def test_the_first_event_has_all_that_clients_read() -> None:
    (start, *_) = sent(render(Started("chatcmpl-1", "m"), Finished("stop")))

    assert start == {
        "type": "message_start",
        "message": {
            "id": "msg_abc",
            "type": "message",
            "role": "assistant",
            "model": "asked-for",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": 42,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 0,
            },
        },
    }


def test_the_sdk_accumulates_thinking_text_and_calls() -> None:
    stream = render(
        Started("x", "m"),
        BlockOpened(0, Reasoning("")),
        BlockDelta(0, b'"hm"'),
        BlockClosed(0),
        BlockOpened(1, Text("")),
        BlockDelta(1, rb'"a\u00e9"'),
        BlockClosed(1),
        BlockOpened(2, ToolCall("c", "f", "")),
        BlockDelta(2, rb'"{\"a\":"'),
        BlockDelta(2, rb'"1}"'),
        BlockClosed(2),
        Finished("tool_calls", "tool_calls"),
        UsageSeen(Usage(fresh=7, cache_read=2, output=3)),
    )

    message = read_stream(stream)

    sent(stream)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert message.content[1].text == "a\u00e9"  # type: ignore[union-attr]
    assert message.content[2].input == {"a": 1}  # type: ignore[union-attr]
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens) == (7, 2, 3)


def test_fragments_of_parallel_calls_go_to_their_own_blocks() -> None:
    stream = render(
        Started("x", "m"),
        BlockOpened(0, ToolCall("a", "f", "")),
        BlockOpened(1, ToolCall("b", "g", "")),
        BlockDelta(0, rb'"{\"x\":"'),
        BlockDelta(1, rb'"{\"y\":"'),
        BlockDelta(1, b'"2}"'),
        BlockDelta(0, b'"1}"'),
        BlockClosed(0),
        BlockClosed(1),
        UsageSeen(Usage()),
        Finished("tool_calls"),
    )

    sent(stream)
    assert [block.input for block in read_stream(stream).content] == [{"x": 1}, {"y": 2}]  # type: ignore[union-attr]


def test_the_end_waits_for_the_usage() -> None:
    renderer = StreamRenderer(CONTEXT)

    before = renderer.feed([Started("x", "m"), Finished("stop")])
    after = renderer.feed([UsageSeen(Usage(fresh=7, output=3))])

    assert b"message_delta" not in before
    assert [payload["type"] for payload in map(json.loads, SseDecoder().feed(after))] == [
        "message_delta",
        "message_stop",
    ]
    assert renderer.close() == b""


def test_the_end_comes_at_the_end_of_input_when_no_usage_does() -> None:
    payloads = sent(render(Started("x", "m"), Finished("stop")))

    assert payloads[-2]["usage"]["input_tokens"] == 42


def test_silent_reasoning_with_a_foreign_proof_is_a_redacted_block() -> None:
    proof = Proof("openai_responses", "reasoning", (b'{"id":"rs_1"}',))

    stream = render(
        Started("x", "m"),
        BlockOpened(0, Reasoning("")),
        BlockClosed(0, proof),
        BlockOpened(1, Text("")),
        BlockDelta(1, b'"t"'),
        BlockClosed(1),
        Finished("stop"),
    )

    sent(stream)
    assert read_stream(stream).content[0].to_dict() == {"type": "redacted_thinking", "data": seal(proof)}


def test_reasoning_with_neither_text_nor_proof_leaves_no_gap() -> None:
    payloads = sent(
        render(
            Started("x", "m"),
            BlockOpened(0, Reasoning("")),
            BlockClosed(0),
            BlockOpened(1, Text("")),
            BlockDelta(1, b'"t"'),
            BlockClosed(1),
            Finished("stop"),
        )
    )

    assert [payload["index"] for payload in payloads if payload["type"] == "content_block_start"] == [0]


def test_every_thinking_block_ends_with_exactly_one_signature() -> None:
    proof = Proof("openai_chat", "plain", ())

    payloads = sent(
        render(
            Started("x", "m"), BlockOpened(0, Reasoning("")), BlockDelta(0, b'"hm"'), BlockClosed(0), Finished("stop")
        )
    )

    assert payloads[3]["delta"] == {"type": "signature_delta", "signature": seal(proof)}
    assert payloads[4]["type"] == "content_block_stop"


def test_a_refusal_is_text_that_ends_as_refusal() -> None:
    payloads = sent(
        render(
            Started("x", "m"),
            BlockOpened(0, Refusal("")),
            BlockDelta(0, b'"I can"'),
            BlockDelta(0, b'"not."'),
            BlockClosed(0),
            Finished("stop"),
        )
    )

    assert payloads[-2]["delta"] == {
        "stop_reason": "refusal",
        "stop_sequence": None,
        "stop_details": {"type": "refusal", "category": None, "explanation": "I cannot."},
    }


def test_citations_of_this_dialect_are_shown_as_they_are_and_pages_of_others_as_those_of_a_search() -> None:
    own = {"type": "char_location", "cited_text": "x"}
    page = {"type": "url_citation", "url": "https://e.example/", "title": "T", "start_index": 0, "end_index": 1}

    payloads = sent(
        render(
            Started("x", "m"),
            BlockOpened(0, Text("")),
            BlockNoted(0, citation=own),
            BlockNoted(0, citation=page),
            BlockNoted(0, citation={"type": "file_citation", "file_id": "f"}),
            BlockClosed(0),
            Finished("stop"),
        )
    )

    first, second = [payload["delta"]["citation"] for payload in payloads[2:-3]]
    assert first == own
    assert (second["type"], second["url"], second["title"]) == ("web_search_result_location", page["url"], "T")
    assert read_citations([second]) == (page,), "the client sends it back, and its vendor gets it as it was"


def test_a_compaction_goes_out_in_one_delta() -> None:
    proof = Proof("openai_responses", "compaction", (b"{}",))

    payloads = sent(
        render(
            Started("x", "m"),
            BlockOpened(0, Compaction(None)),
            BlockDelta(0, b'"sh"'),
            BlockDelta(0, b'"ort"'),
            BlockClosed(0, proof),
            Finished("compaction"),
        )
    )

    assert payloads[2]["delta"] == {"type": "compaction_delta", "content": "short", "encrypted_content": seal(proof)}


def test_a_failure_is_the_last_event_and_the_sdk_raises_it() -> None:
    renderer = StreamRenderer(CONTEXT)

    stream = renderer.feed([Started("x", "m"), BlockOpened(0, Text("")), BlockDelta(0, b'"a"')])
    stream += renderer.feed([Failed(Failure(kind="overloaded", message="Overloaded")), BlockDelta(0, b'"b"')])
    stream += renderer.feed([Finished("stop")]) + renderer.close()

    assert sent(stream)[-1]["error"] == {"type": "overloaded_error", "message": "Overloaded"}
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        read_stream(stream)
    assert renderer.ping() == b""


def test_pings_are_events_only_after_the_first_one() -> None:
    renderer = StreamRenderer(CONTEXT)

    before = renderer.ping()
    renderer.feed([Started("x", "m")])

    assert before.startswith(b":")
    assert renderer.ping() == b'event: ping\ndata: {"type":"ping"}\n\n'


def test_a_whole_answer_streams_as_the_sdk_reads_it(read_wire: Callable[[str], bytes]) -> None:
    for name in ("thinking-text-and-call", "silent-and-redacted-thinking", "web-search-with-citation", "stop-sequence"):
        body = read_wire(f"anthropic_messages/responses/{name}.json")

        stream = render(*unfold(parse_response(body)))

        sent(stream)
        message = read_stream(stream).to_dict()
        whole = json.loads(body)
        assert message["content"] == whole["content"], name
        assert (message["stop_reason"], message["stop_sequence"]) == (whole["stop_reason"], whole["stop_sequence"])
