"""Notes taken while a request is adapted: losses, and what to undo in the reply."""

from __future__ import annotations

import msgspec

from app.conversation.blocks import DialectName
from app.conversation.losses import Loss, Severity
from app.conversation.schemas import MAX_INLINED
from app.conversation.streams.stages import StageMaker
from app.dialects.registry import traits_of


class Notes(msgspec.Struct):
    """Collected over one adaptation.

    The last change is undone first: a reply passes through `stages` in the reverse order of their noting. `room` is how
    many characters the references of one schema may expand to.
    """

    losses: list[Loss] = []
    stages: list[StageMaker] = []
    room: int = MAX_INLINED

    def lose(self, severity: Severity, path: str, why: str, *, lowered: tuple[float, float] | None = None) -> None:
        """Reports a loss; `path` is the field in the client's own request, for example `tools[3]`."""
        self.losses.append(Loss(severity, path, why, lowered))

    def on_reply(self, stage: StageMaker) -> None:
        """Adds a stage for the reply. The maker is called once per reply, because a stage holds state."""
        self.stages.append(stage)


def field(dialect: DialectName, name: str) -> str:
    """The client's name for the neutral field `name`."""
    return traits_of(dialect).fields.get(name, name)
