"""The dialects by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app.conversation.blocks import DialectName
from app.conversation.traits import DialectTraits
from app.dialects import anthropic_messages, openai_chat, openai_completions, openai_responses
from app.dialects.contract import Dialect

# In the order in which they claim a request without an endpoint; the last one gets what no dialect claims.
_SPOKEN: tuple[Dialect, ...] = (anthropic_messages, openai_responses, openai_chat)

DIALECTS: dict[DialectName, Dialect] = {dialect.NAME: dialect for dialect in _SPOKEN}
# Some dialects are spoken only by clients.
_TRAITS = {traits.name: traits for traits in (*(dialect.TRAITS for dialect in _SPOKEN), openai_completions.TRAITS)}


def traits_of(name: DialectName) -> DialectTraits:
    """The traits of a dialect; empty traits for an unknown name, which a client may have invented."""
    return _TRAITS.get(name) or DialectTraits(name=name)


def have_one_owner(one: DialectName, other: DialectName) -> bool:
    """Whether both dialects belong to the same vendor."""
    owner = traits_of(one).owner
    return owner is not None and owner == traits_of(other).owner


def all_traits() -> list[DialectTraits]:
    return list(_TRAITS.values())


def known_names() -> tuple[DialectName, ...]:
    return tuple(_TRAITS)


def find_dialect(path: str, has_header: Callable[[str], bool]) -> Dialect:
    """The dialect that a client probably speaks when its path matches no endpoint. Headers have lower-case names."""
    for dialect in _SPOKEN:
        if dialect.TRAITS.header_mark is not None and has_header(dialect.TRAITS.header_mark):
            return dialect
    for dialect in _SPOKEN:
        if any(mark in path for mark in dialect.TRAITS.path_marks):
            return dialect
    return _SPOKEN[-1]


def guess_dialect(fields: Mapping[str, object]) -> Dialect:
    """The dialect that a request body is probably written in, judged by its field names."""
    if "input" in fields:
        return DIALECTS["openai_responses"]
    return DIALECTS["anthropic_messages" if "system" in fields or "max_tokens" in fields else "openai_chat"]
