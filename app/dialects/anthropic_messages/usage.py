"""Parses and renders token usage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from app.conversation.blocks import Block, ServerTool
from app.conversation.capabilities import RenderContext
from app.conversation.response import PriceTier, Usage, read_count, read_price_tier
from app.dialects.anthropic_messages.vocabulary import NAME, REPORTED_TIERS, TIERS_TO_REPORT, USAGE_EXTENSIONS
from app.json_values import decode_or_none


def find_usage(body: bytes) -> Usage | None:
    """Usage of a whole response that only passes; nothing else is decoded."""
    return read_usage((decode_or_none(body, _counted) or _Counted()).usage or {})


def read_usage(usage: Mapping[str, Any]) -> Usage | None:
    """Counts, disjoint both on the wire and here; None if nothing was counted. Source: API reference, Usage."""
    written, created = _count(usage, "cache_creation_input_tokens"), usage.get("cache_creation")
    thought, used = usage.get("output_tokens_details"), usage.get("server_tool_use")
    counts = Usage(
        fresh=_count(usage, "input_tokens"),
        cache_read=_count(usage, "cache_read_input_tokens"),
        cache_written=written or (_sum(created) if created else 0),
        output=_count(usage, "output_tokens"),
        reasoning=_count(thought, "thinking_tokens") if thought else 0,
        web_searches=_count(used, "web_search_requests") if used else 0,
        cache_written_1h=_count(created, "ephemeral_1h_input_tokens") if created else 0,
        tier=_read_price_tier(usage),
        region="us" if usage.get("inference_geo") == "us" else "",
    )
    return counts if counts.input or counts.output else None


_INPUT_COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def merge_usage(counts: dict[str, Any], later: Any) -> None:
    """Adds a stream's later counts. They are totals and replace earlier ones; null is ignored, and so is an input of
    nothing: servers that count it at the start repeat the field as zero at the end."""
    if not isinstance(later, dict):
        return
    counted = any(_count(later, name) for name in _INPUT_COUNTS)
    for name, value in later.items():
        if value is not None and (counted or name not in _INPUT_COUNTS or name not in counts):
            counts[name] = value


def _read_price_tier(usage: Mapping[str, Any]) -> PriceTier:
    """The price class. Anthropic's priority tier has none: its capacity is paid for in advance."""
    tier = "batch" if usage.get("service_tier") == "batch" else usage.get("speed")
    return read_price_tier(tier)


def read_tier(usage: Mapping[str, Any]) -> str | None:
    tier = usage.get("service_tier")
    return REPORTED_TIERS.get(tier, tier) if isinstance(tier, str) else None


def write_usage(
    usage: Usage | None, context: RenderContext, extensions: Mapping[str, Any] | None = None, tier: str | None = None
) -> dict[str, Any]:
    """A complete usage object, all integers, because clients fail on anything less. Without usage the input is the
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
        written["server_tool_use"] = {"web_search_requests": usage.web_searches, "web_fetch_requests": 0}
    if tier is not None:
        written["service_tier"] = TIERS_TO_REPORT.get(tier, tier)
    if extensions and not extensions.keys().isdisjoint(USAGE_EXTENSIONS):
        written |= {name: extensions[name] for name in USAGE_EXTENSIONS if name in extensions}
    return written


def count_searches(usage: Usage | None, blocks: Iterable[Block]) -> Usage | None:
    """The usage with the shown searches added, if their upstream did not count them."""
    if usage is None or usage.web_searches:
        return usage
    made = 0
    for block in blocks:
        if type(block) is ServerTool and _is_foreign_search(block):
            made += 1
    return msgspec.structs.replace(usage, web_searches=made) if made else usage


def _is_foreign_search(block: ServerTool) -> bool:
    return block.dialect != NAME and block.step is not None and block.step.kind == "search"


def _count(fields: Any, name: str) -> int:
    value = fields.get(name) if isinstance(fields, dict) else None
    if value is None:
        return 0
    if type(value) is int:
        return max(value, 0)
    return read_count(value) if isinstance(value, (int, float, str)) else 0


def _sum(fields: Any) -> int:
    """The sum of the counts in an object; 0 if it is none."""
    return sum([_count(fields, name) for name in fields]) if isinstance(fields, dict) else 0


class _Counted(msgspec.Struct):
    usage: dict[str, Any] | None = None


_counted = msgspec.json.Decoder(_Counted)
