"""Replies for stages: whole ones, cut into streams in any way and folded again behind the stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from hypothesis import strategies as st

from app.conversation.blocks import Block
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Event
from app.conversation.literals import literal, text_of
from app.conversation.response import FinishReason, Response
from app.conversation.streams.fold import fold, unfold
from app.conversation.streams.stages import Stage


def reply(*blocks: Block, finish: FinishReason = "stop") -> Response:
    return Response(id="r1", model="m", blocks=blocks, finish_reason=finish)


def run(stage: Stage, response: Response, sizes: Sequence[int] = ()) -> Response:
    """What a client gets of the reply when each text arrives in pieces of these sizes, then one by one."""
    return fold(stream(stage, response, sizes))


def stream(stage: Stage, response: Response, sizes: Sequence[int] = ()) -> list[Event]:
    out: list[Event] = []
    for event in _cut(unfold(response), sizes):
        out.extend(stage.feed([event]))
    check_lifecycle(out)
    return out


def deltas(events: Iterable[Event]) -> list[str]:
    return [text_of(event.text) for event in events if isinstance(event, BlockDelta)]


def check_lifecycle(events: Iterable[Event]) -> None:
    """Blocks are counted as they open, deltas fall in open blocks, and each block is closed once."""
    seen = 0
    still_open: set[int] = set()
    for event in events:
        match event:
            case BlockOpened():
                assert event.index == seen
                seen += 1
                still_open.add(event.index)
            case BlockDelta():
                assert event.index in still_open
            case BlockClosed():
                still_open.remove(event.index)
    assert not still_open


def piece_sizes() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, 12), max_size=60)


def _cut(events: Iterable[Event], sizes: Sequence[int]) -> Iterator[Event]:
    remaining = iter(sizes)
    for event in events:
        if not isinstance(event, BlockDelta) or not sizes:
            yield event
            continue
        text = text_of(event.text)
        while text:
            size = next(remaining, 1)
            yield BlockDelta(event.index, literal(text[:size]))
            text = text[size:]
