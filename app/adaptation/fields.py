"""Names the neutral request's fields as the client's dialect does, for loss reports."""

from __future__ import annotations

from app.conversation.blocks import DialectName
from app.dialects.registry import traits_of


def field(dialect: DialectName, name: str) -> str:
    """What the client calls the neutral field `name`."""
    return traits_of(dialect).fields.get(name, name)
