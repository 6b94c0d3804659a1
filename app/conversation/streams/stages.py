"""Stages between a stream parser and a stream renderer, which turn events into events.

A stage undoes in the reply what an adaptation did to the request (a custom tool sent as a function, a stop sequence
that the upstream does not support …). Stages are pure state machines, one set per reply. A unary reply is unfolded and
runs through the same stages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from app.conversation.events import Event
from app.conversation.response import Response


class Stage(Protocol):
    """A transformation of one reply's events. A stage with a true `done` is removed: later events bypass it. A quiet
    one (`quiet` is true) leaves every BlockDelta alone. Its maker may define `leaves(response)`, which says whether the
    stage would leave a complete answer unchanged."""

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events that replace these, in order: possibly none, or the same sequence if nothing changes.

        Called with one batch from the parser or the previous stage. The output keeps the lifecycle of blocks, and
        whatever is held back is released before `Finished` or `Failed`. Raises nothing.
        """
        ...


StageMaker = Callable[[], Stage]


def chain(stages: Sequence[Stage], events: Sequence[Event]) -> Sequence[Event]:
    """Events after all stages, first to last. Without stages they pass unchanged."""
    for stage in stages:
        events = stage.feed(events)
    return events


def find_needed(stages: Sequence[StageMaker], response: Response) -> list[StageMaker]:
    """The stages that may change a complete answer."""
    needed: list[StageMaker] = []
    for make in stages:  # a comprehension costs more for the one that most answers have
        leaves = getattr(make, "leaves", None)
        if leaves is None or not leaves(response):
            needed.append(make)
    return needed


def active(stages: Sequence[Stage]) -> list[Stage]:
    """The stages that may still change something."""
    return [stage for stage in stages if not getattr(stage, "done", False)]
