"""Parses whole Responses responses."""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.blocks import Block, ToolCall
from app.conversation.response import Response
from app.dialects.error_kinds import decode_error, judge_reported
from app.dialects.json_bodies import repair_text
from app.dialects.malformed import malformed
from app.dialects.openai_responses.items.items import logprobs_of, parse_item
from app.dialects.openai_responses.items.sparse_items import output_of, settle_item
from app.dialects.openai_responses.response_object import parse_finish
from app.dialects.openai_responses.usage import decode_response, parse_usage
from app.dialects.openai_responses.vocabulary import item_decoder
from app.errors import InvalidRequest, UpstreamMalformed, UpstreamRefused


def parse_response(body: bytes) -> Response:
    """The neutral response. Raises UpstreamRefused for a failed one, UpstreamMalformed for anything else."""
    body = repair_text(body)
    wire = decode_response(body)
    if wire.status in ("failed", "cancelled") or (wire.error is not None and not wire.output):
        error = wire.error or {"message": f"the response was {wire.status}"}
        raise UpstreamRefused(judge_reported(error, body))
    output = output_of(wire.output, wire.output_text)
    if output is None:
        if (failure := decode_error(body)) is not None:
            raise UpstreamRefused(failure)
        raise malformed("a response", body)
    blocks: list[Block] = []
    logprobs: list[dict[str, Any]] = []
    calls: set[str] = set()
    try:
        for raw in output:
            item = item_decoder.decode(settle_item(raw))
            for block in parse_item(item, raw, "output"):
                if isinstance(block, ToolCall):
                    if block.id in calls:  # Kimi gives parallel calls one id
                        block = msgspec.structs.replace(block, id=f"{block.id}_{len(blocks)}")
                    calls.add(block.id)
                blocks.append(block)
            if b'"logprobs"' in bytes(raw):
                logprobs.extend(logprobs_of(raw))
    except (msgspec.MsgspecError, UnicodeDecodeError, InvalidRequest) as error:
        raise UpstreamMalformed(f"the upstream's reply contains an item that is not valid: {error}") from error
    finished = parse_finish(wire, calls=bool(calls))
    return Response(
        id=wire.id or "",
        model=wire.model or "",
        blocks=tuple(blocks),
        finish_reason=finished.finish_reason,
        raw_finish_reason=finished.raw_finish_reason,
        usage=parse_usage(wire),
        created=None if wire.created_at is None else int(wire.created_at),
        service_tier=wire.service_tier,
        logprobs=tuple(logprobs),
        extensions=finished.extensions,
    )
