"""Stages between a stream parser and a stream renderer, which turn events into events.

A stage undoes on the way back what an adaptation did to the request on the way out (a custom tool that went as a
function, a stop sequence that the upstream does not know …). Stages are pure state machines, one set a reply, and a
unary reply runs through the same ones by being unfolded first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from app.conversation.events import Event
from app.conversation.response import Response


class Stage(Protocol):
    """One set for each reply. One that has a `done` steps aside once that is true: all later events pass it as they
    are. One whose class has `leaves` tells by it which whole answers it would leave as they are."""

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events instead of these, in order; possibly none, or the same sequence where nothing is to be done.

        Called with what the parser or the stage before gave at once. What goes out keeps the lifecycle of blocks:
        whatever is held back is given out before `Finished` or `Failed` at the latest. Raises nothing.
        """
        ...


StageMaker = Callable[[], Stage]


def chain(stages: Sequence[Stage], events: Sequence[Event]) -> Sequence[Event]:
    """Events after all stages, first to last. With no stages they pass as they are."""
    for stage in stages:
        events = stage.feed(events)
    return events


def find_needed(stages: Sequence[StageMaker], response: Response) -> list[StageMaker]:
    """Those stages that may change a whole answer."""
    return [make for make in stages if (leaves := getattr(make, "leaves", None)) is None or not leaves(response)]


def active(stages: Sequence[Stage]) -> list[Stage]:
    """The stages that may still change something."""
    return [stage for stage in stages if not getattr(stage, "done", False)]
