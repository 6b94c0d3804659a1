"""Parses and renders token usage."""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.response import Usage, read_price_tier
from app.dialects.error_kinds import decode_error
from app.dialects.json_bodies import repair_surrogates
from app.dialects.malformed import decode_tolerantly, malformed
from app.dialects.openai_responses.vocabulary import WireResponse, item_decoder, response_decoder
from app.errors import UpstreamError, UpstreamRefused

_IMAGE = b'"image_generation_call"'


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
        tier=read_price_tier(response.service_tier),
        images=sum(map(_is_image, response.output or ())),
    )


def _is_image(raw: msgspec.Raw) -> bool:
    """Whether an item of the output is an image that the upstream made."""
    if _IMAGE not in bytes(raw):
        return False
    try:
        return item_decoder.decode(raw).type == "image_generation_call"
    except msgspec.MsgspecError:
        return False


def render_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_written},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }
