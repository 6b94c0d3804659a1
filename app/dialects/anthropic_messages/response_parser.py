"""Parses whole Anthropic Messages responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from app.conversation.blocks import Block, ToolCall
from app.conversation.response import FinishReason, Response, StopDetail
from app.dialects.anthropic_messages.content.blocks import ignore_field, read_block, read_blocks
from app.dialects.anthropic_messages.errors import parse_stream_error
from app.dialects.anthropic_messages.usage import read_tier, read_usage
from app.dialects.anthropic_messages.vocabulary import (
    FINISH_REASONS,
    RESPONSE_EXTENSIONS,
    USAGE_EXTENSIONS,
    PlainBlock,
    WireMessage,
)
from app.dialects.error_kinds import decode_error
from app.dialects.finish_words import judge_word
from app.dialects.foreign.histories import mend_turns
from app.dialects.foreign.marks import FOREIGN_BLOCKS
from app.dialects.json_bodies import encode_body, repair_surrogates, repair_text
from app.dialects.malformed import decode_tolerantly, malformed
from app.errors import InvalidRequest, UpstreamMalformed, UpstreamRefused
from app.json_values import UNREADABLE, object_decoder

_message_decoder = msgspec.json.Decoder(WireMessage)

# Reasons of servers that were made out of those of Chat; any other unknown word may be a new one of the vendor.
_BESIDE = ("reasoning_content", "tool_calls")
_WORDS_OF_CHAT = ("stop", "length", "tool_calls", "function_call", "content_filter")


def parse_response(body: bytes) -> Response:
    """An upstream's whole answer.

    Raises UpstreamRefused for an error that came with status 200, UpstreamMalformed for anything else but a message.
    """
    body = repair_text(body)
    return parse_plain(body) or parse_any(repair_surrogates(body))


def parse_plain(body: bytes) -> Response | None:
    """The answer in a message of texts and calls with nothing unusual in it; None for any other."""
    try:
        message = _decode_plain(body)
        blocks = read_blocks(message.content, "content", ignore_field)
    except (*UNREADABLE, InvalidRequest):
        return None
    calls = [block.id for block in blocks if type(block) is ToolCall]
    if message.stop_reason not in FINISH_REASONS or not all(calls) or len(set(calls)) < len(calls):
        return None
    return _make_response(message, blocks, {})


def parse_any(body: bytes) -> Response:
    """The same answer, read with a look at all that servers of this dialect do otherwise."""
    try:
        fields = object_decoder.decode(body)
        if fields.get("error"):
            raise UpstreamRefused(parse_stream_error(fields["error"], body))
        if _speaks_otherwise(fields):
            fields |= {"content": _mend_content(fields)}
            body = encode_body(fields)
        try:
            message, blocks = _read_message(body)
        except (msgspec.ValidationError, InvalidRequest):
            if not isinstance(fields.get("content"), str | list | dict):
                raise
            message, blocks = _read_message(encode_body(_repair(fields)))
    except (*UNREADABLE, InvalidRequest) as error:
        _refuse_error(body)
        raise malformed("a message", body) from error
    if "content" not in fields:
        _refuse_error(body)
        raise malformed("a message", body)
    if is_broken(message.stop_reason):
        raise UpstreamMalformed(f"the upstream broke off with stop_reason {str(message.stop_reason)[:80]!r}")
    return _make_response(message, blocks, fields)


def _speaks_otherwise(fields: dict[str, Any]) -> bool:
    """Whether a message says something as one of Chat or of Responses does."""
    content = fields.get("content")
    kinds = {str(part.get("type")) for part in content if isinstance(part, dict)} if isinstance(content, list) else ()
    return any(fields.get(name) for name in _BESIDE) or not FOREIGN_BLOCKS.isdisjoint(kinds)


def _mend_content(fields: dict[str, Any]) -> list[Any]:
    said = {name: fields[name] for name in ("content", *_BESIDE) if name in fields}
    return [
        block
        for turn in mend_turns([{"role": "assistant", **said}], "messages", "content")
        for block in turn["content"]
    ]


def _make_response(
    message: WireMessage | _PlainMessage, blocks: tuple[Block, ...], fields: Mapping[str, Any]
) -> Response:
    usage = message.usage or {}
    called = any(type(block) is ToolCall for block in blocks)
    return Response(
        id=message.id,
        model=message.model,
        blocks=blocks,
        finish_reason=read_finish_reason(message.stop_reason, called),
        raw_finish_reason=message.stop_reason,
        stop_sequence=message.stop_sequence,
        stop_detail=read_stop_detail(message.stop_details),
        usage=read_usage(usage),
        service_tier=read_tier(usage),
        extensions=read_extensions(fields, usage),
    )


class _PlainMessage(msgspec.Struct, gc=False):
    """The fields of WireMessage, and those that a plain answer lacks."""

    content: list[PlainBlock]
    stop_reason: str
    id: str = ""
    model: str = ""
    stop_sequence: str | None = None
    usage: dict[str, Any] | None = None
    stop_details: None = None
    error: None = None
    tool_calls: None = None
    reasoning_content: None = None
    container: None = None
    diagnostics: None = None
    context_management: None = None
    input_transformations: None = None


_decode_plain = msgspec.json.Decoder(_PlainMessage).decode


def _read_message(body: bytes) -> tuple[WireMessage, tuple[Block, ...]]:
    message: WireMessage = decode_tolerantly(_message_decoder.decode, body)
    ids: set[str] = set()
    blocks = [
        read_block(_with_id(raw, f"toolu_{message.id}_{index}", ids), f"content[{index}]", ignore_field)
        for index, raw in enumerate(message.content)
    ]
    return message, tuple(blocks)


def _repair(fields: dict[str, Any]) -> dict[str, Any]:
    """A message of a server that was made out of one of Chat: with a list of blocks, each with its kind and its text,
    and names that are text."""
    content = fields.get("content")
    blocks = content if isinstance(content, list) else [content]
    names = {name: str(fields.get(name) or "") for name in ("id", "model")}
    return {**fields, **names, "content": [whole for block in blocks if (whole := _repair_block(block)) is not None]}


def _repair_block(block: Any) -> Any:
    """A block with what it needs; None if it says nothing."""
    match block:
        case str() if block:
            return {"type": "text", "text": block}
        case {"type": "text" | "thinking" as kind, **fields} if fields.get(kind, "") is None:
            return None
        case {"type": str()}:
            return block
        case {"text": str(text)}:
            return {"type": "text", "text": text}
        case _:
            return None


def _refuse_error(body: bytes) -> None:
    """Raises UpstreamRefused for an error that came with status 200 in another vendor's shape."""
    if (failure := decode_error(body)) is not None:
        raise UpstreamRefused(failure)


def is_broken(stop_reason: str | None) -> bool:
    """Whether a stop reason means a server failure rather than an end."""
    return bool(stop_reason) and stop_reason not in FINISH_REASONS and judge_word(stop_reason or "") == "broken"


def read_finish_reason(stop_reason: str | None, called: bool) -> FinishReason:
    """Why a complete answer ended. Servers that only speak the dialect confuse the end of a turn with a call for tools,
    so `called`, whether there was a call, decides. A missing reason is a normal end, an unknown one is judged by its
    parts; the raw reason is kept too."""
    reason = FINISH_REASONS.get(stop_reason or "end_turn") or _judge(stop_reason or "")
    if reason == "stop" and called:
        return "tool_calls"
    if reason == "tool_calls" and not called:
        return "stop"
    return reason


def is_true_reason(stop_reason: str | None, *, called: bool) -> bool:
    """Whether there is a reason and it fits the content: agents run tools only at "tool_use", and loop at one without
    calls."""
    if stop_reason in _WORDS_OF_CHAT:
        return False
    known = FINISH_REASONS.get(stop_reason or "")
    return bool(stop_reason) and known in (None, read_finish_reason(stop_reason, called))


def _judge(word: str) -> FinishReason:
    judged = judge_word(word)
    return "stop" if judged == "broken" else judged


def read_stop_detail(details: Mapping[str, Any] | None) -> StopDetail | None:
    if not details:
        return None
    category, explanation = details.get("category"), details.get("explanation")
    return StopDetail(
        category if isinstance(category, str) else None, explanation if isinstance(explanation, str) else None
    )


def read_extensions(message: Mapping[str, Any], usage: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that only clients of this dialect can use, by their wire names."""
    found: dict[str, Any] = {}
    for fields, names in ((message, RESPONSE_EXTENSIONS), (usage, USAGE_EXTENSIONS)):
        if not fields.keys().isdisjoint(names):
            found |= {name: value for name in names if (value := fields.get(name)) is not None}
    return found


def _with_id(raw: msgspec.Raw, identifier: str, taken: set[str]) -> msgspec.Raw:
    """A block with an id of its own, if it is a call: some lack one, and Kimi gives parallel calls the same. `taken`
    are those of the blocks before."""
    if b'"tool_use"' not in bytes(raw):
        return raw
    block = object_decoder.decode(raw)
    if block.get("type") != "tool_use":
        return raw
    own = str(block.get("id") or "")
    unique = own and own not in taken
    taken.add(own if unique else identifier)
    return raw if unique else msgspec.Raw(encode_body({**block, "id": identifier}))
