"""The specification of thoughts that a model writes into its text."""

from __future__ import annotations

import pytest
from hypothesis import given

from app.adaptation.reasoning.think_tags import ThinkTags
from app.conversation.blocks import Block, Reasoning, Text
from app.conversation.events import BlockDelta
from tests.adaptation.tools.asking import call
from tests.adaptation.tools.replies import deltas, piece_sizes, reply, run, stream

R, T = Reasoning, Text

CASES: dict[str, tuple[str, tuple[Block, ...]]] = {
    "thought and answer": ("<think>r</think>x", (R("r"), T("x"))),
    "blanks around": ("\n<think>\nr\n</think>\n\nx", (R("r\n"), T("x"))),
    "blank thought": ("<think>\n\n</think>\n\nx", (T("x"),)),
    "no answer": ("<think>r</think>", (R("r"),)),
    "no end": ("<think>r </thin", (R("r </thin"),)),
    "no tags": ("x", (T("x"),)),
    "part of a tag": ("<thin", (T("<thin"),)),
    "tags that are the subject": ("use <think>r</think>", (T("use <think>r</think>"),)),
    "second thought": ("<think>r</think>x<think>s</think>", (R("r"), T("x<think>s</think>"))),
    "nothing": ("", (T(""),)),
}


@pytest.mark.parametrize("case", CASES)
@given(sizes=piece_sizes())
def test_thoughts_at_the_start_become_reasoning(case: str, sizes: list[int]) -> None:
    written, blocks = CASES[case]

    assert run(ThinkTags(), reply(Text(written)), sizes).blocks == blocks


@pytest.mark.parametrize("written", ["r</think>x", "<think>r</think>x"])
@given(sizes=piece_sizes())
def test_a_template_may_have_opened_the_thought(written: str, sizes: list[int]) -> None:
    assert run(ThinkTags(opened=True), reply(Text(written)), sizes).blocks == (R("r"), T("x"))


def test_blocks_behind_are_counted_on() -> None:
    response = reply(Text("<think>r</think>x"), call("c", "f", '{"a":1}'), Text("<think>y"), finish="tool_calls")

    assert run(ThinkTags(), response).blocks == (R("r"), T("x"), call("c", "f", '{"a":1}'), T("<think>y"))


def test_reasoning_that_came_as_such_stays() -> None:
    response = reply(Reasoning("r"), Text("x"))

    assert run(ThinkTags(), response) == response


def test_thoughts_stream_while_they_arrive() -> None:
    events = stream(ThinkTags(), reply(Text("<think>abcd</think>ef")), [9, 2, 4, 5, 1])

    assert deltas(events) == ["ab", "cd", "e", "f"]


def test_an_answer_without_thoughts_passes_as_it_is() -> None:
    stage = ThinkTags()
    stream(stage, reply(Text("x")))
    burst = [BlockDelta(0, b'"a"')]

    assert stage.feed(burst) is burst
