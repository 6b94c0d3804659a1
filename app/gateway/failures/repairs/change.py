"""What a refusal teaches about an upstream, as data that workers and hosts share."""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.blocks import DialectName
from app.conversation.capabilities import Capabilities
from app.dialects.registry import DIALECTS


def seals_for_account(dialect: DialectName) -> bool:
    """Whether a dialect's vendor encrypts reasoning so that only the account that got it can send it back."""
    return DIALECTS[dialect].TRAITS.seals_for_account


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """`values` are new values of capabilities, `refused` the fields to leave out, `absent` the operations that the
    upstream lacks."""

    values: dict[str, Any] = {}
    refused: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    def __call__(self, capabilities: Capabilities) -> Capabilities:
        values = dict(self.values)
        if self.refused:
            values["refused_fields"] = tuple(dict.fromkeys((*capabilities.refused_fields, *self.refused)))
        if self.absent:
            values["absent"] = tuple(dict.fromkeys((*capabilities.absent, *self.absent)))
        return msgspec.structs.replace(capabilities, **values)

    @property
    def is_known(self) -> bool:
        """Whether this version knows all these capabilities; the change may come from a worker of another version."""
        return self.values.keys() <= set(Capabilities.__struct_fields__)


class Repair(msgspec.Struct, frozen=True):
    """A change with which a refused request may pass. `learned`: the upstream will refuse it next time too."""

    name: str
    change: Change
    learned: bool = True

    def is_needed(self, capabilities: Capabilities) -> bool:
        """Whether it would change anything."""
        return self.change(capabilities) != capabilities


# For a request that moves to another account.
UNSEALED = Change({"proofs": ()})
