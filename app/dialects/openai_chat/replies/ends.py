"""Collects why the choices of a stream ended."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.conversation.response import FinishReason
from app.dialects.openai_chat.vocabulary import WireChoice, read_finish, read_stop

_ORDINARY = ("stop", "tool_calls")


class Ends(msgspec.Struct):
    """The finish reasons by choice, and the stop sequence. Once there are several choices, those without a reason are
    `awaited`."""

    reasons: dict[int, str] = {}
    awaited: dict[int, None] = {}
    stop: str | None = None

    def note(self, index: int, reason: str | None, choice: WireChoice) -> None:
        if reason:
            self.reasons[index] = reason
            self.stop = self.stop or read_stop(choice)
        if index or self.awaited:
            self.awaited.update((place, None) for place in (0, index) if place not in self.reasons)
            if reason:
                self.awaited.pop(index, None)

    def judge(self) -> tuple[str, FinishReason | Literal["broken"]]:
        """The reason that counts for all choices, and what it means: the first that is no ordinary end, else the first
        of all. It is empty if none came."""
        reasons = [*self.reasons.values()] or [""]
        for reason in reasons:
            finish = read_finish(reason)
            if finish not in _ORDINARY:
                return reason, finish
        return reasons[0], read_finish(reasons[0])
