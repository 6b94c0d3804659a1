"""Joins adjacent turns in one pass, which is linear even over thousands of turns."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from app.conversation.blocks import Block
from app.conversation.request import Turn

# Whether a turn (third argument) continues the run with this first and this last turn.
Belongs = Callable[[Turn, Turn, Turn], bool]
Join = Callable[[Sequence[Sequence[Block]]], tuple[Block, ...]]


def chain_blocks(runs: Sequence[Sequence[Block]]) -> tuple[Block, ...]:
    return tuple(itertools.chain.from_iterable(runs))


def join_adjacent(turns: Sequence[Turn], belongs: Belongs, join: Join = chain_blocks) -> list[Turn]:
    """The turns with each run replaced by its first turn, which has the blocks of all."""
    runs: list[list[Turn]] = []
    for turn in turns:
        if runs and belongs(runs[-1][0], runs[-1][-1], turn):
            runs[-1].append(turn)
        else:
            runs.append([turn])
    return [run[0] if len(run) == 1 else replace(run[0], blocks=join([turn.blocks for turn in run])) for run in runs]
