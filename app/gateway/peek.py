"""What the gateway reads from a request that it does not decode: model, mode and state, from body or path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

# Other spellings of "model": servers in Go read any of them, and so another model than the gateway has checked.
_SPELLINGS = ["".join(letters) for letters in product(*zip("MODEL", "model", strict=True))][:-1]
if TYPE_CHECKING:
    _Spelled = msgspec.Struct
else:
    _Spelled = msgspec.defstruct("_Spelled", [(name, msgspec.UnsetType, msgspec.UNSET) for name in _SPELLINGS])


class Peek(_Spelled, kw_only=True):
    """Model and mode, which every endpoint reads. An endpoint whose answer depends on more defines a subclass; `names`
    lists its fields that hold names, or objects with an id, to be looked up."""

    names: ClassVar[tuple[str, ...]] = ()

    model: str
    stream: bool | None = False

    @property
    def several(self) -> bool:
        """Whether the client wants more than one answer."""
        return False

    @property
    def legacy(self) -> bool:
        """Whether the client uses the deprecated form of its API and understands answers in that form only."""
        return False

    @property
    def stored(self) -> bool:
        """Whether the client lets its conversation be stored."""
        return True


# The parts of a path, such as a model's name, by the names that the endpoint gives them.
Parts = Mapping[str, Any]
NO_PARTS: Parts = {}

# Reads a body and the parts of its path. Raises msgspec.MsgspecError for invalid JSON or wrong types.
ReadPeek = Callable[[bytes, Parts], Peek]


def peek_body(kind: type[Peek]) -> ReadPeek:
    """Makes a reader of one kind of peek from the body alone."""
    decoder = msgspec.json.Decoder(kind)
    return lambda body, _parts: decoder.decode(body)


class _Object(msgspec.Struct):
    """A body whose fields are all ignored."""


_object = msgspec.json.Decoder(_Object)


def peek_path(read: Callable[[Parts], Peek]) -> ReadPeek:
    """Makes a reader of the peek from the parts of the path, for bodies that name no model but must be JSON objects."""

    def peek(body: bytes, parts: Parts) -> Peek:
        _object.decode(body)
        return read(parts)

    return peek


PEEK = peek_body(Peek)
