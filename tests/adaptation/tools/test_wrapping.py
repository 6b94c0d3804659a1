"""The specification of what stands around answers that should be bare JSON."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adaptation.tools.wrapping import FENCE, OBJECT, Unwrap, Wrapping
from app.conversation.blocks import Text
from tests.adaptation.tools.asking import call
from tests.adaptation.tools.replies import piece_sizes, reply, run

CASES = {
    "fenced": ('```json\n{"a": 1}\n```', '{"a": 1}'),
    "no language": ("```\n[1]\n```\n", "[1]"),
    "blanks before": ("\n ```JSON \r\n1\n```", "1"),
    "fence within": ('```json\n{"a": "```x"}\n```', '{"a": "```x"}'),
    "no end": ('```json\n{"a": 1', '{"a": 1'),
    "words behind": ("```\n1\n```\nSo it is.", "1\n```\nSo it is."),
    "bare": ('{"a": 1}\n', '{"a": 1}\n'),
    "inline": ("```1```", "```1```"),
    "on one line": ('```json {"a": 1} ```', '{"a": 1}'),
    "words before": ('Here it is:\n\n```json\n{"a": 1}\n```', '{"a": 1}'),
    "words only": ("I cannot `do` that.", "I cannot `do` that."),
    "fence only": ("``", "``"),
    "nothing": ("", ""),
}

OBJECTS = {
    "wrapped": ('{"value":[1]}', "[1]"),
    "blanks": (' { "value" : {"a": "}"} }\n', '{"a": "}"}'),
    "string": ('{"value":"v"}', '"v"'),
    "another key": ('{"values":[1]}', '{"values":[1]}'),
    "no object": ("[1]", "[1]"),
    "cut": ('{"value":[1, {"a": 2}', '[1, {"a": 2'),
    "only begun": ('{"val', '{"val'),
}


@pytest.mark.parametrize("case", CASES)
@given(sizes=piece_sizes())
def test_a_fence_around_the_answer_goes(case: str, sizes: list[int]) -> None:
    written, bare = CASES[case]

    assert run(Unwrap(FENCE), reply(Text(written)), sizes) == reply(Text(bare))


@pytest.mark.parametrize("case", OBJECTS)
@given(sizes=piece_sizes())
def test_the_object_around_a_value_goes(case: str, sizes: list[int]) -> None:
    written, bare = OBJECTS[case]

    assert run(Unwrap(OBJECT), reply(Text(written)), sizes) == reply(Text(bare))


@pytest.mark.parametrize("wrapping", [FENCE, OBJECT], ids=["fence", "object"])
@given(
    text=st.text("`j\n a", max_size=20) | st.text('{"value:} ', max_size=30).map('{"value"'.__add__),
    sizes=piece_sizes(),
)
def test_pieces_change_nothing(wrapping: Wrapping, text: str, sizes: list[int]) -> None:
    assert run(Unwrap(wrapping), reply(Text(text)), sizes) == run(Unwrap(wrapping), reply(Text(text)))


def test_calls_are_not_touched() -> None:
    response = reply(call("c", "f", "```\n1\n```"), finish="tool_calls")

    assert run(Unwrap(FENCE), response) == response
