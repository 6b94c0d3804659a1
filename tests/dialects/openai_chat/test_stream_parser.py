"""What is understood of any server's stream in Chat Completions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.conversation.blocks import Reasoning, Refusal, Text, ToolCall
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Failed, Finished
from app.conversation.events import UsageSeen as Counted
from app.conversation.response import Response, Usage
from app.conversation.streams.fold import fold
from app.dialects.openai_chat import StreamParser
from app.errors import UpstreamMalformed
from tests.dialects.openai_chat.streams import ReadWire, chunk, parse, parse_wire, said


def fragment(index: int | None = 0, arguments: Any = None, **more: Any) -> dict[str, Any]:
    name = {"name": more.pop("name")} if "name" in more else {}
    place = {"index": index} if index is not None else {}
    function = name | ({"arguments": arguments} if arguments is not None else {})
    return {"tool_calls": [{**place, "function": function, **more}]}


def calls(response: Response) -> list[tuple[str, str, str]]:
    return [(block.id, block.name, block.arguments) for block in response.blocks if isinstance(block, ToolCall)]


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
