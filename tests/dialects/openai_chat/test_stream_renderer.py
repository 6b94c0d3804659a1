"""Streams as clients of Chat Completions get them."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from app.conversation.blocks import Proof, Reasoning, Text, ToolCall
from app.conversation.capabilities import RenderContext
from app.conversation.envelope import seal, unseal
from app.conversation.events import BlockClosed, BlockDelta, BlockNoted, BlockOpened, Event, Failed, Finished, Started
from app.conversation.events import UsageSeen as Counted
from app.conversation.literals import literal
from app.conversation.response import Response, StopDetail, Usage
from app.conversation.streams.fold import fold
from app.dialects.openai_chat import NAME, StreamRenderer, render_response
from app.errors import Failure, UpstreamRefused
from app.sse import SseDecoder
from tests.dialects.openai_chat.streams import ReadWire, block, parse_wire

CONTEXT = RenderContext(model="asked-for", id="abc123", created=1_760_000_000, include_usage=True, input_tokens=9)


def render(events: Sequence[Event], context: RenderContext = CONTEXT) -> list[Any]:
    """The payloads that a client gets, decoded; the end mark as it is."""
    renderer = StreamRenderer(context)
    out = renderer.feed(events) + renderer.close()
    return [data.decode() if data == b"[DONE]" else json.loads(data) for data in SseDecoder().feed(out)]


def deltas(payloads: Sequence[Any]) -> list[dict[str, Any]]:
    return [choice["delta"] for payload in payloads if isinstance(payload, dict) for choice in payload["choices"]]


def test_a_stream_is_one_role_chunk_content_one_finish_chunk_usage_and_the_end_mark() -> None:
    events = [
        Started("up", "m"),
        *block(0, Text(""), "Hel", "lo"),
        Finished("stop"),
        Counted(Usage(fresh=3, cache_read=4, output=2, reasoning=1)),
    ]

    payloads = render(events)

    assert [(p["id"], p["object"], p["created"], p["model"]) for p in payloads[:-1]] == [
        ("chatcmpl-abc123", "chat.completion.chunk", 1_760_000_000, "asked-for")
    ] * 5
    assert deltas(payloads) == [{"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo"}, {}]
    assert payloads[3]["choices"][0]["finish_reason"] == "stop"
    assert payloads[4]["choices"] == []
    assert payloads[4]["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert payloads[5] == "[DONE]"


def test_a_commentary_and_the_answer_are_paragraphs_of_one_text() -> None:
    blocks = [Text("Let me see.", phase="commentary"), Text("It is ", phase="final_answer")]
    blocks.append(Text("blue.", phase="final_answer"))
    events = [event for index, head in enumerate(blocks) for event in block(index, head)]
    whole = Response(id="", model="", blocks=tuple(blocks), finish_reason="stop")

    streamed = deltas(render([Started("up", "m"), *events, Finished("stop")]))
    message = json.loads(render_response(whole, CONTEXT))["choices"][0]["message"]

    assert "".join(delta.get("content", "") for delta in streamed) == "Let me see.\n\nIt is blue."
    assert message["content"] == "Let me see.\n\nIt is blue."


def test_without_the_wish_there_is_no_usage_chunk_and_the_end_does_not_wait() -> None:
    context = RenderContext(model="m", id="i", created=1)
    renderer = StreamRenderer(context)

    out = renderer.feed([Started("up", "m"), *block(0, Text(""), "x"), Counted(Usage(fresh=1)), Finished("stop")])

    assert out.endswith(b"data: [DONE]\n\n")
    assert b'"usage"' not in out
    assert renderer.feed([Counted(Usage(fresh=2))]) + renderer.close() == b""


def test_usage_that_never_comes_is_estimated() -> None:
    payloads = render([Started("up", "m"), *block(0, Text(""), "x"), Finished("stop")])

    assert payloads[-2]["usage"]["prompt_tokens"] == 9
    assert payloads[-1] == "[DONE]"


def test_tool_indices_count_calls_only_and_a_silent_call_has_an_empty_object() -> None:
    events = [
        Started("up", "m"),
        *block(0, Reasoning(""), "hm"),
        *block(1, Text(""), "t"),
        *block(2, ToolCall("a", "f", ""), '{"q":', "1}"),
        *block(3, ToolCall("b", "g", "")),
        Finished("tool_calls"),
    ]

    got = deltas(render(events))

    assert got[1:] == [
        {"reasoning_content": "hm"},
        {"content": "t"},
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"q":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
        {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]


def test_custom_calls_go_out_as_such() -> None:
    events = [Started("up", "m"), *block(0, ToolCall("a", "patch", "", "custom"), "*** x"), Finished("tool_calls")]

    got = deltas(render(events))

    assert got[1:3] == [
        {"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "patch", "input": ""}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": "*** x"}}]},
    ]


def test_a_client_that_asked_with_functions_is_answered_with_function_call() -> None:
    context = RenderContext(model="m", id="i", created=1, legacy=True)
    events = [Started("up", "m"), *block(0, ToolCall("a", "f", ""), "{}"), Finished("tool_calls")]

    payloads = render(events, context)

    assert deltas(payloads)[1:3] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": "{}"}},
    ]
    assert payloads[-2]["choices"][0]["finish_reason"] == "function_call"


def test_a_proof_of_another_dialect_travels_in_one_sealed_entry() -> None:
    proof = Proof("anthropic_messages", "thinking", (b'{"type":"thinking","thinking":"hm","signature":"s"}',))
    events = [Started("up", "m"), *block(0, Reasoning(""), "hm", proof=proof), Finished("stop")]

    entries = [entry for delta in deltas(render(events)) for entry in delta.get("reasoning_details", [])]

    assert [entry["type"] for entry in entries] == ["reasoning.encrypted"]
    assert unseal(entries[0]["data"]) == proof


def test_a_proof_of_this_dialect_goes_back_as_it_came() -> None:
    original = b'{"type":"reasoning.text","text":"hm","signature":"s","index":0}'
    proof = Proof(NAME, "reasoning", (original,))
    events = [Started("up", "m"), *block(0, Reasoning(""), "hm", proof=proof), Finished("stop")]

    entries = [entry for delta in deltas(render(events)) for entry in delta.get("reasoning_details", [])]

    assert entries == [json.loads(original)]
    assert seal(proof) not in str(entries)


def test_citations_become_annotations_before_the_end() -> None:
    citation = {"type": "web_search_result_location", "url": "https://example.org", "title": "E", "cited_text": "c"}
    events = [
        Started("up", "m"),
        BlockOpened(0, Text("")),
        BlockDelta(0, b'"x"'),
        BlockNoted(0, citation=citation),
        BlockClosed(0),
        Finished("stop"),
    ]

    got = deltas(render(events))

    (annotation,) = got[2]["annotations"]
    assert annotation["type"] == "url_citation"
    assert annotation["url_citation"]["url"] == "https://example.org"


@pytest.mark.parametrize("texts", [("\n\nxy",), ("\n\n", "x", "y")])
def test_where_a_citation_begins_does_not_depend_on_how_its_text_is_cut(texts: tuple[str, ...]) -> None:
    citation = {"type": "web_search_result_location", "url": "https://example.org", "title": "E", "cited_text": "c"}
    deltas_of_text = [BlockDelta(0, literal(text)) for text in texts]
    noted = [BlockNoted(0, citation=citation), BlockClosed(0), Finished("stop")]
    events = [Started("up", "m"), BlockOpened(0, Text("")), *deltas_of_text, *noted]

    (annotation,) = (delta["annotations"][0] for delta in deltas(render(events)) if "annotations" in delta)

    placed = annotation["url_citation"]
    assert (placed["start_index"], placed["end_index"]) == (0, 4)


def test_a_text_keeps_its_bytes_and_not_its_deltas() -> None:
    renderer = StreamRenderer(CONTEXT)
    renderer.feed([Started("up", "m"), BlockOpened(0, Text(""))])
    tracemalloc.start()
    for _ in range(1000):
        renderer.feed([BlockDelta(0, literal("a word or two "))])
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 1000 * 2 * len("a word or two ")


def test_why_the_vendor_stopped_is_the_refusal() -> None:
    detail = StopDetail("cyber", "This is not answered.")

    payloads = render([Started("up", "m"), Finished("content_filter", stop_detail=detail)])

    assert deltas(payloads)[1:] == [{"refusal": "This is not answered."}, {}]
    assert payloads[2]["choices"][0]["finish_reason"] == "content_filter"


def test_a_failure_is_an_error_event_and_nothing_follows() -> None:
    renderer = StreamRenderer(CONTEXT)
    failure = Failure(kind="overloaded", message="too much")

    out = renderer.feed([Started("up", "m"), *block(0, Text(""), "x"), Failed(failure)])

    last = SseDecoder().feed(out)[-1]
    assert json.loads(last) == {
        "error": {"message": "too much", "type": "server_error", "param": None, "code": "overloaded"}
    }
    assert renderer.feed([Finished("stop")]) + renderer.close() == b""
    assert b'finish_reason":"' not in out


def test_events_that_just_stop_are_a_failure_too() -> None:
    payloads = render([Started("up", "m"), BlockOpened(0, Text("")), BlockDelta(0, b'"x"')])

    assert "error" in payloads[-1]


def test_a_ping_is_a_comment() -> None:
    assert StreamRenderer(CONTEXT).ping().startswith(b":")


def client_for(body: bytes) -> openai.OpenAI:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=body, headers={"content-type": "text/event-stream"})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return openai.OpenAI(api_key="k", base_url="http://gateway.test/v1", http_client=http, max_retries=0)


def rendered(events: Sequence[Event]) -> bytes:
    renderer = StreamRenderer(CONTEXT)
    return renderer.feed(events) + renderer.close()


def test_the_vendors_accumulator_understands_the_stream(read_wire: ReadWire) -> None:
    body = rendered(parse_wire(read_wire("openai_chat/streams/reasoning-text-and-call.sse")))

    with client_for(body) as client, client.chat.completions.stream(model="m", messages=[]) as stream:
        stream.until_done()
        completion = stream.get_final_completion()

    message = completion.choices[0].message
    assert message.content == "I look it up."
    assert message.tool_calls is not None
    assert message.tool_calls[0].function.arguments == '{"city":"Oslo"}'
    assert completion.choices[0].finish_reason == "tool_calls"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 50


def test_every_chunk_fits_the_vendors_model(read_wire: ReadWire) -> None:
    for name in ("text", "parallel-tool-calls-interleaved", "refusal", "citations-and-probabilities"):
        body = rendered(parse_wire(read_wire(f"openai_chat/streams/{name}.sse")))
        for data in SseDecoder().feed(body)[:-1]:
            ChatCompletionChunk.model_validate_json(data, strict=True)


def test_the_vendors_client_raises_at_the_error_event(read_wire: ReadWire) -> None:
    body = rendered(parse_wire(read_wire("openai_chat/streams/error-in-the-middle.sse")))

    with client_for(body) as client:
        stream = client.chat.completions.create(model="m", messages=[], stream=True)
        with pytest.raises(openai.APIError, match="overloaded right now"):
            list(stream)


def test_a_failed_stream_folds_into_its_failure(read_wire: ReadWire) -> None:
    events = parse_wire(read_wire("openai_chat/streams/error-in-the-middle.sse"))

    with pytest.raises(UpstreamRefused, match="overloaded right now"):
        fold(events)
