"""Parses and renders token usage."""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.response import Usage, read_count, read_price_tier
from app.dialects.openai_chat.vocabulary import WireUsage
from app.json_values import decode_or_none


def read_usage(wire: WireUsage, tier: object = None) -> Usage:
    """Disjoint counts of a `usage` object. `tier` is the reply's `service_tier`.

    On the wire `prompt_tokens` includes tokens read from and written to a cache; here the three are disjoint and sum to
    it. A server that reports more cached than prompt tokens counts them separately: then nothing is fresh. xAI and
    Gemini's proxies count thinking separately from the answer, as the total shows.
    """
    cached = saved = created = thought = images = sound = None
    if (prompt_details := wire.prompt_tokens_details or wire.input_tokens_details) is not None:
        cached, saved = prompt_details.cached_tokens, prompt_details.cache_write_tokens
        created = prompt_details.cache_creation_input_tokens
    if (completion_details := wire.completion_tokens_details or wire.output_tokens_details) is not None:
        thought, images = completion_details.reasoning_tokens, completion_details.image_tokens
        sound = completion_details.audio_tokens
    output, prompt = wire.completion_tokens, wire.prompt_tokens
    if type(output) is not int or output <= 0:
        output = read_count(output, wire.output_tokens)
    if type(prompt) is not int or prompt <= 0:
        prompt = read_count(prompt, wire.input_tokens) or max(0, read_count(wire.total_tokens) - output)
    # Most servers say nothing of these, or zero.
    read = written = reasoning = 0
    if cached or wire.prompt_cache_hit_tokens or wire.cache_read_input_tokens or wire.cached_tokens:
        read = read_count(cached, wire.prompt_cache_hit_tokens, wire.cache_read_input_tokens, wire.cached_tokens)
    if saved or created or wire.cache_creation_input_tokens or wire.prompt_cache_write_tokens:
        creation = wire.cache_creation_input_tokens or created
        written = read_count(saved, creation, wire.prompt_cache_write_tokens)
    if thought or wire.reasoning_tokens:
        reasoning = read_count(thought, wire.reasoning_tokens)
        if reasoning and read_count(wire.total_tokens) >= prompt + output + reasoning:
            output += reasoning
    return Usage(
        max(0, prompt - read - written), read, written, output, reasoning,
        tier=read_price_tier(tier) if tier is not None else "",
        media=read_count(images) + read_count(sound) if images or sound else 0,
    )  # fmt: skip


def is_sound(wire: WireUsage) -> bool:
    """Whether the counts have the names and the types of the contract."""
    return all(type(count) is int for count in (wire.prompt_tokens, wire.completion_tokens, wire.total_tokens))


def sound_usage(told: dict[str, Any], wire: WireUsage) -> dict[str, Any] | None:
    """A `usage` object with its counts as the contract has them; None if it has none."""
    asked, said = (usage := read_usage(wire)).input, usage.output
    counts = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
    return {**told, **counts} if asked or said else None


def write_usage(usage: Usage) -> dict[str, Any]:
    """A `usage` object with all known details."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_written},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def find_usage(body: bytes) -> Usage | None:
    """Usage of a whole reply that only passes; nothing else is decoded."""
    reply = decode_or_none(body, _counted) or _Counted()
    return read_usage(reply.usage, reply.service_tier) if reply.usage is not None else None


def find_tier(payload: bytes) -> object:
    """The `service_tier` of a reply or chunk; None if it has none."""
    tiered = decode_or_none(payload, _tiered) if b'"service_tier"' in payload else None
    return tiered.service_tier if tiered is not None else None


class _Tiered(msgspec.Struct):
    service_tier: Any = None


class _Counted(_Tiered):
    usage: WireUsage | None = None


_counted = msgspec.json.Decoder(_Counted)
_tiered = msgspec.json.Decoder(_Tiered)
