"""Passes whole answers of the same dialect, and repairs them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.literals import hide_halves
from app.conversation.response import Usage
from app.dialects.anthropic_messages.errors import parse_stream_error
from app.dialects.anthropic_messages.response_parser import is_true_reason, parse_response
from app.dialects.anthropic_messages.response_renderer import render_response
from app.dialects.anthropic_messages.usage import find_usage, read_usage
from app.dialects.json_bodies import repair_text, replace_model
from app.errors import UpstreamRefused
from app.json_values import UNREADABLE


def pass_clean(body: bytes, model: str) -> tuple[bytes, Usage | None] | None:
    """A whole answer with another model's name, and its usage; None unless it is clean."""
    try:
        clean = _clean_decoder.decode(body)
    except UNREADABLE:
        return None
    counts = clean.usage
    if type(counts.get("input_tokens")) is not int or type(counts.get("output_tokens")) is not int:
        return None
    if not _are_sound(clean.content, clean.stop_reason):
        return None
    return replace_model(body, model, old=clean.model), read_usage(counts)


def pass_response(body: bytes, context: RenderContext, capabilities: Capabilities) -> tuple[bytes, Usage | None]:
    """An upstream's whole answer with the client's name of the model.

    Raises UpstreamRefused for an error that came with status 200, UpstreamMalformed for anything but a JSON object.
    """
    body = repair_text(body)
    clean = pass_clean(body, context.model)
    if clean is not None:
        return clean
    try:
        whole = _whole_decoder.decode(hide_halves(body))
    except UNREADABLE:
        return render_response(parse_response(body), context), find_usage(body)
    if whole.error:
        raise UpstreamRefused(parse_stream_error(whole.error, body))
    if whole.content is None or whole.tool_calls or _is_odd(whole):
        return render_response(parse_response(body), context), find_usage(body)
    return replace_model(body, context.model), find_usage(body)


class _Counts(msgspec.Struct):
    input_tokens: int
    output_tokens: int


class _Part(msgspec.Struct):
    type: str
    text: str = ""
    thinking: str = ""
    id: str | int | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    """What makes clients take an answer for a message."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]


class _Clean(_Message):
    """An answer that every client can read, if its counts are numbers and its calls are sound."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    content: list[_Part]
    stop_reason: str
    usage: dict[str, Any]
    error: None = None
    tool_calls: None = None


class _Whole(_Message):
    """What clients need of an answer; they fail on one without counts."""

    usage: _Counts
    error: Any = None
    tool_calls: Any = None
    content: list[msgspec.Raw] | None = None
    stop_reason: str | None = None


_part_decoder = msgspec.json.Decoder(_Part)
_clean_decoder = msgspec.json.Decoder(_Clean)
_whole_decoder = msgspec.json.Decoder(_Whole)


def _is_odd(whole: _Whole) -> bool:
    """Whether agents would stop at the answer, or fail at one of its calls."""
    try:
        parts = [_part_decoder.decode(raw) for raw in whole.content or ()]
    except UNREADABLE:
        return True
    return not _are_sound(parts, whole.stop_reason)


def _are_sound(parts: list[_Part], stop_reason: str | None) -> bool:
    """Whether the calls of an answer can be made, and it ends as its content does."""
    calls = [part for part in parts if part.type == "tool_use"]
    for call in calls:
        if not (isinstance(call.id, str) and call.id and call.name and bytes(call.input)[:1] == b"{"):
            return False
    return len({call.id for call in calls}) == len(calls) and is_true_reason(stop_reason, called=bool(calls))
