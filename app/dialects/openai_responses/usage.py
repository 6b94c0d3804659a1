"""Parses and renders token usage."""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.response import Usage
from app.dialects.error_kinds import decode_error
from app.dialects.json_bodies import repair_surrogates
from app.dialects.malformed import decode_tolerantly, malformed
from app.dialects.openai_responses.vocabulary import WireResponse, item_decoder, response_decoder
from app.dialects.openai_shared.counts import WireUsage, read_usage
from app.errors import UpstreamError, UpstreamRefused
from app.json_values import UNREADABLE, decode_or_none

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
    plain = decode_or_none(body, response_decoder)
    if plain is not None:
        return plain
    try:
        wire: WireResponse = decode_tolerantly(response_decoder.decode, repair_surrogates(body))
    except UNREADABLE as error:
        if (failure := decode_error(body)) is not None:
            raise UpstreamRefused(failure) from error
        raise malformed("a response", body) from error
    return wire


def parse_usage(response: WireResponse) -> Usage | None:
    """Counts of a response; None if it says nothing."""
    counts = read_counts(response.usage, response.service_tier)
    if counts is None:
        return None
    search = response.tool_usage and response.tool_usage.web_search
    searches = (search and search.num_requests) or 0
    images = sum(map(_is_image, response.output or ()))
    return msgspec.structs.replace(counts, web_searches=searches, images=images) if searches or images else counts


def read_counts(wire: WireUsage | None, tier: str | None) -> Usage | None:
    """The counts of tokens, read as Chat's under either's names; None if there are none."""
    if wire is None:
        return None
    counts = read_usage(wire, tier)
    return counts if counts.input or counts.output else None


def _is_image(raw: msgspec.Raw) -> bool:
    """Whether an item of the output is an image that the upstream made."""
    if _IMAGE not in bytes(raw):
        return False
    item = decode_or_none(raw, item_decoder)
    return item is not None and item.type == "image_generation_call"


def render_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_written},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }
