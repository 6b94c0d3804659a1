"""Routes model names to upstreams, in the order in which they are tried."""

from __future__ import annotations

import fnmatch
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from app.errors import ConfigError, NotFound
from app.providers.catalogue import RETRY
from app.providers.names import LONGEST_NAME, canonical_name, plain_name, split_vendor
from app.providers.provider import Provider, fill_catalogues
from app.routing.presets import PRESETS
from app.routing.upstream import Upstream, make_upstream
from app.routing.vendor_names import (
    NEWEST,
    PLACEHOLDERS,
    TIERS,
    family_kinds,
    find_successor,
    is_home,
    is_tier_name,
    vendor_name,
)
from app.settings import ModelsSettings, RouteSettings

log = logging.getLogger("dragoman")

_MAX_DEPTH = 8
# Bounds the cache: clients can send any number of names.
MAX_RESOLVED = 4096
# The rule that chose the upstreams of a name that none of the others knows.
DEFAULT = "models.default"


class _Resolution(NamedTuple):
    """The upstreams of a name and the rule that chose them. `known` is False if only the default accepts the name,
    `lasts` if a provider's list decided, which may change."""

    upstreams: list[Upstream]
    matched: str
    known: bool = True
    lasts: bool = True


class _Kept(NamedTuple):
    """The part of a resolution that is kept `until` then, by the monotonic clock."""

    upstreams: Sequence[Upstream]
    known: bool
    until: float


class Router:
    """Resolves names by the configured routes and the providers' lists of models. Each configuration gets its own
    router."""

    def __init__(self, models: ModelsSettings, providers: Mapping[str, Provider]) -> None:
        self._models = models
        self._providers = providers
        self._real = [provider for provider in providers.values() if not provider.local]
        self._exact: dict[str, RouteSettings] = {}
        globs: dict[str, RouteSettings] = {}
        for name, route in models.routes.items():
            (globs if _is_glob(name) else self._exact)[name] = route
        # The more characters a pattern spells out, the earlier it is tried.
        self._globs = sorted(globs.items(), key=lambda item: -_count_literals(item[0]))
        self._spellings = {canonical_name(name): name for name in reversed(self._exact)}
        self._presets = _merge_presets(models.presets)
        self._named = self._gather_named()
        self._resolved: dict[tuple[str, str | None], _Kept] = {}
        self._check()

    def resolve(self, name: str, provider: str | None = None) -> Sequence[Upstream]:
        """The upstreams of a name, first choice first. If the request's path names a `provider`, only upstreams at this
        provider are returned.

        May fetch the providers' lists of models the first time a name is not covered by a route. Raises NotFound with
        a hint.
        """
        resolved = self._resolved.get((name, provider))
        if resolved is not None and resolved.until == math.inf:
            return resolved.upstreams
        return self._look_up(name, provider).upstreams

    def settles(self, name: str, provider: str | None) -> bool:
        """Whether `resolve` has already found the final upstreams of a name."""
        resolved = self._resolved.get((name, provider))
        return resolved is not None and resolved.until == math.inf

    def resolve_named(self, name: str) -> Sequence[Upstream]:
        """The upstreams of a name that is known here, or that is a vendor's and that the default accepts; none for any
        other name. Raises NotFound."""
        resolved = self._look_up(name, None)
        by_default = self._models.default is not None and family_kinds(plain_name(name))
        return resolved.upstreams if resolved.known or by_default else ()

    def names(self) -> list[str]:
        """The names that the configuration itself offers: those of exact routes and of presets, without globs."""
        presets = (name for name in self._presets if not _is_glob(name))
        return list(dict.fromkeys((*self._exact, *presets)))

    def _look_up(self, name: str, provider: str | None) -> _Kept:
        resolved = self._resolved.get((name, provider))
        if resolved is None or (resolved.until < math.inf and resolved.until < time.monotonic()):
            resolved = self._find(name, provider)
            if len(self._resolved) >= MAX_RESOLVED:
                self._resolved.clear()
            self._resolved[name, provider] = resolved
        return resolved

    def _find(self, name: str, provider: str | None) -> _Kept:
        plain = plain_name(name.strip(" \t\r\n"))  # files from Windows leave an end of line behind a name
        resolution = self._resolve_mounted(plain, provider) if provider is not None else self._resolve_unmounted(plain)
        if resolution is None:
            raise self._refuse(name)
        marked = [msgspec.structs.replace(upstream, matched=resolution.matched) for upstream in resolution.upstreams]
        unique = list({upstream.label: upstream for upstream in marked}.values())
        settled = (resolution.known and resolution.lasts) or provider is not None
        until = math.inf if settled else time.monotonic() + RETRY
        return _Kept(unique, resolution.known, until)

    def _resolve_mounted(self, name: str, provider: str) -> _Resolution:
        """Where a name leads below a provider's mount: as configured, if that is there, else to the model so called."""
        routed = self._resolve_configured(name, None, 0)
        own = [upstream for upstream in routed.upstreams if upstream.provider.name == provider] if routed else []
        if routed and own:
            return _Resolution(own, routed.matched)
        model = name.removeprefix(f"{provider}/")
        return _lead_to(self._providers[provider], model, None, "the path")

    def _resolve_unmounted(self, name: str) -> _Resolution | None:
        """Where a name leads by all rules, the default last; None if it is unknown."""
        resolution = self._resolve_name(name, None, 0)
        if resolution is not None:
            return resolution
        usual = is_tier_name(name)
        if (label := self._named.get(name)) is not None:
            resolution = self._resolve_target(label, None, 0)
            return resolution and _Resolution(resolution.upstreams, "the names in [models]", lasts=False)
        if "/" in name and not usual:
            return self._resolve_at_only(name) if self._models.default is None else None
        if self._models.unknown == "refuse" and not usual:
            return None
        if self._models.default is None:
            return self._resolve_at_only(name)
        upstreams = self._resolve_default()
        if upstreams and not usual and name not in PLACEHOLDERS:
            log.warning(
                "no route or provider has the model %r; models.default answers with %s",
                name[:LONGEST_NAME],
                upstreams[0].label,
            )
        return _Resolution(upstreams, DEFAULT, usual) if upstreams else None

    def _refuse(self, name: str) -> NotFound:
        shown = name[:LONGEST_NAME]
        prefix, slash, _ = shown.partition("/")
        known = ", ".join(self._providers) or "none yet"
        if slash and self._models.default is not None:
            message = f"model {shown!r} was not found: there is no provider {prefix!r}; the providers are {known}"
        elif self._models.unknown == "refuse":
            message = f"model {shown!r} was not found, and models.unknown rejects unknown names; see /v1/models"
        else:
            message = (
                f"model {shown!r} was not found: name it <provider>/<model> with one of the providers {known}, "
                "add a route, or set models.default"
            )
        return NotFound(message, param="model", code="model_not_found")

    def _resolve_name(self, name: str, route: RouteSettings | None, depth: int) -> _Resolution | None:
        """Where a name leads by all rules but the default. May fetch the providers' lists of models."""
        resolution = self._resolve_configured(name, route, depth)
        if resolution is not None:
            return resolution
        if self._needs_lists(name):
            fill_catalogues((each for each in self._real if each.lists_decide), only_new=True)
        resolution = self._resolve_listed(name, route)
        if resolution is not None:
            return resolution
        vendor, rest = split_vendor(name)
        if vendor is not None:
            resolution = self._resolve_configured(rest, route, depth + 1) or self._resolve_listed(rest, route)
            if resolution is not None:
                return resolution
        elif "/" in name:
            return None
        family = self._find_family(rest)
        if family is not None:
            return _lead_to(family, vendor_name(family, rest), route, f"the names of {family.kind}", lasts=False)
        canonical = canonical_name(rest)
        for provider in self._real:
            if (listed := provider.find_variant(canonical)) is not None:
                return _lead_to_listed(provider, listed, route)
        return None

    def _resolve_listed(self, name: str, route: RouteSettings | None) -> _Resolution | None:
        """Where a name leads that providers list: to its vendor's provider if that lists it, else to the first."""
        listing = [provider for provider in self._real if provider.lists(name)]
        if not listing:
            return None
        family = self._find_family(name)
        chosen = family if family in listing else listing[0]
        return _lead_to_listed(chosen, name, route)

    def _resolve_configured(self, name: str, route: RouteSettings | None, depth: int) -> _Resolution | None:
        """Where a name leads by the configuration alone: provider, route, tier or preset."""
        if depth > _MAX_DEPTH:
            raise NotFound(_describe_loop(name), param="model", code="model_not_found")
        if name in self._exact:
            return self._resolve_route(name, self._exact[name], depth)
        provider, _, model = name.partition("/")
        if model and provider in self._providers:
            return _lead_to(self._providers[provider], model, route, "the name itself")
        pattern = self._find_pattern(name)
        if pattern is not None:
            return self._resolve_route(pattern, self._models.routes[pattern], depth)
        for target, matched in self._find_aliases(name):
            resolution = self._resolve_target(target, route, depth)
            if resolution is not None:
                return _Resolution(resolution.upstreams, matched)
        return None

    def _resolve_route(self, name: str, route: RouteSettings, depth: int) -> _Resolution:
        upstreams: list[Upstream] = []
        for target in route.targets:
            resolution = self._resolve_target(target, route, depth)
            upstreams += resolution.upstreams if resolution is not None else []
        return _Resolution(upstreams, f'models.routes."{name}"')

    def _resolve_target(self, target: str, route: RouteSettings | None, depth: int) -> _Resolution | None:
        """Where a setting's target leads. A provider's model wins over a route of the same name."""
        provider, _, model = target.partition("/")
        if model and provider in self._providers:
            return _lead_to(self._providers[provider], model, route)
        return self._resolve_name(target, route, depth + 1) or self._resolve_at_only(target, route)

    def _gather_named(self) -> dict[str, str]:
        """Maps each model that the settings' targets name to the first such target. These models stay known even if a
        provider's list cannot be read."""
        tiers = (getattr(self._models, tier) for tier in ("default", "small", "big", *TIERS[1:]))
        targets = [*tiers, *(target for route in self._models.routes.values() for target in route.targets)]
        split = [(target, *target.partition("/")) for target in targets if target is not None]
        return {model: target for target, name, _, model in reversed(split) if model and name in self._providers}

    def _find_pattern(self, name: str) -> str | None:
        """The route that matches a name, in any of its spellings, and spells out the most characters."""
        canonical = canonical_name(name)
        found = next(
            (
                glob
                for glob, _ in self._globs
                if fnmatch.fnmatchcase(name, glob) or fnmatch.fnmatchcase(canonical, glob.lower().replace(".", "-"))
            ),
            None,
        )
        same = self._spellings.get(canonical) if _may_vary(name) else None
        if same is not None and (found is None or len(same) >= _count_literals(found)):
            return same
        return found

    def _needs_lists(self, name: str) -> bool:
        """Whether the providers' lists may matter. They do not for a vendor's own name if that vendor is the only
        provider, unless the name may need a successor."""
        if name in PLACEHOLDERS:
            return False
        if len(self._real) == 1 and self._find_family(name) is self._real[0]:
            return find_successor(name) is not None or name.lower() in NEWEST
        return True

    def _resolve_at_only(self, name: str, route: RouteSettings | None = None) -> _Resolution | None:
        """Sends an unknown name to the provider if there is only one: to its one model if it lists just one, else under
        the name as it is."""
        if len(self._real) != 1:
            return None
        (provider,) = self._real
        listed = provider.known_names()
        if len(listed) == 1:
            return _lead_to(provider, provider.public_name(listed[0]), route, "the only model", known=False)
        if listed and "/" in name:
            return None
        return _lead_to(provider, name, route, "the only provider", known=False)

    def _resolve_default(self) -> list[Upstream]:
        default = self._models.default or ""
        resolution = self._resolve_target(default, None, 0)
        if resolution is None and "/" not in default and self._providers:
            # Only a provider can judge this name, which may come from DEFAULT_MODEL.
            first = next(iter(self._providers.values()))
            return [make_upstream(first, default, None)]
        return resolution.upstreams if resolution is not None else []

    def _find_aliases(self, name: str) -> Iterator[tuple[str, str]]:
        """The targets of a name by its tier and by a preset, each with the setting that defines it."""
        target, setting = self._tier(name)
        if target is not None and target != name:
            yield target, setting
        alias = self._find_preset(name)
        if alias is None or alias == name:
            return
        target, setting = self._tier(alias)
        if target is None or target == alias:
            yield alias, "preset"
        else:
            yield target, f"preset, {setting}"

    def _tier(self, name: str) -> tuple[str | None, str]:
        """The target of a Claude name's tier and the setting that defines it. The target is None for other names, or if
        the tier is not configured."""
        vendor, rest = split_vendor(name)
        lowered = rest.lower()
        if ("claude" not in lowered and lowered not in TIERS) or (vendor is None and "/" in name):
            return None, ""
        models = self._models
        if "haiku" in lowered:
            return models.small, "models.small"
        tier = next((word for word in TIERS if word in lowered), None)
        own = getattr(models, tier) if tier else None
        return (own, f"models.{tier}") if own else (models.big, "models.big")

    def _find_preset(self, name: str) -> str | None:
        lowered = name.lower()
        return self._presets.get(lowered) or next(
            (t for glob, t in self._presets.items() if _is_glob(glob) and fnmatch.fnmatchcase(lowered, glob)), None
        )

    def _find_family(self, name: str) -> Provider | None:
        """The provider of the vendor that a name belongs to. A server that only speaks the vendor's dialect is not the
        vendor: a configured default wins over it."""
        for kind in family_kinds(name):
            for provider in self._real:
                if provider.settings.kind == kind and (is_home(provider) or self._is_default(provider)):
                    return provider
        return None

    def _is_default(self, provider: Provider) -> bool:
        """Whether `models.default` names no other provider; with kind `openai`, whether it is not set."""
        default = self._models.default
        own = default is not None and default.partition("/")[0] == provider.name
        return default is None or (own and provider.settings.kind != "openai")

    def _check(self) -> None:
        """Raises ConfigError with the keys of all targets that lead to no existing provider, or of a loop of routes."""
        faults: list[ConfigError] = []
        places: dict[str, tuple[str | None, ...]] = {
            f"models.{tier}": (getattr(self._models, tier),) for tier in ("default", "small", "big", *TIERS[1:])
        }
        places |= {f'models.routes."{name}"': route.targets for name, route in self._models.routes.items()}
        known = ", ".join(self._providers)
        for key, targets in places.items():
            for target in targets:
                if target is not None and not self._may_lead(target, key):
                    message = f"{target!r} names neither a route nor one of the providers {known}"
                    faults.append(ConfigError(message, key=key))
        for name, route in self._models.routes.items():
            if not faults and self._is_circular(name, route, 0):
                faults.append(ConfigError(_describe_loop(name), key=f'models.routes."{name}"'))
        if faults:
            raise ConfigError.join(faults)

    def _may_lead(self, target: str, key: str) -> bool:
        """Whether a target can lead to an upstream, as far as is known without asking a provider."""
        provider, slash, model = target.partition("/")
        if target in self._exact or (model and provider in self._providers):
            return True
        if any(each.lists(target) for each in self._real):
            return True
        if slash:
            return False
        # A single provider accepts any name, and a vendor knows its own names.
        named = self._find_family(target) is not None or self._find_pattern(target) not in (None, target)
        return len(self._real) == 1 or named or (key == "models.default" and (is_tier_name(target) or not self._real))

    def _is_circular(self, name: str, route: RouteSettings, depth: int) -> bool:
        if depth > _MAX_DEPTH:
            return True
        onward = [target for target in route.targets if target in self._exact]
        return any(self._is_circular(target, self._exact[target], depth + 1) for target in onward)


def _lead_to(
    provider: Provider, model: str, route: RouteSettings | None, matched: str = "", *, known: bool = True,
    lasts: bool = True,
) -> _Resolution:  # fmt: skip
    return _Resolution([make_upstream(provider, model, route)], matched, known, lasts)


def _lead_to_listed(provider: Provider, model: str, route: RouteSettings | None) -> _Resolution:
    return _lead_to(provider, provider.public_name(model), route, f"the list of {provider.name}", lasts=False)


def _describe_loop(name: str) -> str:
    return f"the routes of model {name!r} form a loop; change one of them in [models.routes]"


def _may_vary(name: str) -> bool:
    """Whether a name may be a variant spelling of another. Any prefix before a slash must be a vendor."""
    return "/" not in name or split_vendor(name)[0] is not None


def _is_glob(name: str) -> bool:
    return "*" in name or "?" in name


def _count_literals(glob: str) -> int:
    """The number of characters that a pattern spells out."""
    return len(glob) - glob.count("*") - glob.count("?")


def _merge_presets(names: tuple[str, ...]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for name in names:
        if name not in PRESETS:
            raise ConfigError(f"there is no preset {name!r}; known are {', '.join(PRESETS)}", key="models.presets")
        merged.update(PRESETS[name])
    return merged
