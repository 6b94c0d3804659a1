"""Joins adjacent turns in one pass, which stays linear over thousands of turns."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from app.conversation.blocks import Block
from app.conversation.request import Turn

# Whether a turn goes on the run that has this first turn and this last one.
Belongs = Callable[[Turn, Turn, Turn], bool]
Join = Callable[[Sequence[Sequence[Block]]], tuple[Block, ...]]


def chain_blocks(runs: Sequence[Sequence[Block]]) -> tuple[Block, ...]:
    return tuple(itertools.chain.from_iterable(runs))


def join_runs(turns: Sequence[Turn], belongs: Belongs, join: Join = chain_blocks) -> list[Turn]:
    """The turns, each run of which became its first with the blocks of all."""
    runs: list[list[Turn]] = []
    for turn in turns:
        if runs and belongs(runs[-1][0], runs[-1][-1], turn):
            runs[-1].append(turn)
        else:
            runs.append([turn])
    return [run[0] if len(run) == 1 else replace(run[0], blocks=join([turn.blocks for turn in run])) for run in runs]
