"""Reads the counts of tokens under any of the names that servers of OpenAI's two dialects give them."""

from __future__ import annotations

import msgspec

from app.conversation.response import Usage, read_count, read_price_tier

Number = int | float | str | None


class PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: Number = None
    cache_write_tokens: Number = None
    cache_creation_input_tokens: Number = None


class CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Number = None
    image_tokens: Number = None
    audio_tokens: Number = None


class WireUsage(msgspec.Struct, gc=False):
    """All names that servers use for counts; the counts themselves may be text or null."""

    prompt_tokens: Number = None
    completion_tokens: Number = None
    total_tokens: Number = None
    input_tokens: Number = None
    output_tokens: Number = None
    reasoning_tokens: Number = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    input_tokens_details: PromptDetails | None = None
    output_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: Number = None
    prompt_cache_write_tokens: Number = None
    cached_tokens: Number = None
    cache_read_input_tokens: Number = None
    cache_creation_input_tokens: Number = None


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
