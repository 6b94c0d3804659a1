"""The specification of JSON answers and tool calls that stand for each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.adaptation.tools.forced_json import CallToText, TextToCall
from app.conversation.blocks import Text, ToolCall
from app.conversation.events import BlockDelta, BlockOpened
from tests.adaptation.tools.asking import call
from tests.adaptation.tools.replies import piece_sizes, reply, run

JSON = '{"a": "é"}'


@given(sizes=piece_sizes())
def test_the_forced_call_is_the_text_that_was_asked_for(sizes: list[int]) -> None:
    response = run(CallToText("json_output"), reply(call("c", "json_output", JSON), finish="tool_calls"), sizes)

    assert response == reply(Text(JSON))


def test_a_forced_call_without_arguments_is_an_empty_object() -> None:
    response = run(CallToText("json_output"), reply(call("c", "json_output", ""), finish="tool_calls"))

    assert response.blocks == (Text("{}"),)


def test_the_client_s_own_tools_stay_calls() -> None:
    response = reply(call("c", "f", '{"x":1}'), finish="tool_calls")

    assert run(CallToText("json_output"), response) == response


def test_a_reply_with_both_is_finished_for_the_client_s_call() -> None:
    both = reply(call("c", "json_output", JSON), call("d", "f", '{"x":1}'), finish="tool_calls")

    response = run(CallToText("json_output"), both)

    assert response == reply(Text(JSON), call("d", "f", '{"x":1}'), finish="tool_calls")


def test_a_second_answer_is_left_out() -> None:
    twice = reply(call("c", "json_output", JSON), call("d", "json_output", JSON), call("e", "f", "{}"))

    response = run(CallToText("json_output"), twice)

    assert response.blocks == (Text(JSON), call("e", "f", "{}"))


def test_a_forced_call_that_was_cut_is_text_that_was_cut() -> None:
    response = run(CallToText("json_output"), reply(call("c", "json_output", '{"a'), finish="length"))

    assert response == reply(Text('{"a'), finish="length")


@given(sizes=piece_sizes())
def test_the_structured_answer_is_the_call_that_was_forced(sizes: list[int]) -> None:
    response = run(TextToCall("f"), reply(Text(JSON)), sizes)

    (made,) = response.blocks
    assert isinstance(made, ToolCall)
    assert (made.name, made.arguments, response.finish_reason) == ("f", JSON, "tool_calls")
    assert made.id.startswith("call_")


def test_a_structured_answer_that_was_cut_is_a_call_that_was_cut() -> None:
    assert run(TextToCall("f"), reply(Text('{"a'), finish="length")).finish_reason == "length"


@given(sizes=piece_sizes(), text=st.sampled_from([" \n{}", '\t{"a": 1}', "{"]))
def test_an_object_after_blanks_is_the_call(sizes: list[int], text: str) -> None:
    response = run(TextToCall("f"), reply(Text(text)), sizes)

    (made,) = response.blocks
    assert isinstance(made, ToolCall)
    assert (made.arguments, response.finish_reason) == (text, "tool_calls")


@given(sizes=piece_sizes(), text=st.sampled_from(["", " ", "\nI cannot", "I write {}", "[1]"]))
def test_what_is_no_object_stays_text(sizes: list[int], text: str) -> None:
    assert run(TextToCall("f"), reply(Text(text)), sizes) == reply(Text(text))


def test_deltas_pass_as_they_are() -> None:
    burst = [BlockDelta(0, b'"a"'), BlockDelta(0, b'"b"')]
    to_text, to_call = CallToText("f"), TextToCall("f")
    to_text.feed([BlockOpened(0, call("c", "f", "")), BlockDelta(0, b'"{"')])
    to_call.feed([BlockOpened(0, Text("")), BlockDelta(0, b'"{"')])

    assert to_text.feed(burst) is burst
    assert to_call.feed(burst) is burst
