"""The neutral response."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from app.conversation.blocks import Block, Text

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "stop_sequence", "pause", "compaction"]

# Maximum token count of one answer; anything larger is a counting error.
MAX_TOKENS = 1_000_000_000
# Counts none of which has a bit from here on are all in order.
_FEW = 1 << 29

# Places for which vendors ask another price.
Region = Literal["", "us"]
# Price classes of vendors: "flex" is cheaper and slower, "priority" dearer and faster.
PriceTier = Literal["", "flex", "priority"]
# What vendors call them in a reply. All others have the standard price.
_TIERS: dict[object, PriceTier] = {"flex": "flex", "batch": "flex", "priority": "priority", "fast": "priority"}


def read_price_tier(name: object) -> PriceTier:
    """The price class that a reply names in its `service_tier`, which may be any JSON value."""
    return _TIERS.get(name, "") if type(name) is str else ""


def read_count(*values: int | float | str | None) -> int:
    """The first positive count; text is read as a number, nonsense is skipped."""
    for value in values:
        if value is None:
            continue
        if type(value) is int:
            if value > 0:
                return value
            continue
        try:
            count = int(float(value))
        except (ValueError, OverflowError):
            continue
        if count > 0:
            return count
    return 0


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Counts in tokens, disjoint: the whole input is `fresh + cache_read + cache_written`.

    On the wire Anthropic counts the same way, while OpenAI's prompt count includes cached and written tokens. `output`
    includes `reasoning`; `cache_written` includes `cache_written_1h`, the tokens cached for an hour. `estimated` means
    that no upstream reported the counts. `tier` is the vendor's price class, if it is not the standard one; `images`
    are those that the upstream made. `output` includes `media`, the tokens of images and sound. `region` is where the
    model ran, if the vendor asks another price for it.
    """

    fresh: int = 0
    cache_read: int = 0
    cache_written: int = 0
    output: int = 0
    reasoning: int = 0
    web_searches: int = 0
    estimated: bool = False
    cache_written_1h: int = 0
    tier: PriceTier = ""
    images: int = 0
    media: int = 0
    region: Region = ""

    def __post_init__(self) -> None:
        # A server may report any number, even one too large for sums and databases.
        bits = (
            self.fresh | self.cache_read | self.cache_written | self.output | self.reasoning | self.web_searches
            | self.cache_written_1h | self.images | self.media
        )  # fmt: skip
        if 0 <= bits < _FEW:
            return
        for name in _COUNTED:
            count = getattr(self, name)
            msgspec.structs.force_setattr(self, name, type(count)(min(max(count, 0), MAX_TOKENS)))

    @property
    def input(self) -> int:
        return self.fresh + self.cache_read + self.cache_written


_COUNTED = (
    *("fresh", "cache_read", "cache_written", "output", "reasoning"),
    *("web_searches", "cache_written_1h", "images", "media"),
)


def scale_usage(usage: Usage, factor: float) -> Usage:
    """The counts multiplied by `factor`, rounded up, for a client that assumes a window `factor` times the real one."""
    scaled = {
        name: math.ceil(getattr(usage, name) * factor)
        for name in ("fresh", "cache_read", "cache_written", "output", "reasoning", "cache_written_1h")
    }
    return msgspec.structs.replace(usage, **scaled)


def add_usages(usages: Sequence[Usage]) -> Usage | None:
    """The sum of the counts of several answers; None for an empty sequence."""
    if not usages:
        return None
    sums = {name: sum([getattr(usage, name) for usage in usages]) for name in _COUNTED}
    return msgspec.structs.replace(usages[-1], **sums, estimated=any(usage.estimated for usage in usages))


def complete_usage(usage: Usage | None, estimate: Usage) -> Usage:
    """Counts without an input, if there are any, with the estimated one."""
    if usage is None or not usage.output:
        return estimate
    return msgspec.structs.replace(usage, fresh=estimate.fresh, estimated=True)


class StopDetail(msgspec.Struct, frozen=True):
    """Why the upstream refused, if it says so."""

    category: str | None = None
    explanation: str | None = None


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """`finish_reason` None means the answer broke off; `created` is in unix seconds, None if unknown.

    `logprobs` are OpenAI's entries for the visible text; `extensions` are fields that only the upstream's dialect
    knows.
    """

    id: str
    model: str
    blocks: tuple[Block, ...]
    finish_reason: FinishReason | None
    raw_finish_reason: str | None = None
    stop_sequence: str | None = None
    stop_detail: StopDetail | None = None
    usage: Usage | None = None
    created: int | None = None
    service_tier: str | None = None
    logprobs: tuple[dict[str, Any], ...] = ()
    extensions: dict[str, Any] = {}

    @property
    def says_something(self) -> bool:
        for block in self.blocks:  # noqa: SIM110 - a generator costs three times as much
            if type(block) is not Text or block.text:
                return True
        return False

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said, not even in tokens, and no limit, stop sequence or filter is the reason."""
        if self.finish_reason != "stop" or (self.usage is not None and self.usage.output):
            return False
        return not self.says_something
