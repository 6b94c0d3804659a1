"""Adapts a request to its upstream, step by step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import msgspec

from app.adaptation import features as has
from app.adaptation.cache_marks import adapt_cache_marks
from app.adaptation.compaction import adapt_compaction
from app.adaptation.extensions import adapt_extensions
from app.adaptation.features import Features
from app.adaptation.foreign_blocks import adapt_foreign_blocks
from app.adaptation.limits import adapt_limits, wakes_limits
from app.adaptation.media.media import adapt_media
from app.adaptation.notes import Notes
from app.adaptation.reasoning.past_reasoning import adapt_replay, wakes_replay
from app.adaptation.reasoning.reasoning import adapt_reasoning, wakes_reasoning
from app.adaptation.reasoning.think_tags import ThinkTags
from app.adaptation.replies.empty_answer import RefuseEmpty
from app.adaptation.structured import adapt_structured
from app.adaptation.tools.machine import adapt_machine
from app.adaptation.tools.pairing import adapt_pairing
from app.adaptation.tools.text_tool_calls import ReadTextToolCalls
from app.adaptation.tools.tool_choice import adapt_past_tools, adapt_tool_choice
from app.adaptation.tools.tool_ids import adapt_tool_ids
from app.adaptation.tools.tool_restoration import DeclaredNames
from app.adaptation.tools.tools import adapt_tools
from app.adaptation.turns import adapt_turns, wakes_turns
from app.conversation.capabilities import Capabilities
from app.conversation.losses import Loss
from app.conversation.repeated_tools import derive
from app.conversation.request import FunctionTool, Request
from app.conversation.streams.stages import StageMaker
from app.dialects.registry import traits_of

Adapt = Callable[[Request, Capabilities, Notes], Request]


class Step(NamedTuple):
    """A step of the adaptation, and the features that make it necessary for an upstream: without any of them, it
    changes neither the request nor the notes."""

    adapt: Adapt
    wakes: Callable[[Capabilities], Features]


class Adapted(msgspec.Struct, frozen=True):
    """A request adapted to its upstream, what was lost, and the stages for its reply, in order."""

    request: Request
    losses: tuple[Loss, ...]
    stages: tuple[StageMaker, ...]

    @property
    def reply_passes(self) -> bool:
        """Whether nothing in a reply of the same dialect must be converted back."""
        return all(stage is RefuseEmpty for stage in self.stages)


def adapt(request: Request, capabilities: Capabilities) -> Adapted:
    """The request in the upstream's terms. Raises ClientError for requests that are invalid for any upstream, never for
    a loss."""
    plan = _plan(capabilities)
    settings, turns = has.find_settings(request), has.find_in_turns(request.turns)
    found = settings | turns
    if not plan.wakes & found:
        return Adapted(request, (), plan.stages)
    notes = Notes(stages=[*plan.stages])
    for step, wakes, wakes_later in plan.steps:
        if wakes & found:
            before, request = request, step(request, capabilities, notes)
            if request is not before:
                settings = has.find_settings(request)
            if request.turns is not before.turns:
                turns = has.find_in_turns(request.turns)
            found = settings | turns
        if not wakes_later & found:
            break
    return Adapted(request, tuple(notes.losses), tuple(reversed(notes.stages)))


def wakes_writing(can: Capabilities) -> Features:
    if can.think_tags:
        return has.ALWAYS
    return has.TOOLS if can.text_tool_calls or not can.first_party else has.NONE


def adapt_writing(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    """Restores tool calls and thoughts that models write into their text."""
    tools = request.tools
    is_read = request.dialect != capabilities.dialect or capabilities.text_tool_calls
    if tools and is_read and not capabilities.first_party:
        notes.on_reply(derive(tools, DeclaredNames, None, lambda: DeclaredNames(tool.name for tool in tools)))
    if capabilities.text_tool_calls and tools:
        schemas = {tool.name: tool.schema if isinstance(tool, FunctionTool) else None for tool in tools}
        notes.on_reply(partial(ReadTextToolCalls, schemas))
    if capabilities.think_tags:
        notes.on_reply(partial(ThinkTags, opened=capabilities.think_opened))
    return request


# The order matters. A request for something other than an answer comes first. Then foreign fields, which may become
# tools, and blocks that move to other turns. Then the structure of the turns, and the tools themselves. A forced tool
# decides how a schema and thinking can be requested. Turns are arranged once no later step can empty one, and thinking
# is last because it depends on all other settings. A reply passes the stages in reverse: it is parsed as the model
# wrote it, then its tools are restored, and whether it is empty is known at the end.
STEPS: tuple[Step, ...] = (
    Step(adapt_compaction, lambda can: has.COMPACT),
    Step(adapt_extensions, lambda can: has.EXTENSIONS | has.TOOLS),
    Step(adapt_foreign_blocks, lambda can: has.FOREIGN | has.PROOFS),
    Step(adapt_pairing, lambda can: has.CALLS),
    Step(adapt_tool_ids, lambda can: has.CALLS),
    Step(adapt_tools, lambda can: has.TOOLS | has.CALLS),
    Step(adapt_machine, lambda can: has.TOOLS | has.PROOFS),
    Step(adapt_tool_choice, lambda can: has.CHOICE),
    Step(adapt_structured, lambda can: has.FORMAT),
    Step(adapt_past_tools, lambda can: has.CALLS if can.past_tools and can.tool_choice else has.NONE),
    Step(adapt_limits, wakes_limits),
    Step(adapt_cache_marks, lambda can: has.CACHE if can.cache_hints != "none" else has.NONE),
    Step(adapt_media, lambda can: has.MEDIA | has.LATE_RESULTS | (has.NONE if can.error_flag else has.ERRORS)),
    Step(adapt_replay, wakes_replay),
    Step(adapt_turns, wakes_turns),
    Step(adapt_reasoning, wakes_reasoning),
    Step(adapt_writing, wakes_writing),
)


class _Plan(NamedTuple):
    """What adapts a request to an upstream: `steps`, each with the features that wake it and those that wake any later
    one; the features that wake any step at all; and the `stages` of every reply."""

    steps: tuple[tuple[Adapt, Features, Features], ...]
    wakes: Features
    stages: tuple[StageMaker, ...]


# By the identity of the capabilities, which are the same object from request to request. The plan keeps them alive.
_plans: dict[int, tuple[Capabilities, _Plan]] = {}
_MAX_PLANS = 256


def _plan(capabilities: Capabilities) -> _Plan:
    known = _plans.get(id(capabilities))
    if known is not None and known[0] is capabilities:
        return known[1]
    steps: list[tuple[Adapt, Features, Features]] = []
    wakes_later = has.NONE
    for step in reversed(STEPS):
        wakes = step.wakes(capabilities)
        steps.append((step.adapt, wakes, wakes_later))
        wakes_later |= wakes
    stages: tuple[StageMaker, ...] = () if traits_of(capabilities.dialect).means_empty else (RefuseEmpty,)
    plan = _Plan(tuple(reversed(steps)), wakes_later, stages)
    if len(_plans) >= _MAX_PLANS:
        _plans.clear()
    _plans[id(capabilities)] = capabilities, plan
    return plan
