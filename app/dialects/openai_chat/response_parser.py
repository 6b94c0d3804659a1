"""Parses whole Chat Completions responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from app.conversation.blocks import Text
from app.conversation.response import Response
from app.conversation.streams.fold import fold
from app.dialects.json_bodies import repair_text
from app.dialects.malformed import malformed, split_documents
from app.dialects.openai_chat.stream_parser import StreamParser
from app.dialects.openai_chat.vocabulary import FINISH_REASONS
from app.dialects.openai_shared.counts import WireUsage, read_usage
from app.json_values import UNREADABLE, any_decoder, decode_or_none

_document = msgspec.json.Decoder(msgspec.Raw)


def parse_response(body: bytes) -> Response:
    """The response in a whole reply, which is parsed as a stream of one chunk, so both give the same result.

    Raises UpstreamRefused for an error inside a reply of status 200, UpstreamMalformed for a reply without a message.
    """
    plain = parse_plain(body)
    if plain is not None:
        return plain
    body = repair_text(body)
    if decode_or_none(body, _document) is None and len(split_documents(body) or ()) > 1:
        raise malformed("a chat reply", body)  # nobody knows which of two answers counts
    response = fold(StreamParser().feed([body, b"[DONE]"]))
    if not response.blocks and _is_void(body):
        raise malformed("a chat reply", body)
    return response


def parse_plain(body: bytes) -> Response | None:
    """The response in a whole reply that contains one text and nothing else, as most without tool calls do; None for
    any other."""
    try:
        reply = _decode_plain(body)
    except UNREADABLE:
        return None
    (choice,) = reply.choices
    finish = FINISH_REASONS.get(choice.finish_reason)
    if finish is None:
        return None
    return Response(
        id=reply.id or "",
        model=reply.model or "",
        created=reply.created or None,
        service_tier=reply.service_tier,
        blocks=(Text(choice.message.content),),
        finish_reason="stop" if finish == "tool_calls" else finish,
        raw_finish_reason=choice.finish_reason,
        extensions={"system_fingerprint": reply.system_fingerprint} if reply.system_fingerprint else {},
        usage=None if reply.usage is None else read_usage(reply.usage, reply.service_tier),
    )


_Words = Annotated[str, msgspec.Meta(min_length=1)]
_NoWords = Literal[""] | None
_NoEntries = Annotated[list[Any], msgspec.Meta(max_length=0)] | None


class _PlainMessage(msgspec.Struct, gc=False):
    """The fields of WireDelta, with content only in `content`."""

    content: _Words
    tool_calls: _NoEntries = None
    reasoning_content: _NoWords = None
    reasoning: _NoWords = None
    thinking: _NoWords = None
    reasoning_text: _NoWords = None
    cot_summary: _NoWords = None
    refusal: _NoWords = None
    reasoning_details: _NoEntries = None
    thinking_blocks: _NoEntries = None
    annotations: _NoEntries = None
    images: _NoEntries = None
    audio: None = None
    function_call: None = None


class _PlainChoice(msgspec.Struct, gc=False):
    """The fields of WireChoice."""

    message: _PlainMessage
    finish_reason: _Words
    other_reason: None = msgspec.field(default=None, name="finishReason")
    native_finish_reason: Literal["stop", "STOP", "end_turn", "completed", "length", "max_tokens"] | None = None
    index: Literal[0] | None = 0
    delta: None = None
    logprobs: None = None
    usage: None = None
    text: None = None
    stop_reason: int | None = None
    matched_stop: int | None = None
    error: None = None


class _Plain(msgspec.Struct, gc=False):
    """The fields of WireChunk, and the head of a reply."""

    choices: Annotated[list[_PlainChoice], msgspec.Meta(min_length=1, max_length=1)]
    id: str | None = None
    model: str | None = None
    created: int | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    moderation: None = None
    usage: WireUsage | None = None
    error: None = None
    base_resp: None = None
    x_groq: None = None
    citations: None = None
    search_results: None = None


_decode_plain = msgspec.json.Decoder(_Plain).decode


def _is_void(body: bytes) -> bool:
    """Whether no choice has a field for an answer; an existing one may be empty."""
    match decode_or_none(body, any_decoder):
        case {"choices": [*choices]}:
            answers = [choice.get(name) for choice in choices for name in ("message", "delta", "text")]
            return all(answer is None for answer in answers)
        case _:
            return False  # it was parsed before, so it contains something
