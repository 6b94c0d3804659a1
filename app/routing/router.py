"""Routes model names to upstreams, in the order in which they are tried."""

from __future__ import annotations

import fnmatch
import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.losses import LossPolicy
from app.errors import ConfigError, NotFound
from app.providers.names import LONGEST_NAME, canonical_name, plain_name, split_vendor
from app.providers.provider import CATALOGUE_RETRY, Provider, fill_catalogues
from app.routing.presets import HAIKU, OPUS, PRESETS, SONNET
from app.settings import ModelsSettings, RouteSettings

log = logging.getLogger("dragoman")

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

_MAX_DEPTH = 8
# Bounds the cache: clients can send any number of names.
MAX_RESOLVED = 4096


class Upstream(msgspec.Struct, frozen=True):
    """One provider and model chosen for a request, with the route's own settings. `matched` names the rule that chose
    it."""

    provider: Provider
    model: str
    label: str
    reasoning_effort: str | None = None
    max_output: int | None = None
    policy: LossPolicy = "normal"
    context_window: int | None = None
    assumed_window: int | None = None
    matched: str = ""

    @property
    def capabilities(self) -> Capabilities:
        """What the model supports, within the route's own limits. May fetch the provider's catalogue the first time."""
        known = self.provider.capabilities(self.model)
        if self.max_output is None and self.context_window is None:
            return known
        changes: dict[str, int] = {}
        if self.max_output is not None:
            limit = min(self.max_output, known.max_output or self.max_output)
            changes |= {"max_output": limit, "default_output": limit}
        if self.context_window is not None:
            changes["context_window"] = self.context_window
        return msgspec.structs.replace(known, **changes)

    def rewrites(self, capabilities: Capabilities) -> bool:
        """Whether even a request in the upstream's own dialect is rendered anew: because the route sets an effort or
        scales token counts, or a strict chat template wants the conversation in another order."""
        ordered = capabilities.merge_system or capabilities.alternate
        scaled = self.assumed_window is not None and self.usage_scale != 1
        return ordered or self.reasoning_effort is not None or scaled

    @property
    def usage_scale(self) -> float:
        """The factor for reported token counts, for clients that assume a context window other than the real one."""
        if self.assumed_window is None or (window := self.capabilities.context_window) is None:
            return 1.0
        return self.assumed_window / window


class _Resolution(NamedTuple):
    """The upstreams of a name and the rule that chose them. `known` is False if only the default accepts the name."""

    upstreams: list[Upstream]
    matched: str
    known: bool = True


class _Resolved(NamedTuple):
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
        self._resolved: dict[tuple[str, str | None], _Resolved] = {}
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
        return self._resolve(name, provider).upstreams

    def settles(self, name: str, provider: str | None) -> bool:
        """Whether `resolve` has already found the final upstreams of a name."""
        resolved = self._resolved.get((name, provider))
        return resolved is not None and resolved.until == math.inf

    def resolve_named(self, name: str) -> Sequence[Upstream]:
        """The upstreams of a name that is known here, or that is a vendor's and that the default accepts; none for any
        other name. Raises NotFound."""
        resolved = self._resolve(name, None)
        by_default = self._models.default is not None and _family_kinds(plain_name(name))
        return resolved.upstreams if resolved.known or by_default else ()

    def names(self) -> list[str]:
        """The names that the configuration itself offers: those of exact routes and of presets, without globs."""
        presets = (name for name in self._presets if not _is_glob(name))
        return list(dict.fromkeys((*self._exact, *presets)))

    def _resolve(self, name: str, provider: str | None) -> _Resolved:
        resolved = self._resolved.get((name, provider))
        if resolved is None or (resolved.until < math.inf and resolved.until < time.monotonic()):
            resolved = self._find(name, provider)
            if len(self._resolved) >= MAX_RESOLVED:
                self._resolved.clear()
            self._resolved[name, provider] = resolved
        return resolved

    def _find(self, name: str, provider: str | None) -> _Resolved:
        plain = plain_name(name.strip(" \t\r\n"))  # files from Windows leave an end of line behind a name
        resolution = self._find_mounted(plain, provider) if provider is not None else self._find_free(plain)
        if resolution is None:
            raise self._refuse(name)
        marked = [msgspec.structs.replace(upstream, matched=resolution.matched) for upstream in resolution.upstreams]
        unique = list({upstream.label: upstream for upstream in marked}.values())
        # A provider's list may change, so what it decided is final only for a while.
        settled = resolution.known and not resolution.matched.startswith(("the list", "the names"))
        until = math.inf if settled or provider is not None else time.monotonic() + CATALOGUE_RETRY
        return _Resolved(unique, resolution.known, until)

    def _find_mounted(self, name: str, provider: str) -> _Resolution:
        routed = self._resolve_configured(name, None, 0)
        own = [upstream for upstream in routed.upstreams if upstream.provider.name == provider] if routed else []
        if routed and own:
            return _Resolution(own, routed.matched)
        model = name.removeprefix(f"{provider}/")
        return _Resolution([self._upstream(self._providers[provider], model, None)], "the path")

    def _find_free(self, name: str) -> _Resolution | None:
        resolution = self._resolve_name(name, None, 0)
        if resolution is not None:
            return resolution
        usual = _is_usual(name)
        if (label := self._named.get(name)) is not None:
            resolution = self._lead_target(label, None, 0)
            return _Resolution(resolution.upstreams, "the names in [models]") if resolution is not None else None
        if "/" in name and not usual:
            return self._ask_only(name) if self._models.default is None else None
        if self._models.unknown == "refuse" and not usual:
            return None
        if self._models.default is None:
            return self._ask_only(name)
        upstreams = self._default()
        if upstreams and not usual and name not in PLACEHOLDERS:
            log.warning(
                "no route or provider has the model %r; models.default answers with %s",
                name[:LONGEST_NAME],
                upstreams[0].label,
            )
        return _Resolution(upstreams, "models.default", usual) if upstreams else None

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
        resolution = self._lead_listed(name, route)
        if resolution is not None:
            return resolution
        vendor, rest = split_vendor(name)
        if vendor is not None:
            resolution = self._resolve_configured(rest, route, depth + 1) or self._lead_listed(rest, route)
            if resolution is not None:
                return resolution
        elif "/" in name:
            return None
        family = self._family(rest)
        if family is not None:
            return _Resolution(
                [self._upstream(family, _vendor_name(family, rest), route)], f"the names of {family.kind}"
            )
        canonical = canonical_name(rest)
        variants = ((provider, provider.find_variant(canonical)) for provider in self._real)
        for provider, listed in variants:
            if listed is not None:
                return _Resolution(
                    [self._upstream(provider, provider.public_name(listed), route)], f"the list of {provider.name}"
                )
        return None

    def _lead_listed(self, name: str, route: RouteSettings | None) -> _Resolution | None:
        """Where a name leads that providers list: to its vendor's provider if that lists it, else to the first."""
        listing = [provider for provider in self._real if provider.lists(name)]
        if not listing:
            return None
        family = self._family(name)
        chosen = family if family in listing else listing[0]
        return _Resolution([self._upstream(chosen, chosen.public_name(name), route)], f"the list of {chosen.name}")

    def _resolve_configured(self, name: str, route: RouteSettings | None, depth: int) -> _Resolution | None:
        """Where a name leads by the configuration alone: provider, route, tier or preset."""
        if depth > _MAX_DEPTH:
            raise NotFound(
                f"the routes of model {name!r} form a loop; change one of them in [models.routes]",
                param="model",
                code="model_not_found",
            )
        if name in self._exact:
            return self._take_route(name, self._exact[name], depth)
        provider, _, model = name.partition("/")
        if model and provider in self._providers:
            return _Resolution([self._upstream(self._providers[provider], model, route)], "the name itself")
        pattern = self._find_pattern(name)
        if pattern is not None:
            return self._take_route(pattern, self._models.routes[pattern], depth)
        for alias, matched in ((self._tier(name)), self._preset(name)):
            if alias is None or alias == name:
                continue
            tier, tier_matched = self._tier(alias)
            target = tier if tier is not None and matched.startswith("preset") else alias
            resolution = self._lead_target(target, route, depth)
            if resolution is not None:
                return _Resolution(resolution.upstreams, f"{matched}, {tier_matched}" if target != alias else matched)
        return None

    def _take_route(self, name: str, route: RouteSettings, depth: int) -> _Resolution:
        upstreams: list[Upstream] = []
        for target in route.targets:
            resolution = self._lead_target(target, route, depth)
            upstreams += resolution.upstreams if resolution is not None else []
        return _Resolution(upstreams, f'models.routes."{name}"')

    def _lead_target(self, target: str, route: RouteSettings | None, depth: int) -> _Resolution | None:
        """Where a setting's target leads. A provider's model wins over a route of the same name."""
        provider, _, model = target.partition("/")
        if model and provider in self._providers:
            return _Resolution([self._upstream(self._providers[provider], model, route)], "")
        return self._resolve_name(target, route, depth + 1) or self._ask_only(target, route)

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
        if len(self._real) == 1 and self._family(name) is self._real[0]:
            return _find_successor(name) is not None or name.lower() in NEWEST
        return True

    def _ask_only(self, name: str, route: RouteSettings | None = None) -> _Resolution | None:
        """Sends an unknown name to the provider if there is only one: to its one model if it lists just one, else under
        the name as it is."""
        if len(self._real) != 1:
            return None
        (provider,) = self._real
        listed = provider.known_names()
        if len(listed) == 1:
            return _Resolution(
                [self._upstream(provider, provider.public_name(listed[0]), route)], "the only model", False
            )
        if listed and "/" in name:
            return None
        return _Resolution([self._upstream(provider, name, route)], "the only provider", False)

    def _default(self) -> list[Upstream]:
        default = self._models.default or ""
        resolution = self._lead_target(default, None, 0)
        if resolution is None and "/" not in default and self._providers:
            # Only a provider can judge this name, which may come from DEFAULT_MODEL.
            first = next(iter(self._providers.values()))
            return [self._upstream(first, default, None)]
        return resolution.upstreams if resolution is not None else []

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

    def _preset(self, name: str) -> tuple[str | None, str]:
        lowered = name.lower()
        target = self._presets.get(lowered) or next(
            (t for glob, t in self._presets.items() if _is_glob(glob) and fnmatch.fnmatchcase(lowered, glob)), None
        )
        return target, "preset"

    def _family(self, name: str) -> Provider | None:
        """The provider of the vendor that a name belongs to. A server that only speaks the vendor's dialect is not the
        vendor: a configured default wins over it."""
        for kind in _family_kinds(name):
            for provider in self._real:
                if provider.settings.kind == kind and (_is_home(provider) or self._is_default(provider)):
                    return provider
        return None

    def _is_default(self, provider: Provider) -> bool:
        """Whether `models.default` names no other provider; with kind `openai`, whether it is not set."""
        default = self._models.default
        own = default is not None and default.partition("/")[0] == provider.name
        return default is None or (own and provider.settings.kind != "openai")

    def _upstream(self, provider: Provider, model: str, route: RouteSettings | None) -> Upstream:
        label = f"{provider.name}/{model}"
        own, assumed = provider.settings.reasoning_effort, provider.settings.assumed_window
        if route is None:
            return Upstream(provider, model, label, own, assumed_window=assumed)
        policy: LossPolicy = "strict" if route.strict else "lenient" if route.lenient else "normal"
        return Upstream(
            provider,
            model,
            label,
            route.reasoning_effort or own,
            route.max_output,
            policy,
            route.context_window,
            route.assumed_window or assumed,
        )

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
                faults.append(
                    ConfigError(
                        f"the routes of model {name!r} form a loop; change one of them in [models.routes]",
                        key=f'models.routes."{name}"',
                    )
                )
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
        named = self._family(target) is not None or self._find_pattern(target) not in (None, target)
        return len(self._real) == 1 or named or (key == "models.default" and (_is_usual(target) or not self._real))

    def _is_circular(self, name: str, route: RouteSettings, depth: int) -> bool:
        if depth > _MAX_DEPTH:
            return True
        onward = [target for target in route.targets if target in self._exact]
        return any(self._is_circular(target, self._exact[target], depth + 1) for target in onward)


def _is_usual(name: str) -> bool:
    """Whether a name belongs to one of Claude's tiers. Claude's clients always send such names."""
    vendor, rest = split_vendor(name)
    lowered = rest.lower()
    if vendor is None and "/" in name:
        return False
    return lowered in TIERS or ("claude" in lowered and any(word in lowered for word in TIERS))


def _family_kinds(name: str) -> tuple[str, ...]:
    """The kinds of provider that serve the family of a vendor's name; none for any other name."""
    _, bare = split_vendor(name)
    bare = "claude" if bare.lower() in TIERS else bare.lower()
    return next((kinds for family, kinds in FAMILIES.items() if bare.startswith(family)), ())


def _is_home(provider: Provider) -> bool:
    """Whether a provider is the vendor of its dialect's names, judged by its address, name or profile."""
    settings = provider.settings
    vendors = {"openai": "openai", "anthropic": "anthropic"}
    if settings.kind not in vendors:
        return True
    return provider.is_vendor or provider.name == vendors[settings.kind] or settings.profile == vendors[settings.kind]


def _vendor_name(provider: Provider, name: str) -> str:
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
    successor = _find_successor(name)
    return spelled if successor is None else _within_tier(successor, listed)


def _within_tier(model: str, listed: Sequence[str]) -> str:
    """The model, or the newest of its tier if it is not among those listed."""
    tier = next((word for word in TIERS if word in model), "")
    same_tier = sorted(each for each in listed if tier in each)
    return model if model in listed or not same_tier else same_tier[-1]


def _find_successor(name: str) -> str | None:
    lowered = name.lower()
    return next((model for old, model in SUCCESSORS.items() if fnmatch.fnmatchcase(lowered, old)), None)


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
