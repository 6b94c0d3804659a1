"""Thoughts go back among what was said and called, in the order in which they came."""

from __future__ import annotations

import pytest

from app.conversation.blocks import Block, Reasoning, Text, ToolCall
from app.conversation.thoughts import Thought, interleave, place_of_next

SAID, SAID_TOO = Text("said"), Text("said too")
FIRST, SECOND = ToolCall("1", "f", "{}"), ToolCall("2", "f", "{}")
A, B, C = Reasoning("a"), Reasoning("b"), Reasoning("c")


def apart(blocks: list[Block]) -> tuple[list[Thought], list[Block]]:
    """The thoughts with their places, and the rest, as clients that keep them apart have them."""
    thoughts: list[Thought] = []
    others: list[Block] = []
    for block in blocks:
        if isinstance(block, Reasoning):
            calls = [other for other in others if isinstance(other, ToolCall)]
            thoughts.append(Thought(place_of_next(spoken=len(others) > len(calls), calls=len(calls)), block))
        else:
            others.append(block)
    return thoughts, others


@pytest.mark.parametrize(
    "blocks",
    [
        [],
        [A],
        [SAID],
        [A, SAID],
        [A, B, SAID, FIRST],
        [A, SAID, B, FIRST],
        [SAID, A, FIRST, SECOND],
        [A, FIRST, B, SECOND],
        [A, SAID, B, FIRST, C, SECOND],
        [SAID, A],
        [SAID, SAID_TOO, A, FIRST],
    ],
)
def test_the_order_comes_back(blocks: list[Block]) -> None:
    thoughts, others = apart(blocks)

    assert interleave(thoughts, others) == tuple(blocks)


def test_the_order_of_thoughts_and_calls_comes_back_without_the_text() -> None:
    thoughts, others = apart([SAID, A, FIRST, B, SECOND])

    assert interleave(thoughts, others[1:]) == (A, FIRST, B, SECOND)


@pytest.mark.parametrize("place", [-1, 3, 10**30])
def test_a_place_that_does_not_exist_is_the_nearest_one_before_the_last_call(place: int) -> None:
    woven = interleave([Thought(place, A)], [SAID, FIRST, SECOND])

    assert woven == ((A, SAID, FIRST, SECOND) if place < 0 else (SAID, FIRST, A, SECOND))
