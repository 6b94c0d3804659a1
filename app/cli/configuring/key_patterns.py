"""Finds patterns in keys' rights that match nothing, which are most often mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from app.accounts.prices import load_prices
from app.routing.presets import PRESETS
from app.routing.vendor_names import TIERS
from app.settings import KeySettings, Settings
from app.settings.checks.converting import suggest

# How alike two names must be for one to be taken for the other, mistyped.
_ALIKE = 0.8


def find_idle_patterns(settings: Settings, keys: Mapping[str, KeySettings]) -> Iterator[str]:
    """One sentence for each pattern of these keys that matches no provider that is configured, or no model that is
    configured or known. Providers may offer others: a name without `*` is reported only if it resembles one of them."""
    models = _known_models(settings)
    plain = [name for name in models if "*" not in name]
    for name, key in keys.items():
        for pattern in key.providers:
            if not _matches(pattern, settings.providers):
                hint = suggest(pattern, settings.providers)
                yield f"keys.{name}.providers: {pattern!r} matches no configured provider{hint}"
        for pattern in key.models:
            provider, slash, _ = pattern.partition("/")
            if _matches(pattern, models) or (slash and _matches(provider, settings.providers)):
                continue
            near = difflib.get_close_matches(pattern, plain, n=1, cutoff=_ALIKE)
            if near and not _is_version(pattern, near[0]):
                yield f"keys.{name}.models: {pattern!r} matches no known model; did you mean {near[0]}?"
            elif slash or "*" in pattern or "?" in pattern:
                yield f"keys.{name}.models: {pattern!r} matches no configured and no known model"


def _known_models(settings: Settings) -> list[str]:
    """The names of models in the settings, which may be globs themselves, in the presets and in the table of prices."""
    models = settings.models
    tiers = (getattr(models, tier) for tier in ("default", "small", "big", *TIERS[1:]))
    targets = [*tiers, *(target for route in models.routes.values() for target in route.targets)]
    named = [target.partition("/")[2] or target for target in targets if target is not None]
    presets = [name for preset in models.presets for name in PRESETS.get(preset, {})]
    return [*models.routes, *named, *TIERS, *presets, *PRESETS["claude-classes"], *load_prices(settings.prices).rows()]


def _matches(pattern: str, names: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) or fnmatchcase(pattern, name) for name in names)


def _is_version(one: str, other: str) -> bool:
    """Whether two names differ only in their numbers, as those of two versions of a model do."""
    return [letter for letter in one if letter.isalpha()] == [letter for letter in other if letter.isalpha()]
