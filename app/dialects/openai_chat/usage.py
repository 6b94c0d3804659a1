"""Parses and renders token usage."""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.response import Usage
from app.dialects.openai_shared.counts import WireUsage, read_usage
from app.json_values import decode_or_none


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
