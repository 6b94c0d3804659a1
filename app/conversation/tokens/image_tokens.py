"""Computes an image's tokens by the vendors' published rules.

Both vendors scale an image down to what the model can see and count squares of it: Anthropic and the newer models of
OpenAI small patches, the older ones large tiles. The model's name selects the rule. Servers of open models follow
neither and are counted by the rule of the client's dialect.

Sources: Anthropic's guides to vision and to coordinates; OpenAI's guide to images and vision (sizes, detail, costs).
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

import msgspec

# Assumed for an image of unknown size, such as one behind a URL.
USUAL_SIZE = (1024, 1024)

LOW_DETAIL_SIDE = 512
TILE = 512
TILED_LONGEST = 2048
TILED_SHORTEST = 768


class Limit(msgspec.Struct, frozen=True):
    """The most that a model sees of an image: pixels along its longer side, and patches."""

    longest: int
    patches: int


class Patches(msgspec.Struct, frozen=True):
    """Anthropic's rule: one token per patch of 28 by 28 pixels after scaling to the limit."""

    limit: Limit
    side: int = 28

    def count(self, width: int, height: int, detail: str | None) -> int:
        long, short = max(width, height), min(width, height)

        def cost(length: int) -> int:
            return math.ceil(length / self.side) * math.ceil(max(1, round(short * length / long)) / self.side)

        fits, too_long = 1, min(long, self.limit.longest) + 1
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            fits, too_long = (middle, too_long) if cost(middle) <= self.limit.patches else (fits, middle)
        return cost(fits)


class ScaledPatches(msgspec.Struct, frozen=True):
    """OpenAI's rule for its newer models: `factor` tokens per patch of 32 by 32 pixels.

    `original` is the limit of detail "original", for models that support it; `by_default` means that they use it if the
    client sets no detail.
    """

    limit: Limit
    factor: float = 1.0
    original: Limit | None = None
    by_default: bool = False
    side: int = 32

    def count(self, width: int, height: int, detail: str | None) -> int:
        limit = self.limit
        if self.original and (detail == "original" or (self.by_default and detail in (None, "auto"))):
            limit = self.original
        longest = LOW_DETAIL_SIDE if detail == "low" else limit.longest
        scale = min(1.0, longest / max(width, height))
        if self._patches(width * scale, height * scale) > limit.patches:
            scale = math.sqrt(self.side**2 * limit.patches / (width * height))
            across, down = width * scale / self.side, height * scale / self.side
            # Shrunk a little more so that whole patches cover one side.
            scale *= min(max(1, math.floor(across)) / across, max(1, math.floor(down)) / down)
        return math.ceil(self._patches(int(width * scale), int(height * scale)) * self.factor)

    def _patches(self, width: float, height: float) -> int:
        return max(1, math.ceil(width / self.side)) * max(1, math.ceil(height / self.side))


class Tiles(msgspec.Struct, frozen=True):
    """OpenAI's rule for its older models: a base price per image plus a price per tile of 512 by 512 pixels."""

    base: int
    tile: int

    def count(self, width: int, height: int, detail: str | None) -> int:
        if detail == "low":
            return self.base
        scale = min(1.0, TILED_LONGEST / max(width, height))
        scale = min(scale, TILED_SHORTEST / min(width, height))
        return self.base + self.tile * math.ceil(int(width * scale) / TILE) * math.ceil(int(height * scale) / TILE)


Rule = Patches | ScaledPatches | Tiles

CLAUDE = Patches(Limit(1568, 1568))
GPT = Tiles(85, 170)
_SMALL = Limit(2048, 1536)
_LARGE = Limit(2048, 2500)
_WHOLE = Limit(6000, 10_000)

# The first rule whose pattern occurs in the model's name applies.
RULES: tuple[tuple[re.Pattern[str], Rule], ...] = tuple(
    (re.compile(pattern), rule)
    for pattern, rule in (
        (r"claude-(opus-4[-.][7-9]|[a-z]+-[5-9])", Patches(Limit(2576, 4784))),
        (r"claude", CLAUDE),
        (r"gpt-4o-mini", Tiles(2833, 5667)),
        (r"gpt-[\d.]+-mini", ScaledPatches(_SMALL, 1.62)),
        (r"gpt-[\d.]+-nano", ScaledPatches(_SMALL, 2.46)),
        (r"\bo4-mini", ScaledPatches(_SMALL, 1.72)),
        (r"gpt-5\.2|codex", ScaledPatches(_SMALL)),
        (r"gpt-5\.4", ScaledPatches(_LARGE, original=_WHOLE)),
        (r"gpt-5\.5", ScaledPatches(_LARGE, original=_WHOLE, by_default=True)),
        (r"gpt-(5\.[6-9]|[6-9])", ScaledPatches(_LARGE, original=Limit(65_535, 30_000), by_default=True)),
        (r"gpt-5", Tiles(70, 140)),
        (r"\bo[13]\b", Tiles(75, 150)),
        (r"computer-use-preview", Tiles(65, 129)),
        (r"gpt-", GPT),
    )
)
UNTOLD = GPT


# Cached, since every estimate asks for the rule.
@lru_cache(maxsize=256)
def find_rule(model: str, otherwise: Rule = UNTOLD) -> Rule:
    """The rule for a model's images; `otherwise`, the rule of the dialect's vendor, if the name does not decide."""
    for pattern, rule in RULES:
        if pattern.search(model):
            return rule
    return otherwise


def count_image(rule: Rule, size: tuple[int, int] | None, detail: str | None = None) -> int:
    """Tokens of an image, at least 1. `size` is width and height in pixels, None if unknown."""
    width, height = size or USUAL_SIZE
    return rule.count(max(1, width), max(1, height), detail)
