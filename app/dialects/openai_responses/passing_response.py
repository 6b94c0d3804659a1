"""Passes whole responses of the same dialect, and repairs them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.literals import EMPTY, hide_halves
from app.conversation.response import Usage
from app.dialects.error_kinds import decode_error, judge_reported
from app.dialects.json_bodies import change_fields, repair_surrogates, repair_text, replace_model
from app.dialects.malformed import malformed
from app.dialects.openai_responses.errors import told_error
from app.dialects.openai_responses.items.custom_calls import restore_response
from app.dialects.openai_responses.items.sparse_items import complete_item, output_of, settle_item
from app.dialects.openai_responses.items.whole_items import are_silent
from app.dialects.openai_responses.usage import find_usage, read_counts
from app.dialects.openai_responses.vocabulary import NULL, WireResponse
from app.errors import SAID_NOTHING, UpstreamRefused
from app.json_values import UNREADABLE, fields_decoder


def pass_clean(body: bytes, model: str) -> tuple[bytes, Usage | None] | None:
    """A whole response with another model's name, and its usage; None unless it is clean."""
    try:
        clean = _clean_decoder.decode(body)
    except UNREADABLE:
        return None
    if not any(map(_speaks, clean.output)):
        return None
    return replace_model(body, model, old=clean.model), read_counts(clean.usage, clean.service_tier)


def pass_response(body: bytes, context: RenderContext, capabilities: Capabilities) -> tuple[bytes, Usage | None]:
    """The response with the client's name of the model; other bytes change only if an item needs repair.

    Raises UpstreamRefused for an error that came with status 200, UpstreamMalformed for anything but a JSON object.
    """
    body = repair_text(body)
    clean = pass_clean(body, context.model)
    if clean is not None:
        return clean
    try:
        verdict = _verdict_decoder.decode(hide_halves(body))
    except UNREADABLE as error:
        if (failure := decode_error(body)) is not None:
            raise UpstreamRefused(failure) from error
        raise malformed("a response", body) from error
    if verdict.error and verdict.object is None:
        raise UpstreamRefused(judge_reported(verdict.error, body))
    listed = output_of(verdict.output, verdict.output_text)
    if listed is None and verdict.object != "response":
        raise UpstreamRefused(failure) if (failure := decode_error(body)) else malformed("a response", body)
    if not capabilities.first_party and verdict.status in (None, "completed") and says_nothing(listed, body):
        raise UpstreamRefused(SAID_NOTHING)
    if changes := _changes_of(verdict):
        body = bytes(change_fields(msgspec.Raw(repair_surrogates(body)), **changes))
    if listed is not None:
        # The client judges unreadable items.
        with contextlib.suppress(*UNREADABLE):
            output = [settle_item(complete_item(raw)) for raw in listed]
            if listed is not verdict.output or any(new is not old for new, old in zip(output, listed, strict=True)):
                body = msgspec.json.encode({**fields_decoder.decode(body), "output": output})
    return restore_response(replace_model(body, context.model), context.custom_tools), find_usage(body)


def says_nothing(items: Sequence[msgspec.Raw | bytes] | None, response: bytes) -> bool:
    """Whether a complete response is empty: its `items` say nothing, and it counts no tokens for them."""
    if items is None or not are_silent(items):
        return False
    usage = find_usage(response)
    return usage is not None and not usage.output


class _CleanText(msgspec.Struct, tag_field="type", tag="output_text"):
    annotations: msgspec.Raw
    text: msgspec.Raw = NULL


class _CleanMessage(msgspec.Struct, tag_field="type", tag="message"):
    role: str
    content: Annotated[list[_CleanText], msgspec.Meta(min_length=1)]


class _CleanReasoning(msgspec.Struct, tag_field="type", tag="reasoning"):
    summary: list[msgspec.Raw]


class _Clean(WireResponse, kw_only=True):
    """A response without calls that every client can read."""

    object: Literal["response"]
    status: Literal["completed"]
    model: Annotated[str, msgspec.Meta(min_length=1)]
    output: Annotated[list[_CleanMessage | _CleanReasoning], msgspec.Meta(min_length=1)]  # type: ignore[assignment]
    error: None = None
    tool_usage: None = None


_clean_decoder = msgspec.json.Decoder(_Clean)


def _speaks(item: _CleanMessage | _CleanReasoning) -> bool:
    return isinstance(item, _CleanReasoning) or any(len(part.text) > len(EMPTY) for part in item.content)


class _Verdict(msgspec.Struct):
    """The fields that distinguish a failed response, which is still a response, from a mere error."""

    status: Any = None
    object: Any = None
    error: Any = None
    incomplete_details: Any = None
    output: list[msgspec.Raw] | None = None
    output_text: msgspec.Raw = NULL


_verdict_decoder = msgspec.json.Decoder(_Verdict)


def _changes_of(verdict: _Verdict) -> dict[str, Any]:
    """What the response should say of its own end."""
    if verdict.status is None and not verdict.error and verdict.object in (None, "response"):
        return {"status": "completed"}
    if verdict.error and (told := told_error(verdict.error)) is not verdict.error:
        return {"error": told}
    if verdict.status == "incomplete" and not verdict.incomplete_details:
        return {"incomplete_details": {"reason": "max_output_tokens"}}
    return {}
