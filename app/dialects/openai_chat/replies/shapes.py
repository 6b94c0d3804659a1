"""Decoders for the common shapes of stream chunks.

A chunk mostly looks like the one before it, so the parser tries the shape of the last chunk first. The decoder of a
shape knows one field with content and allows only null in the others, so it finds a delta in one step without any
Python checks. It rejects every other chunk, which is then parsed in full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Literal, TypeVar

import msgspec
from msgspec import Raw

from app.dialects.openai_chat.replies.tool_calls import Call
from app.json_values import UNREADABLE

# Returns the literal that a chunk adds to the open block; raises DecodeError for a chunk of another shape.
Shape = Callable[[bytes], bytes]

_Delta = TypeVar("_Delta")
_Part = TypeVar("_Part", bound="_Fragment")
_Empty = Literal[""] | None
_MAX_MISSES = 16  # chunks that may differ from the one before, beyond those that match
_QUOTE = ord('"')


class Expectation(msgspec.Struct):
    """The shape that is expected of the next chunk; None if it is to be read in full. `first` is the shape of a text's
    first delta, as long as the next may repeat it."""

    shape: Shape | None = None
    first: Shape | None = None
    misses: int = 0

    def expect(self, shape: Shape | None) -> bool:
        """Expects a shape, unless the chunks of this stream seldom look like the one before."""
        if self.misses > _MAX_MISSES:
            return False
        self.shape = shape
        return True

    def note(self, missed: int, tried: int) -> None:
        """Counts the chunks of a read that had another shape than expected."""
        self.misses = max(0, self.misses + 2 * missed - tried)
        if self.misses > _MAX_MISSES:
            self.shape = None

    def is_met(self, payload: bytes) -> bool:
        """Whether a chunk that was read in full has the shape that is expected of the next one."""
        shape = self.shape or self.first
        if shape is None:
            return False
        try:
            text = shape(payload)
        except UNREADABLE:
            return False
        return text[0] == _QUOTE and len(text) > 2


def read_text(payload: bytes) -> bytes:
    """The shape of continued text."""
    return bytes(_decode_text(payload).choices[0].delta.content)


def read_reasoning_content(payload: bytes) -> bytes:
    """The shape of continued reasoning, under its older name."""
    return bytes(_decode_reasoning_content(payload).choices[0].delta.reasoning_content)


def read_reasoning(payload: bytes) -> bytes:
    """The shape of continued reasoning, under its newer name."""
    return bytes(_decode_reasoning(payload).choices[0].delta.reasoning)


def arguments_of(call: Call, index: int, *, passing: bool = False) -> Shape:
    """The shape in which the arguments of `call` continue, under the server's `index`. Where the events are `passing`,
    even an empty id or name would reach the client."""
    pieces, decode = call.pieces, _decode_passing_call if passing else _decode_call

    def read_arguments(payload: bytes) -> bytes:
        fragment = decode(payload).choices[0].delta.tool_calls[0]
        if fragment.index != index:
            raise msgspec.ValidationError("another call")
        piece = bytes(fragment.function.arguments)
        if piece.startswith(b'"{'):
            raise msgspec.ValidationError("it may be all of them again")
        if piece.startswith(b'"'):
            pieces.append(piece)
        return piece

    return read_arguments


class _NullFields(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Fields that servers send beside the content, as long as they are empty."""

    role: str | None = None
    refusal: None = None
    function_call: None = None


class _TextDelta(_NullFields, gc=False, forbid_unknown_fields=True, kw_only=True):
    content: Raw
    reasoning_content: _Empty = None
    reasoning: _Empty = None
    tool_calls: None = None


class _ReasoningContentDelta(_NullFields, gc=False, forbid_unknown_fields=True, kw_only=True):
    reasoning_content: Raw
    reasoning: Raw = Raw()
    content: _Empty = None
    tool_calls: None = None


class _ReasoningDelta(_NullFields, gc=False, forbid_unknown_fields=True, kw_only=True):
    reasoning: Raw
    reasoning_content: _Empty = None
    content: _Empty = None
    tool_calls: None = None


class _Arguments(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    arguments: Raw
    name: _Empty = None


class _Fragment(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    index: int
    function: _Arguments
    id: _Empty = None
    type: str | None = None


class _PassingArguments(_Arguments, gc=False, forbid_unknown_fields=True):
    name: None = None


class _PassingFragment(_Fragment, gc=False, forbid_unknown_fields=True):
    function: _PassingArguments
    id: None = None
    type: None = None


class _CallDelta(_NullFields, Generic[_Part], gc=False, forbid_unknown_fields=True, kw_only=True):
    tool_calls: tuple[_Part]
    content: _Empty = None
    reasoning_content: _Empty = None


class _Choice(msgspec.Struct, Generic[_Delta], gc=False):
    delta: _Delta
    index: Literal[0] = 0
    finish_reason: _Empty = None
    logprobs: None = None
    usage: None = None


class _Chunk(msgspec.Struct, Generic[_Delta], gc=False):
    choices: tuple[_Choice[_Delta]]
    usage: None = None
    error: None = None
    x_groq: None = None


_decode_text = msgspec.json.Decoder(_Chunk[_TextDelta]).decode
_decode_reasoning_content = msgspec.json.Decoder(_Chunk[_ReasoningContentDelta]).decode
_decode_reasoning = msgspec.json.Decoder(_Chunk[_ReasoningDelta]).decode
_decode_call = msgspec.json.Decoder(_Chunk[_CallDelta[_Fragment]]).decode
_decode_passing_call = msgspec.json.Decoder(_Chunk[_CallDelta[_PassingFragment]]).decode
