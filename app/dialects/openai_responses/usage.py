"""Parses and renders token usage."""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.response import Usage
from app.dialects.error_kinds import decode_error
from app.dialects.json_bodies import repair_surrogates
from app.dialects.malformed import decode_tolerantly, malformed
from app.dialects.openai_responses.vocabulary import WireResponse, response_decoder
from app.errors import UpstreamError, UpstreamRefused


def find_usage(body: bytes) -> Usage | None:
    """Usage of a whole response that only passes."""
    try:
        return parse_usage(decode_response(body))
    except UpstreamError:
        return None


def decode_response(body: bytes) -> WireResponse:
    """The decoded response. Raises UpstreamRefused for an error in another shape, UpstreamMalformed for anything
    else."""
    try:
        return response_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        wire: WireResponse = decode_tolerantly(response_decoder.decode, repair_surrogates(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if (failure := decode_error(body)) is not None:
            raise UpstreamRefused(failure) from error
        raise malformed("a response", body) from error
    return wire


def parse_usage(response: WireResponse) -> Usage | None:
    """Counts of a response. On the wire `input_tokens` includes cached and written tokens; here they are separate."""
    wire = response.usage
    if wire is None:
        return None
    details = wire.input_tokens_details
    read = (details and details.cached_tokens) or 0
    written = (details and details.cache_write_tokens) or 0
    search = response.tool_usage and response.tool_usage.web_search
    return Usage(
        fresh=max(0, (wire.input_tokens or 0) - read - written),
        cache_read=read,
        cache_written=written,
        output=wire.output_tokens or 0,
        reasoning=(wire.output_tokens_details and wire.output_tokens_details.reasoning_tokens) or 0,
        web_searches=(search and search.num_requests) or 0,
    )


def render_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_written},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }
