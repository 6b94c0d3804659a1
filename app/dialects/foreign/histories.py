"""Histories with messages and items in the shape of another dialect or a library.

Each value is read into neutral pieces, which are then written in the shape of the path's dialect. Values already in
that shape stay unchanged.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

from app.dialects.foreign.choices import Shape
from app.dialects.foreign.marks import is_foreign
from app.dialects.foreign.pieces import Answered, Called, check_calls, read_pieces
from app.dialects.foreign.writers import WRITERS


def mend_turns(values: Any, shape: Shape, field: str) -> Any:
    """The history in `field`, converted to `shape`. Raises InvalidRequest for a call that no dialect has."""
    if isinstance(values, dict):
        values = [values]
    if not isinstance(values, list):
        return values
    mended: list[Any] = []
    calls = _OpenCalls()
    for position, value in enumerate(values):
        foreign = is_foreign(value, shape)
        if foreign:
            check_calls(value, f"{field}[{position}]")
        pieces = list(read_pieces(value))
        for piece in pieces:
            if isinstance(piece, Called):
                calls.add(piece)
            elif isinstance(piece, Answered):
                calls.answer(piece, value)
        mended.extend(WRITERS[shape](pieces) if foreign else [value])
    return mended


class _OpenCalls:
    """The calls that no result has answered yet, in the order in which they were made.

    Answered ones are dropped from the queues when they come to the front, so that no history costs more than its
    length.
    """

    def __init__(self) -> None:
        self._count = 0
        self._ids: set[str] = set()
        self._order: deque[Called] = deque()
        self._by_name: defaultdict[str, deque[Called]] = defaultdict(deque)

    def add(self, call: Called) -> None:
        """Takes note of a call. One without an id gets one."""
        self._count += 1
        if call.id in (None, ""):
            call.id = f"call_{self._count}"
        self._ids.add(str(call.id))
        self._order.append(call)
        self._by_name[str(call.name)].append(call)

    def answer(self, answer: Answered, value: Any) -> None:
        """Takes note of a result. One without an id gets that of an open call: of the same name, else of the first."""
        if answer.id in (None, ""):
            name = value.get("name") if isinstance(value, dict) else None
            call = self._first(self._by_name.get(str(name))) or self._first(self._order)
            answer.id = call.id if call is not None else None
        self._ids.discard(str(answer.id))

    def _first(self, queue: deque[Called] | None) -> Called | None:
        while queue and str(queue[0].id) not in self._ids:
            queue.popleft()
        return queue[0] if queue else None
