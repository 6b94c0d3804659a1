"""A whole response of Anthropic Messages, parsed from an upstream and rendered for a client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
from app.conversation.response import FinishReason, Response, StopDetail, Usage
from app.dialects.anthropic_messages.blocks import as_object, ignore_field, read_block, seal_reasoning, shown_citations
from app.dialects.anthropic_messages.errors import parse_stream_error
from app.dialects.anthropic_messages.server_steps import write_steps
from app.dialects.anthropic_messages.vocabulary import (
    FINISH_REASONS,
    NAME,
    REPORTED_TIERS,
    RESPONSE_EXTENSIONS,
    STOP_REASONS,
    TIERS_TO_REPORT,
    USAGE_EXTENSIONS,
    WireMessage,
)
from app.dialects.error_kinds import decode_error
from app.dialects.finish_words import judge_word
from app.dialects.json_bodies import encode_body
from app.dialects.malformed import malformed
from app.errors import InvalidRequest, UpstreamMalformed, UpstreamRefused

_message_decoder = msgspec.json.Decoder(WireMessage)
_object_decoder = msgspec.json.Decoder(dict[str, Any])


def parse_response(body: bytes) -> Response:
    """An upstream's whole answer.

    Raises UpstreamRefused for an error that came with status 200, UpstreamMalformed for anything else that is no
    message.
    """
    try:
        fields = _object_decoder.decode(body)
        if fields.get("error") is not None:
            raise UpstreamRefused(parse_stream_error(fields["error"], body))
        message = _message_decoder.decode(body)
        blocks = tuple(
            [
                read_block(_with_id(raw, f"toolu_{message.id}_{index}"), f"content[{index}]", ignore_field)
                for index, raw in enumerate(message.content)
            ]
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidRequest) as error:
        refuse_error(body)
        raise malformed("a message", body) from error
    if "content" not in fields:
        refuse_error(body)
        raise malformed("a message", body)
    if is_broken(message.stop_reason):
        raise UpstreamMalformed(f"the upstream broke off with stop_reason {str(message.stop_reason)[:80]!r}")
    usage = message.usage or {}
    called = any(isinstance(block, ToolCall) for block in blocks)
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


def refuse_error(body: bytes) -> None:
    """Raises UpstreamRefused for an error that came with status 200 in a shape of another vendor."""
    if (failure := decode_error(body)) is not None:
        raise UpstreamRefused(failure)


def is_broken(stop_reason: str | None) -> bool:
    """Whether a reason is a failure of the server and no end."""
    return bool(stop_reason) and stop_reason not in FINISH_REASONS and judge_word(stop_reason or "") == "broken"


def render_response(response: Response, context: RenderContext) -> bytes:
    """The message for a client. Blocks that this dialect cannot show are left out."""
    content: list[Any] = []
    for block in response.blocks:
        content.extend(_write_block(block))
    message = {
        **write_head(response.id, context),
        "content": content,
        **write_stop(
            response.finish_reason or "stop",
            response.raw_finish_reason,
            own_sequence(response.stop_sequence, context),
            response.stop_detail,
            refused=[block.text for block in response.blocks if isinstance(block, Refusal)],
        ),
        "usage": write_usage(
            count_searches(response.usage, response.blocks), context, response.extensions, response.service_tier
        ),
        **{name: response.extensions[name] for name in RESPONSE_EXTENSIONS if name in response.extensions},
    }
    return encode_body(message)


def find_usage(body: bytes) -> Usage | None:
    """Usage of a whole response that is only passed on; nothing else of it is decoded."""
    try:
        return read_usage(_counted.decode(body).usage or {})
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def read_finish_reason(stop_reason: str | None, called: bool) -> FinishReason:
    """Why a complete answer ended. Servers that only speak the dialect confuse the end of a turn with a call for tools:
    `called`, whether there was one, decides. A missing reason is a normal end, an unknown one is judged by its parts;
    the raw one is kept too."""
    reason = FINISH_REASONS.get(stop_reason or "end_turn") or _judge(stop_reason or "")
    if reason == "stop" and called:
        return "tool_calls"
    if reason == "tool_calls" and not called:
        return "stop"
    return reason


def is_true_reason(stop_reason: str | None, *, called: bool) -> bool:
    """Whether there is a reason and it fits what came: agents run tools only at "tool_use", and loop at it without."""
    known = FINISH_REASONS.get(stop_reason or "")
    return stop_reason is not None and known in (None, read_finish_reason(stop_reason, called))


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


def read_usage(usage: Mapping[str, Any]) -> Usage | None:
    """Counts, disjoint on the wire as here; None if nothing was reported. Source: API reference, Usage."""
    if not usage:
        return None
    return Usage(
        fresh=_count(usage, "input_tokens"),
        cache_read=_count(usage, "cache_read_input_tokens"),
        cache_written=_count(usage, "cache_creation_input_tokens"),
        output=_count(usage, "output_tokens"),
        reasoning=_count(usage.get("output_tokens_details"), "thinking_tokens"),
        web_searches=_count(usage.get("server_tool_use"), "web_search_requests"),
        cache_written_1h=_count(usage.get("cache_creation"), "ephemeral_1h_input_tokens"),
    )


def read_tier(usage: Mapping[str, Any]) -> str | None:
    tier = usage.get("service_tier")
    return REPORTED_TIERS.get(tier, tier) if isinstance(tier, str) else None


def read_extensions(message: Mapping[str, Any], usage: Mapping[str, Any]) -> dict[str, Any]:
    """What only clients of this dialect can use, under the wire's names."""
    found = {name: message.get(name) for name in RESPONSE_EXTENSIONS} | {
        name: usage.get(name) for name in USAGE_EXTENSIONS
    }
    return {name: value for name, value in found.items() if value is not None}


def own_sequence(sequence: str | None, context: RenderContext) -> str | None:
    """The stop sequence, if the client asked for it: servers name their own end marks too."""
    request = context.request
    return sequence if request is None or sequence in request.stop else None


def write_head(response_id: str, context: RenderContext) -> dict[str, Any]:
    """The fields that a message begins with. A native id is kept, since clients may name it later."""
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
    """The fields that say why it ended. `refused` are the texts of refusals, which elsewhere are blocks."""
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


def write_usage(
    usage: Usage | None, context: RenderContext, extensions: Mapping[str, Any] | None = None, tier: str | None = None
) -> dict[str, Any]:
    """A complete usage object, integers throughout; clients stop on anything less. With no usage the input is the
    estimate."""
    usage = usage or Usage(fresh=context.input_tokens)
    written: dict[str, Any] = {
        "input_tokens": usage.fresh,
        "cache_creation_input_tokens": usage.cache_written,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    if usage.reasoning:
        written["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if usage.web_searches:
        written["server_tool_use"] = {"web_search_requests": usage.web_searches}
    if tier is not None:
        written["service_tier"] = TIERS_TO_REPORT.get(tier, tier)
    written |= {name: extensions[name] for name in USAGE_EXTENSIONS if extensions and name in extensions}
    return written


def count_searches(usage: Usage | None, blocks: Iterable[Block]) -> Usage | None:
    """The usage with the searches that were shown, where their upstream does not count them."""
    if usage is None or usage.web_searches:
        return usage
    made = sum(isinstance(block, ServerTool) and is_foreign_search(block) for block in blocks)
    return msgspec.structs.replace(usage, web_searches=made) if made else usage


def is_foreign_search(block: ServerTool) -> bool:
    return block.dialect != NAME and block.step is not None and block.step.kind == "search"


def write_reasoning(block: Reasoning) -> list[Any]:
    """Claude's own blocks verbatim; others signed with an envelope, without text as a redacted block."""
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


def _count(fields: Any, name: str) -> int:
    value = fields.get(name) if isinstance(fields, dict) else None
    return int(value) if isinstance(value, int | float) and value > 0 else 0


def _write_block(block: Block) -> list[Any]:
    match block:
        case Text(text=text):
            wire: dict[str, Any] = {"type": "text", "text": text}
            if citations := shown_citations(block.citations):
                wire["citations"] = citations
            return [wire] if text else []
        case Refusal(text=text):
            return [{"type": "text", "text": text}] if text else []
        case ToolCall():
            return [{"type": "tool_use", "id": block.id, "name": block.name, "input": as_object(block.arguments)[0]}]
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


def _with_id(raw: msgspec.Raw, identifier: str) -> msgspec.Raw:
    """A block with an id, if it is a call that lacks one."""
    if b'"tool_use"' not in bytes(raw):
        return raw
    block = _object_decoder.decode(raw)
    if block.get("type") != "tool_use" or block.get("id"):
        return raw
    return msgspec.Raw(encode_body({**block, "id": identifier}))


class _Counted(msgspec.Struct):
    usage: dict[str, Any] | None = None


_counted = msgspec.json.Decoder(_Counted)
