"""Specifies streams of Chat Completions: what is understood of any server's, and what clients get."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from app.conversation.blocks import Proof, Reasoning, Refusal, Text, ToolCall
from app.conversation.capabilities import RenderContext
from app.conversation.envelope import seal, unseal
from app.conversation.events import BlockClosed, BlockDelta, BlockNoted, BlockOpened, Event, Failed, Finished, Started
from app.conversation.events import UsageSeen as Counted
from app.conversation.literals import literal
from app.conversation.request import Extension, Request
from app.conversation.response import Response, StopDetail, Usage
from app.conversation.streams.fold import fold
from app.dialects.openai_chat import NAME, StreamParser, StreamRenderer, render_response
from app.errors import Failure, UpstreamMalformed, UpstreamRefused
from app.sse import SseDecoder

ReadWire = Callable[[str], bytes]

CONTEXT = RenderContext(model="asked-for", id="abc123", created=1_760_000_000, include_usage=True, input_tokens=9)


def parse(chunks: Sequence[Any], end: bool = True) -> list[Event]:
    parser = StreamParser()
    data = [chunk.encode() if isinstance(chunk, str) else json.dumps(chunk).encode() for chunk in chunks]
    return parser.feed(data) + (parser.close() if end else [])


def parse_wire(stream: bytes) -> list[Event]:
    decoder, parser = SseDecoder(), StreamParser()
    return parser.feed(decoder.feed(stream) + decoder.close()) + parser.close()


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "chatcmpl-1", "created": 7, "model": "m", "choices": [choice], **more}


def fragment(index: int | None = 0, arguments: Any = None, **more: Any) -> dict[str, Any]:
    name = {"name": more.pop("name")} if "name" in more else {}
    place = {"index": index} if index is not None else {}
    function = name | ({"arguments": arguments} if arguments is not None else {})
    return {"tool_calls": [{**place, "function": function, **more}]}


def said(chunks: Sequence[Any]) -> Response:
    return fold(parse(chunks))


def calls(response: Response) -> list[tuple[str, str, str]]:
    return [(block.id, block.name, block.arguments) for block in response.blocks if isinstance(block, ToolCall)]


def render(events: Sequence[Event], context: RenderContext = CONTEXT) -> list[Any]:
    """The payloads that a client gets, decoded; the end mark as it is."""
    renderer = StreamRenderer(context)
    out = renderer.feed(events) + renderer.close()
    return [data.decode() if data == b"[DONE]" else json.loads(data) for data in SseDecoder().feed(out)]


def deltas(payloads: Sequence[Any]) -> list[dict[str, Any]]:
    return [choice["delta"] for payload in payloads if isinstance(payload, dict) for choice in payload["choices"]]


def block(index: int, head: Any, *texts: str, proof: Proof | None = None) -> list[Event]:
    said: list[Event] = [BlockDelta(index, literal(text)) for text in texts]
    return [BlockOpened(index, head), *said, BlockClosed(index, proof)]


# --- what is understood ---


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_is_read_under_each_of_its_names(field: str) -> None:
    response = said([chunk({field: "r"}), chunk({field: "s"}), chunk({"content": "x"}), chunk(finish="stop")])

    assert response.blocks == (Reasoning("rs"), Text("x"))


def test_reasoning_under_two_names_is_read_once() -> None:
    response = said(
        [chunk({"reasoning": "r", "reasoning_content": "r"}), chunk({"content": "x"}), chunk(finish="stop")]
    )

    assert response.blocks == (Reasoning("r"), Text("x"))


def test_reasoning_that_stands_in_details_alone_is_read_from_them() -> None:
    details = [{"type": "reasoning.text", "text": "r", "format": "unknown", "index": 0}]

    response = said([chunk({"reasoning_details": details}), chunk({"content": "x"}), chunk(finish="stop")])

    thought = response.blocks[0]
    assert isinstance(thought, Reasoning)
    assert thought.text == "r"


def test_fragments_of_details_become_one_proof(read_wire: ReadWire) -> None:
    response = fold(parse_wire(read_wire("openai_chat/streams/reasoning-details-with-signature.sse")))

    thought = response.blocks[0]
    assert isinstance(thought, Reasoning)
    assert thought.text == "Hm, yes"
    assert thought.proof is not None
    (original,) = thought.proof.originals
    assert json.loads(original) == {
        "type": "reasoning.text",
        "text": "Hm, yes",
        "format": "anthropic-claude-v1",
        "index": 0,
        "signature": "c2ln",
    }


def test_thinking_blocks_keep_their_signature(read_wire: ReadWire) -> None:
    response = fold(parse_wire(read_wire("openai_chat/streams/thinking-blocks-of-litellm.sse")))

    thought = response.blocks[0]
    assert isinstance(thought, Reasoning)
    assert thought.proof is not None
    assert thought.proof.kind == "thinking"
    assert json.loads(thought.proof.originals[0])["signature"] == "c2ln"


def test_a_proof_that_comes_after_the_text_is_not_lost() -> None:
    entry = {"type": "reasoning.encrypted", "data": "ZGF0YQ==", "id": "call_1"}

    response = said([chunk({"content": "x"}), chunk({"reasoning_details": [entry]}), chunk(finish="stop")])

    text, thought = response.blocks
    assert text == Text("x")
    assert isinstance(thought, Reasoning)
    assert thought.proof is not None
    assert json.loads(thought.proof.originals[0]) == entry


def test_the_chunk_that_changes_the_block_is_its_first_delta() -> None:
    response = said([chunk({"reasoning_content": "R", "content": "C"}), chunk({"content": " w"}), chunk(finish="stop")])

    assert response.blocks == (Reasoning("R"), Text("C w"))


def test_text_after_a_call_gets_its_own_block(read_wire: ReadWire) -> None:
    response = fold(parse_wire(read_wire("openai_chat/streams/text-after-a-call.sse")))

    assert [type(block) for block in response.blocks] == [Text, ToolCall, Text]


def test_interleaved_fragments_go_to_their_own_call(read_wire: ReadWire) -> None:
    response = fold(parse_wire(read_wire("openai_chat/streams/parallel-tool-calls-interleaved.sse")))

    assert calls(response) == [("call_a", "f", '{"x":1}'), ("call_b", "g", '{"y":2}')]


def test_another_id_under_the_same_index_is_another_call(read_wire: ReadWire) -> None:
    response = fold(parse_wire(read_wire("openai_chat/streams/calls-all-with-index-zero.sse")))

    assert calls(response) == [("a", "f", '{"q":1}'), ("b", "f", '{"q":2}')]


def test_calls_without_index_and_id_are_told_apart_and_get_ids(read_wire: ReadWire) -> None:
    response = fold(parse_wire(read_wire("openai_chat/streams/calls-without-index-or-id.sse")))

    found = calls(response)
    assert [call[1:] for call in found] == [("f", '{"q":1}'), ("f", '{"q":2}')]
    assert len({call[0] for call in found}) == 2
    assert response.finish_reason == "tool_calls"


def test_ids_of_our_making_differ_from_reply_to_reply_and_not_within_one() -> None:
    def minted(response_id: str) -> str:
        chunks = [chunk(fragment(0, "{}", name="f"), id=response_id), chunk(finish="stop")]
        return calls(said(chunks))[0][0]

    assert minted("chatcmpl-1") == minted("chatcmpl-1")
    assert minted("chatcmpl-1") != minted("chatcmpl-2")


def test_a_numeric_id_becomes_text_and_a_repeated_name_is_no_other_call(read_wire: ReadWire) -> None:
    response = fold(parse_wire(read_wire("openai_chat/streams/numeric-id-and-repeated-name.sse")))

    assert calls(response) == [("123", "f", '{"q":1}')]


def test_an_id_that_changes_with_each_fragment_is_no_other_call() -> None:
    chunks = [chunk(fragment(0, '{"q"', id="a", name="f")), chunk(fragment(0, ":1}", id="b")), chunk(finish="stop")]

    assert calls(said(chunks)) == [("a", "f", '{"q":1}')]


def test_a_call_is_announced_when_both_id_and_name_are_known() -> None:
    parser = StreamParser()
    early = parser.feed([json.dumps(chunk({"tool_calls": [{"index": 0, "id": "a"}]})).encode()])
    late = parser.feed([json.dumps(chunk(fragment(0, '{"q":1}', name="f"))).encode()])

    assert not any(isinstance(event, BlockOpened) for event in early)
    assert late == [BlockOpened(0, ToolCall("a", "f", "")), BlockDelta(0, b'"{\\"q\\":1}"')]


def test_a_name_may_come_in_pieces_until_the_arguments_begin() -> None:
    pieces = [fragment(0, "", id="a", name="get_"), fragment(0, "", name="weather"), fragment(0, "{}")]

    assert calls(said([*map(chunk, pieces), chunk(finish="tool_calls")])) == [("a", "get_weather", "{}")]


def test_a_name_in_pieces_without_end_is_refused() -> None:
    pieces = [chunk(fragment(0, "", name=f"{number}" * 100)) for number in range(1000)]

    with pytest.raises(UpstreamMalformed):
        parse(pieces)


@pytest.mark.parametrize("index", [10**20, -(10**20), str(10**20), 1e300])
def test_a_number_that_no_call_can_have_is_none(index: Any) -> None:
    chunks = [chunk(fragment(index, "{}", id="a", name="f")), chunk(finish="tool_calls")]

    assert calls(said(chunks)) == [("a", "f", "{}")]


def test_calls_that_share_an_id_get_their_own() -> None:
    both = {"tool_calls": [*fragment(0, "{}", id="a", name="f")["tool_calls"],
                           *fragment(1, "{}", id="a", name="g")["tool_calls"]]}  # fmt: skip

    found = calls(said([chunk(both), chunk(finish="tool_calls")]))

    assert [call[1] for call in found] == ["f", "g"]
    assert len({call[0] for call in found}) == 2


def test_a_call_that_is_never_named_is_a_failure() -> None:
    events = parse([chunk(fragment(0, '{"q":1}', id="a")), chunk(finish="tool_calls")])

    assert isinstance(events[-1], Failed)


@pytest.mark.parametrize("arguments", ["", None, "null"])
def test_arguments_that_say_nothing_are_empty(arguments: str | None) -> None:
    chunks = [chunk(fragment(0, arguments, id="a", name="f")), chunk(finish="tool_calls")]

    assert calls(said(chunks)) == [("a", "f", "")]


def test_custom_tools_have_free_text() -> None:
    head = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "patch", "input": ""}}
    more = {"index": 0, "custom": {"input": '*** "x"'}}

    response = said([chunk({"tool_calls": [head]}), chunk({"tool_calls": [more]}), chunk(finish="tool_calls")])

    assert response.blocks == (ToolCall("a", "patch", '*** "x"', "custom"),)


def test_the_legacy_function_call_is_a_call() -> None:
    chunks = [
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": "{}"}}),
        chunk(finish="function_call"),
    ]

    response = said(chunks)

    assert [call[1:] for call in calls(response)] == [("f", "{}")]
    assert response.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("word", "reason"),
    [("stop", "stop"), ("eos", "stop"), ("MAX_TOKENS", "length"), ("sensitive", "content_filter"), ("odd", "stop")],
)
def test_finish_reasons_of_other_servers_are_understood(word: str, reason: str) -> None:
    response = said([chunk({"content": "x"}), chunk(finish=word)])

    assert (response.finish_reason, response.raw_finish_reason) == (reason, word)


@pytest.mark.parametrize(("word", "reason"), [("stop", "tool_calls"), ("length", "length")])
def test_a_call_decides_over_the_label_but_not_over_a_limit(word: str, reason: str) -> None:
    response = said([chunk(fragment(0, "{}", id="a", name="f")), chunk(finish=word)])

    assert response.finish_reason == reason


def test_a_label_of_calls_without_any_is_an_ordinary_stop() -> None:
    assert said([chunk({"content": "x"}), chunk(finish="tool_calls")]).finish_reason == "stop"


def test_a_cut_call_is_marked_incomplete_and_a_whole_one_is_not() -> None:
    whole = fragment(0, "{}", id="a", name="f")
    cut = fragment(1, '{"q', id="b", name="f")

    events = parse([chunk(whole), chunk(cut), chunk(finish="length")])

    assert [event.incomplete for event in events if isinstance(event, BlockClosed)] == [False, True]


def test_an_error_label_is_a_failure(read_wire: ReadWire) -> None:
    events = parse_wire(read_wire("openai_chat/streams/finish-reason-error.sse"))

    assert isinstance(events[-1], Failed)


@pytest.mark.parametrize("name", ["error-in-the-middle", "error-beside-empty-choices"])
def test_an_error_inside_a_stream_fails_with_its_message_and_status(name: str, read_wire: ReadWire) -> None:
    events = parse_wire(read_wire(f"openai_chat/streams/{name}.sse"))

    failure = events[-1]
    assert isinstance(failure, Failed)
    assert failure.failure.http_status == 502
    assert failure.failure.message in ("overloaded right now", "provider unavailable")
    assert not any(isinstance(event, Finished) for event in events)


@pytest.mark.parametrize(
    "payload", ["Internal error", '{"object":"error","message":"Internal error"}', '{"detail":"Internal error"}']
)
def test_what_is_no_chunk_is_a_failure_that_quotes_it(payload: str) -> None:
    events = parse([chunk({"content": "x"}), payload])

    failure = events[-1]
    assert isinstance(failure, Failed)
    assert "Internal error" in failure.failure.message


def test_the_end_of_input_after_a_finish_is_a_success(read_wire: ReadWire) -> None:
    events = parse_wire(read_wire("openai_chat/streams/no-end-mark.sse"))

    assert isinstance(events[-1], Finished)


def test_the_end_of_input_before_a_finish_is_a_failure() -> None:
    events = parse([chunk({"content": "x"})])

    assert isinstance(events[-1], Failed)
    assert events[-1].failure.http_status == 502


def test_the_end_mark_ends_an_answer_without_a_reason() -> None:
    assert said([chunk({"content": "x"}), "[DONE]"]).finish_reason == "stop"


def test_the_end_mark_alone_is_no_answer() -> None:
    assert isinstance(parse(["[DONE]"])[-1], Failed)


def test_a_second_finish_and_a_second_end_mark_are_read_over() -> None:
    events = parse([chunk({"content": "x"}), chunk(finish="stop"), chunk(finish="stop"), "[DONE]", "[DONE]"])

    assert sum(isinstance(event, Finished) for event in events) == 1


def test_chunks_without_choices_or_delta_are_read_over(read_wire: ReadWire) -> None:
    response = fold(parse_wire(read_wire("openai_chat/streams/azure-without-choices-and-delta.sse")))

    assert response.blocks == (Text("Hi"),)
    assert response.id.startswith("chatcmpl-")


def test_thinking_and_usage_of_oracle_code_assist_are_understood(read_wire: ReadWire) -> None:
    response = fold(parse_wire(read_wire("openai_chat/streams/oca-thinking-and-null-choices.sse")))

    assert response.blocks == (Reasoning("Hm."), Text("Yes."))
    assert response.usage == Usage(fresh=20, cache_read=20, cache_written=10, output=2)


def test_the_last_usage_counts_wherever_it_stands(read_wire: ReadWire) -> None:
    early = chunk(usage={"prompt_tokens": 1, "completion_tokens": 1})
    late = chunk({"content": "x"}, usage={"prompt_tokens": "7", "completion_tokens": None, "total_tokens": 9.0})

    response = said([early, late, chunk(finish="stop"), "[DONE]"])

    assert response.usage is not None
    assert response.usage.input == 7
    assert fold(parse_wire(read_wire("openai_chat/streams/usage-in-every-chunk.sse"))).usage == Usage(fresh=7, output=2)


def test_of_several_usages_after_the_finish_the_last_is_told_at_the_end() -> None:
    parser = StreamParser()
    counts = [{"prompt_tokens": 7, "completion_tokens": number} for number in (1, 3)]
    parser.feed([json.dumps(chunk({"content": "x"})).encode(), json.dumps(chunk(finish="stop")).encode()])
    waiting = parser.feed([json.dumps({"choices": [], "usage": usage}).encode() for usage in counts])
    told = parser.feed([b"[DONE]"]) + parser.close()

    assert parser.ending
    assert waiting == []
    assert told[-2:] == [Finished("stop", "stop"), Counted(Usage(fresh=7, output=3))]


def test_without_the_end_mark_usage_is_told_at_the_end_of_input() -> None:
    parser = StreamParser()
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    parser.feed([json.dumps(chunk({"content": "x"}, "stop", usage=usage)).encode()])

    assert parser.close()[-1:] == [Counted(Usage(fresh=7, output=3))]


@pytest.mark.parametrize(
    ("sent", "understood"),
    [
        ([r'"{\"a\":1}"'], '{"a":1}'),
        ([r'"{\"a', r'\":1}"'], '{"a":1}'),
        (["nu", "ll"], "{}"),
        (["[1,", "2]"], '{"value":[1,2]}'),
        (['{"a":1}}'], '{"a":1}'),
        (["no JSON"], '{"_raw":"no JSON"}'),
        ([" {", "}"], " {}"),
    ],
)
def test_arguments_that_are_no_object_become_one(sent: list[str], understood: str) -> None:
    first, *rest = [fragment(0, piece) for piece in sent]
    first["tool_calls"][0] |= {"id": "c", "type": "function"}
    first["tool_calls"][0]["function"]["name"] = "f"

    response = said([chunk(first), *map(chunk, rest), chunk(finish="tool_calls")])

    assert calls(response) == [("c", "f", understood)]


def test_cached_and_written_tokens_are_part_of_the_prompt() -> None:
    details = {"cached_tokens": 60, "cache_write_tokens": 30}
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": details}

    response = said([chunk({"content": "x"}), chunk(finish="stop", usage=usage)])

    assert response.usage == Usage(fresh=10, cache_read=60, cache_written=30, output=5)


def test_halves_of_a_character_are_joined_again(read_wire: ReadWire) -> None:
    response = fold(parse_wire(read_wire("openai_chat/streams/halves-of-a-character.sse")))

    assert response.blocks == (Text("a😀"),)


@pytest.mark.parametrize(
    "odd",
    [
        {"usage": {"prompt_tokens": 1, "prompt_tokens_details": []}},
        {"service_tier": 7, "model": None, "id": 5},
        {"choices": [{"index": "0", "delta": {"content": "x"}, "finish_reason": None}]},
    ],
)
def test_fields_of_a_wrong_type_are_read_over(odd: dict[str, Any]) -> None:
    response = said([chunk({"content": "x"}) | odd, chunk(finish="stop")])

    assert response.blocks == (Text("x"),)


@pytest.mark.parametrize("payload", ["[]", "7", '"x"', '{"choices":[7]}', '{"choices":{"a":1}}', "null"])
def test_json_that_is_no_chunk_breaks_nothing(payload: str) -> None:
    events = parse([chunk({"content": "x"}), payload, chunk(finish="stop")])

    assert isinstance(events[-1], Finished | Failed)


def test_refusal_deltas_are_a_block_of_their_own(read_wire: ReadWire) -> None:
    response = fold(parse_wire(read_wire("openai_chat/streams/refusal.sse")))

    assert response.blocks == (Refusal("I cannot."),)
    assert response.finish_reason == "stop"


def test_text_literals_move_untouched() -> None:
    payload = json.dumps(chunk({"content": "X"})).replace('"X"', r'"\u00e9\/\ud83d\ude00"').encode()

    events = StreamParser().feed([payload, payload])

    assert [e.text for e in events if isinstance(e, BlockDelta)] == [rb'"\u00e9\/\ud83d\ude00"'] * 2


def test_a_stream_whose_chunks_never_look_alike_is_read_right() -> None:
    chunks = [
        chunk({"reasoning": f"r{i}", "reasoning_details": [{"type": "reasoning.text", "text": f"r{i}"}]})
        for i in range(60)
    ]

    response = said([*chunks, chunk({"content": "x"}), chunk({"content": "y"}), chunk(finish="stop")])

    thought, text = response.blocks
    assert isinstance(thought, Reasoning)
    assert thought.text == "".join(f"r{i}" for i in range(60))
    assert text == Text("xy")


# --- what clients get ---


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
    request = Request(dialect=NAME, model="m", turns=(), extensions=(Extension(NAME, "functions", True, "ignorable"),))
    context = RenderContext(model="m", id="i", created=1, request=request)
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


# --- the vendor's own client ---


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
