"""Adapts a request to its upstream, step by step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from app.adaptation.cache_marks import adapt_cache_marks
from app.adaptation.compaction import adapt_compaction
from app.adaptation.extensions import adapt_extensions
from app.adaptation.limits import adapt_limits
from app.adaptation.media.media import adapt_media
from app.adaptation.notes import Notes
from app.adaptation.reasoning.past_reasoning import adapt_replay
from app.adaptation.reasoning.reasoning import adapt_reasoning
from app.adaptation.reasoning.think_tags import ThinkTags
from app.adaptation.replies.empty_answer import RefuseEmpty
from app.adaptation.structured import adapt_structured
from app.adaptation.told import adapt_told
from app.adaptation.tools.machine import adapt_machine
from app.adaptation.tools.pairing import adapt_pairing
from app.adaptation.tools.text_tool_calls import ReadTextToolCalls
from app.adaptation.tools.tool_choice import adapt_tool_choice
from app.adaptation.tools.tool_ids import adapt_tool_ids
from app.adaptation.tools.tools import adapt_tools
from app.adaptation.turns import adapt_turns
from app.conversation.capabilities import Capabilities
from app.conversation.losses import Loss
from app.conversation.request import FunctionTool, Request
from app.conversation.streams.stages import StageMaker
from app.dialects.registry import traits_of

Step = Callable[[Request, Capabilities, Notes], Request]


class Adapted(msgspec.Struct, frozen=True):
    """A request as its upstream can be asked it, what was lost, and what its reply must pass through, in order."""

    request: Request
    losses: tuple[Loss, ...]
    stages: tuple[StageMaker, ...]

    @property
    def reply_passes(self) -> bool:
        """Whether there is nothing to turn back in a reply of the same dialect."""
        return all(stage is RefuseEmpty for stage in self.stages)


def adapt(request: Request, capabilities: Capabilities) -> Adapted:
    """The request in the upstream's terms. Raises ClientError for what is wrong on any way, never for a loss."""
    notes = Notes()
    for step in STEPS:
        request = step(request, capabilities, notes)
    return Adapted(request, tuple(notes.losses), tuple(reversed(notes.stages)))


def adapt_emptiness(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    if not traits_of(capabilities.dialect).means_empty:
        notes.on_reply(RefuseEmpty)
    return request


def adapt_writing(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    """What models write into their text though it is none of it."""
    schemas = {tool.name: tool.schema if isinstance(tool, FunctionTool) else None for tool in request.tools}
    if capabilities.text_tool_calls and schemas:
        notes.on_reply(partial(ReadTextToolCalls, schemas))
    if capabilities.think_tags:
        notes.on_reply(partial(ThinkTags, opened=capabilities.think_opened))
    return request


# What asks for something else than an answer comes first, then foreign fields, for they may be tools, and blocks that
# are told in other turns; then the turns' skeleton and the tools themselves; what is forced decides how a schema and
# the thinking can be asked for. Turns are put into place when no step will empty one any
# more, and the thinking goes last, for it looks at all other settings.
# A reply passes through the stages the other way: it is read as the model wrote it, then its tools are restored, and
# whether it is empty shows at the end.
STEPS: tuple[Step, ...] = (
    adapt_emptiness,
    adapt_compaction,
    adapt_extensions,
    adapt_told,
    adapt_pairing,
    adapt_tool_ids,
    adapt_tools,
    adapt_machine,
    adapt_tool_choice,
    adapt_structured,
    adapt_limits,
    adapt_cache_marks,
    adapt_media,
    adapt_replay,
    adapt_turns,
    adapt_reasoning,
    adapt_writing,
)
