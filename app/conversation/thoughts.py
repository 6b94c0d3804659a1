"""Places reasoning among text and tool calls, for clients that store it separately.

A message of Chat Completions is one text followed by calls, with reasoning beside them. Models may think before each of
these, and a vendor that verifies its proofs expects them back in that order.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.conversation.blocks import Block, Compaction, Proof, Reasoning, Refusal, ServerTool, Text, ToolCall
from app.conversation.steps import carry


class Thought(msgspec.Struct, frozen=True):
    """Reasoning and its place: 0 before the text, 1 after the text, n + 1 after n calls as well."""

    place: int
    block: Reasoning


def place_of_next(*, spoken: bool, calls: int) -> int:
    """The place of a thought that begins at this point."""
    return 1 + calls if spoken or calls else 0


def find_thoughts(blocks: Sequence[Block]) -> list[Thought]:
    """The thoughts among blocks, with their places. Steps of the upstream's own tools, and summaries, count as
    thoughts that carry their proof."""
    thoughts: list[Thought] = []
    spoken, calls = False, 0
    for block in blocks:
        match block:
            case Reasoning():
                thoughts.append(Thought(place_of_next(spoken=spoken, calls=calls), block))
            case ServerTool():
                if (proof := carry((block,))) is not None:
                    thoughts.append(Thought(place_of_next(spoken=spoken, calls=calls), Reasoning("", proof)))
            case Compaction(proof=Proof() as proof):
                thoughts.append(Thought(place_of_next(spoken=spoken, calls=calls), Reasoning("", proof)))
            case ToolCall():
                calls += 1
            case Text() | Refusal():
                spoken = True
    return thoughts


def interleave(thoughts: Sequence[Thought], others: Sequence[Block]) -> tuple[Block, ...]:
    """The thoughts in their places among the other blocks of a turn. None is placed after the last call, because
    thinking precedes what it results in."""
    calls = [block for block in others if isinstance(block, ToolCall)]
    spoken = [block for block in others if not isinstance(block, ToolCall)]
    last = len(calls) or 1
    slots: list[list[Block]] = [[] for _ in range(last + 1)]
    for thought in thoughts:
        slots[min(max(thought.place, 0), last)].append(thought.block)
    interleaved: list[Block] = [*slots[0], *spoken]
    if not calls:
        return (*interleaved, *slots[1])
    for slot, call in zip(slots[1:], calls, strict=True):
        interleaved += (*slot, call)
    return tuple(interleaved)
