"""What the gateway reads of a request that it does not decode: model, mode and state, from body or path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec


class Peek(msgspec.Struct):
    """Model and mode, which every endpoint reads. One whose answer depends on more has a kind of its own; `names` are
    its fields with names, or objects with an id, that are looked up."""

    names: ClassVar[tuple[str, ...]] = ()

    model: str
    stream: bool | None = False

    @property
    def several(self) -> bool:
        """Whether more than one answer is wanted."""
        return False

    @property
    def legacy(self) -> bool:
        """Whether the client asks with the deprecated form of its API, and knows answers in that form only."""
        return False

    @property
    def stored(self) -> bool:
        """Whether the client lets its conversation be stored."""
        return True


# The parts of a path, such as a model's name, by the names that its endpoint gives them.
Parts = Mapping[str, Any]
NO_PARTS: Parts = {}

# Reads a body and the parts of its path. Raises msgspec.MsgspecError for what is no JSON, or not of the right types.
ReadPeek = Callable[[bytes, Parts], Peek]


def peek_body(kind: type[Peek]) -> ReadPeek:
    """Reads a kind of peek from the body alone."""
    decoder = msgspec.json.Decoder(kind)
    return lambda body, _parts: decoder.decode(body)


class _Object(msgspec.Struct):
    """A body of which nothing is read."""


_object = msgspec.json.Decoder(_Object)


def peek_path(read: Callable[[Parts], Peek]) -> ReadPeek:
    """Reads the peek from the parts of the path, for bodies that name no model; they are JSON objects all the same."""

    def peek(body: bytes, parts: Parts) -> Peek:
        _object.decode(body)
        return read(parts)

    return peek


PEEK = peek_body(Peek)
