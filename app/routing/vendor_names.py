"""What vendors call their models: families, Claude's tiers, and the successors of retired names."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from app.providers.names import canonical_name, split_vendor
from app.providers.provider import Provider
from app.routing.presets import HAIKU, OPUS, PRESETS, SONNET

# Words that put a Claude name into a tier. All other Claude names are "big".
TIERS = ("haiku", "sonnet", "opus", "fable", "mythos")

# By the beginning of a name: the kinds of provider that serve this family of names themselves, best first.
FAMILIES = {
    "claude": ("anthropic", "claude_cli"),
    "gpt": ("openai", "codex"),
    "o1": ("openai",),
    "o3": ("openai",),
    "o4": ("openai",),
}
# Models that their vendor no longer offers, and their successors.
SUCCESSORS = PRESETS["claude-classes"]
# The model that a tier alone stands for at the vendor itself.
NEWEST = {"haiku": HAIKU, "sonnet": SONNET, "opus": OPUS}

# What people enter if a client demands a model name and any will do.
PLACEHOLDERS = frozenset({"any", "auto", "default", "model", "whatever"})


def is_tier_name(name: str) -> bool:
    """Whether a name belongs to one of Claude's tiers. Claude's clients always send such names."""
    vendor, rest = split_vendor(name)
    lowered = rest.lower()
    if vendor is None and "/" in name:
        return False
    return lowered in TIERS or ("claude" in lowered and any(word in lowered for word in TIERS))


def family_kinds(name: str) -> tuple[str, ...]:
    """The kinds of provider that serve the family of a vendor's name; none for any other name."""
    _, bare = split_vendor(name)
    bare = "claude" if bare.lower() in TIERS else bare.lower()
    return next((kinds for family, kinds in FAMILIES.items() if bare.startswith(family)), ())


def is_home(provider: Provider) -> bool:
    """Whether a provider is the vendor of its dialect's names, judged by its address, name or profile."""
    settings = provider.settings
    vendors = {"openai": "openai", "anthropic": "anthropic"}
    if settings.kind not in vendors:
        return True
    return provider.is_vendor or provider.name == vendors[settings.kind] or settings.profile == vendors[settings.kind]


def vendor_name(provider: Provider, name: str) -> str:
    """A vendor's own name as the vendor spells it, or its successor if the vendor no longer offers it. A tier alone is
    the newest model of that tier."""
    newest = NEWEST.get(name.lower())
    if newest is None and not name.lower().startswith("claude"):
        return name
    listed = provider.known_names()
    if newest is not None:
        return _within_tier(newest, listed)
    spelled = name.replace(".", "-")
    if not listed or provider.lists(spelled):
        return spelled
    variant = provider.find_variant(canonical_name(name))
    if variant is not None:
        return variant
    successor = find_successor(name)
    return spelled if successor is None else _within_tier(successor, listed)


def _within_tier(model: str, listed: Sequence[str]) -> str:
    """The model, or the newest of its tier if it is not among those listed."""
    tier = next((word for word in TIERS if word in model), "")
    same_tier = sorted(each for each in listed if tier in each)
    return model if model in listed or not same_tier else same_tier[-1]


def find_successor(name: str) -> str | None:
    lowered = name.lower()
    return next((model for old, model in SUCCESSORS.items() if fnmatch.fnmatchcase(lowered, old)), None)
