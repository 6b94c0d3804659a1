"""Renders whole Anthropic Messages responses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_never

import msgspec

from app.conversation.blocks import (
    Audio,
    Block,
    Compaction,
    File,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    SearchResult,
    ServerTool,
    Text,
    ToolCall,
    ToolResult,
)
from app.conversation.capabilities import RenderContext
from app.conversation.envelope import seal
from app.conversation.literals import as_object
from app.conversation.response import FinishReason, Response, StopDetail
from app.dialects.anthropic_messages.content.blocks import seal_reasoning, shown_citations
from app.dialects.anthropic_messages.content.server_steps import write_steps
from app.dialects.anthropic_messages.usage import count_searches, write_usage
from app.dialects.anthropic_messages.vocabulary import FINISH_REASONS, NAME, RESPONSE_EXTENSIONS, STOP_REASONS
from app.dialects.json_bodies import encode_body


def render_response(response: Response, context: RenderContext) -> bytes:
    """The message for a client. Blocks that this dialect cannot express are left out."""
    content: list[Any] = []
    for block in response.blocks:
        content.extend(_write_block(block))
    message = write_head(response.id, context)
    message["content"] = content
    message |= write_stop(
        response.finish_reason or "stop",
        response.raw_finish_reason,
        own_sequence(response.stop_sequence, context),
        response.stop_detail,
        refused=[block.text for block in response.blocks if type(block) is Refusal],
    )
    usage, extensions = count_searches(response.usage, response.blocks), response.extensions
    message["usage"] = write_usage(usage, context, extensions, response.service_tier)
    if not extensions.keys().isdisjoint(RESPONSE_EXTENSIONS):
        message |= {name: extensions[name] for name in RESPONSE_EXTENSIONS if name in extensions}
    return encode_body(message)


def own_sequence(sequence: str | None, context: RenderContext) -> str | None:
    """The stop sequence, if the client asked for it; servers may report their own end marks."""
    request = context.request
    return sequence if request is None or sequence in request.stop else None


def write_head(response_id: str, context: RenderContext) -> dict[str, Any]:
    """The fields that a message begins with. A native id is kept, because clients may refer to it later."""
    identifier = response_id if response_id.startswith("msg_") else f"msg_{context.id}"
    return {"id": identifier, "type": "message", "role": "assistant", "model": context.model}


def write_stop(
    reason: FinishReason,
    raw: str | None,
    sequence: str | None,
    detail: StopDetail | None,
    *,
    refused: Iterable[str] = (),
) -> dict[str, Any]:
    """The fields that say why the answer ended. `refused` are the texts of refusals, which are blocks in other
    dialects."""
    if reason == "stop_sequence" and sequence is None:
        reason, raw = "stop", None
    stop_reason = raw if raw is not None and FINISH_REASONS.get(raw) == reason else STOP_REASONS[reason]
    explanation = "".join(refused)
    if explanation and reason in ("stop", "content_filter"):
        stop_reason, detail = "refusal", detail or StopDetail(explanation=explanation)
    written: dict[str, Any] = {"stop_reason": stop_reason, "stop_sequence": sequence}
    if stop_reason == "refusal":
        detail = detail or StopDetail()
        written["stop_details"] = {"type": "refusal", "category": detail.category, "explanation": detail.explanation}
    return written


def write_reasoning(block: Reasoning) -> list[Any]:
    """Claude's own blocks verbatim; other reasoning is signed with an envelope, or becomes a redacted block if it has
    no text."""
    text, proof = block.text, block.proof
    if proof is not None and proof.dialect == NAME and proof.originals:
        return [msgspec.Raw(original) for original in proof.originals]
    if text:
        return [{"type": "thinking", "thinking": text, "signature": seal_reasoning(proof)}]
    return [{"type": "redacted_thinking", "data": seal(proof)}] if proof is not None else []


def write_compaction(block: Compaction) -> dict[str, Any] | msgspec.Raw:
    proof = block.proof
    if proof is not None and proof.dialect == NAME and proof.originals:
        return msgspec.Raw(proof.originals[0])
    written: dict[str, Any] = {"type": "compaction", "content": block.text}
    if proof is not None:
        written["encrypted_content"] = seal(proof)
    return written


def _write_block(block: Block) -> list[Any]:
    match block:
        case Text(text=text):
            wire: dict[str, Any] = {"type": "text", "text": text}
            if block.citations and (citations := shown_citations(block.citations)):
                wire["citations"] = citations
            return [wire] if text else []
        case Refusal(text=text):
            return [{"type": "text", "text": text}] if text else []
        case ToolCall():
            arguments = msgspec.Raw(as_object(block.arguments)[0].encode())
            wire = {"type": "tool_use", "id": block.id, "name": block.name, "input": arguments}
            return [{**wire, **(block.extensions or {})}]
        case Reasoning():
            return write_reasoning(block)
        case Compaction():
            return [write_compaction(block)]
        case ServerTool(dialect=dialect) if dialect != NAME:
            return write_steps(block)
        case ServerTool(raw=raw):
            return [msgspec.Raw(raw)]
        case Opaque(dialect=dialect, raw=raw):
            return [msgspec.Raw(raw)] if dialect == NAME else []
        case Image() | File() | Audio() | SearchResult() | ToolResult():
            return []
        case _:
            assert_never(block)
