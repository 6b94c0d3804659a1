"""Routes model names to upstreams, in the order they are tried."""

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
from app.providers.catalogues import fill_catalogues
from app.providers.names import LONGEST_NAME, canonical_name, plain_name, split_vendor
from app.providers.provider import CATALOGUE_RETRY, Provider
from app.routing.presets import PRESETS
from app.settings import ModelsSettings, RouteSettings

log = logging.getLogger("dragoman")

# Which tier a Claude name belongs to, by a word in it; every other Claude name is "big".
TIERS = ("haiku", "sonnet", "opus", "fable", "mythos")

# The kinds of provider that serve a family of names themselves, the most fitting first, by the beginning of the name.
FAMILIES = {
    "claude": ("anthropic", "claude_cli"),
    "gpt": ("openai", "codex"),
    "o1": ("openai",),
    "o3": ("openai",),
    "o4": ("openai",),
}
# Names of models that their vendor no longer has, and those that stand for them now.
SUCCESSORS = PRESETS["claude-classes"]

# What people write where a client demands a name and they mind none.
PLACEHOLDERS = frozenset({"any", "auto", "default", "model", "whatever"})

_MAX_DEPTH = 8
# Names come from clients, so there is no end to them.
MOST_RESOLVED = 4096


class Upstream(msgspec.Struct, frozen=True):
    """One provider and model chosen for a request, with what the route adds; `matched` says what chose it."""

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
        """What the model can take, with the route's own limits. May ask the provider's catalogue the first time."""
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
        """Whether a request is rendered anew even for a client of the upstream's own dialect: where the route sets an
        effort or another count, or a strict chat template wants the conversation in another order."""
        ordered = capabilities.merge_system or capabilities.alternate
        scaled = self.assumed_window is not None and self.usage_scale != 1
        return ordered or self.reasoning_effort is not None or scaled

    @property
    def usage_scale(self) -> float:
        """What reported tokens are multiplied by, for clients that take the window to be another than it is."""
        if self.assumed_window is None or (window := self.capabilities.context_window) is None:
            return 1.0
        return self.assumed_window / window


class _Led(NamedTuple):
    """Where a name leads, and the rule that says so. `known`: something knows the name, not only the default."""

    upstreams: list[Upstream]
    matched: str
    known: bool = True


class _Resolved(NamedTuple):
    upstreams: Sequence[Upstream]
    known: bool
    until: float


class Router:
    """Resolves names by the configured routes and by what the providers list. A change of the configuration makes a new
    one."""

    def __init__(self, models: ModelsSettings, providers: Mapping[str, Provider]) -> None:
        self._models = models
        self._providers = providers
        self._real = [provider for provider in providers.values() if not provider.local]
        self._exact: dict[str, RouteSettings] = {}
        globs: dict[str, RouteSettings] = {}
        for name, route in models.routes.items():
            (globs if _is_glob(name) else self._exact)[name] = route
        # The more of a name a pattern spells out, the earlier it is asked.
        self._globs = sorted(globs.items(), key=lambda item: -_spelled(item[0]))
        self._spellings = {canonical_name(name): name for name in reversed(self._exact)}
        self._presets = _merge_presets(models.presets)
        self._named = self._gather_named()
        self._resolved: dict[tuple[str, str | None], _Resolved] = {}
        self._check()

    def resolve(self, name: str, provider: str | None = None) -> Sequence[Upstream]:
        """The upstreams for a name, first choice first. `provider` is the one that the request's path names; of the
        routes only those that lead to it count then.

        The first time a name is asked for that no route knows, the providers' own lists may be asked. Raises NotFound
        with a hint.
        """
        resolved = self._resolved.get((name, provider))
        if resolved is not None and resolved.until == math.inf:
            return resolved.upstreams
        return self._resolve(name, provider).upstreams

    def settles(self, name: str, provider: str | None) -> bool:
        """Whether what `resolve` has told of a name stays so."""
        resolved = self._resolved.get((name, provider))
        return resolved is not None and resolved.until == math.inf

    def resolve_named(self, name: str) -> Sequence[Upstream]:
        """The upstreams of a name that something knows; none for one that only the default takes. Raises NotFound."""
        resolved = self._resolve(name, None)
        return resolved.upstreams if resolved.known else ()

    def names(self) -> list[str]:
        """The names that the configuration itself offers: exact routes, and the names of presets."""
        presets = (name for name in self._presets if not _is_glob(name))
        return list(dict.fromkeys((*self._exact, *presets)))

    def provider(self, name: str) -> Provider | None:
        return self._providers.get(name)

    def _resolve(self, name: str, provider: str | None) -> _Resolved:
        resolved = self._resolved.get((name, provider))
        if resolved is None or (resolved.until < math.inf and resolved.until < time.monotonic()):
            resolved = self._find(name, provider)
            if len(self._resolved) >= MOST_RESOLVED:
                self._resolved.clear()
            self._resolved[name, provider] = resolved
        return resolved

    def _find(self, name: str, provider: str | None) -> _Resolved:
        plain = plain_name(name)
        led = self._find_mounted(plain, provider) if provider is not None else self._find_free(plain)
        if led is None:
            raise self._refuse(name)
        marked = [msgspec.structs.replace(upstream, matched=led.matched) for upstream in led.upstreams]
        unique = list({upstream.label: upstream for upstream in marked}.values())
        # What a list decided may be decided otherwise by the next one.
        settled = led.known and not led.matched.startswith(("the list", "the names"))
        until = math.inf if settled or provider is not None else time.monotonic() + CATALOGUE_RETRY
        return _Resolved(unique, led.known, until)

    def _find_mounted(self, name: str, provider: str) -> _Led:
        routed = self._lead_configured(name, None, 0)
        own = [upstream for upstream in routed.upstreams if upstream.provider.name == provider] if routed else []
        if routed and own:
            return _Led(own, routed.matched)
        model = name.removeprefix(f"{provider}/")
        return _Led([self._upstream(self._providers[provider], model, None)], "the path")

    def _find_free(self, name: str) -> _Led | None:
        led = self._lead(name, None, 0)
        if led is not None:
            return led
        usual = _is_usual(name)
        if (label := self._named.get(name)) is not None:
            led = self._lead_target(label, None, 0)
            return _Led(led.upstreams, "the names in [models]") if led is not None else None
        if "/" in name and not usual:
            return self._ask_only(name) if self._models.default is None else None
        if self._models.unknown == "refuse" and not usual:
            return None
        if self._models.default is None:
            return self._ask_only(name)
        upstreams = self._default()
        if upstreams and not usual and name not in PLACEHOLDERS:
            log.warning(
                "no route or provider has the model %r: models.default answers as %s",
                name[:LONGEST_NAME],
                upstreams[0].label,
            )
        return _Led(upstreams, "models.default", usual) if upstreams else None

    def _refuse(self, name: str) -> NotFound:
        shown = name[:LONGEST_NAME]
        prefix, slash, _ = shown.partition("/")
        known = ", ".join(self._providers) or "none yet"
        if slash and self._models.default is not None:
            said = f"model {shown!r} was not found: there is no provider {prefix!r}; the providers are {known}"
        elif self._models.unknown == "refuse":
            said = f"model {shown!r} was not found, and models.unknown rejects unknown names; see /v1/models"
        else:
            said = (
                f"model {shown!r} was not found: name it <provider>/<model> with one of the providers {known}, "
                "add a route, or set models.default"
            )
        return NotFound(said, param="model", code="model_not_found")

    def _lead(self, name: str, route: RouteSettings | None, depth: int, *, ask: bool = True) -> _Led | None:
        """Where a name leads by all rules but the default. With `ask` the providers may be asked for their lists."""
        led = self._lead_configured(name, route, depth)
        if led is not None:
            return led
        if ask and self._needs_lists(name):
            fill_catalogues((each for each in self._real if each.lists_decide), only_new=True)
        led = self._lead_listed(name, route)
        if led is not None:
            return led
        vendor, rest = split_vendor(name)
        if vendor is not None:
            led = self._lead_configured(rest, route, depth + 1) or self._lead_listed(rest, route)
            if led is not None:
                return led
        elif "/" in name:
            return None
        family = self._family(rest)
        if family is not None:
            return _Led([self._upstream(family, _spell_for(family, rest), route)], f"the names of {family.kind}")
        canonical = canonical_name(rest)
        variants = ((provider, provider.find_variant(canonical)) for provider in self._real)
        for provider, listed in variants:
            if listed is not None:
                return _Led([self._upstream(provider, provider.spell(listed), route)], f"the list of {provider.name}")
        return None

    def _lead_listed(self, name: str, route: RouteSettings | None) -> _Led | None:
        """Where a name leads that providers list: its vendor's own before the first of the others."""
        listing = [provider for provider in self._real if provider.lists(name)]
        if not listing:
            return None
        family = self._family(name)
        chosen = family if family in listing else listing[0]
        return _Led([self._upstream(chosen, chosen.spell(name), route)], f"the list of {chosen.name}")

    def _lead_configured(self, name: str, route: RouteSettings | None, depth: int) -> _Led | None:
        """Where a name leads by what the configuration says of it: provider, route, tier or preset."""
        if depth > _MAX_DEPTH:
            raise NotFound(
                f"the routes of model {name!r} form a loop: change one of them in [models.routes]",
                param="model",
                code="model_not_found",
            )
        if name in self._exact:
            return self._take_route(name, self._exact[name], depth)
        provider, _, model = name.partition("/")
        if model and provider in self._providers:
            return _Led([self._upstream(self._providers[provider], model, route)], "the name itself")
        pattern = self._find_pattern(name)
        if pattern is not None:
            return self._take_route(pattern, self._models.routes[pattern], depth)
        for alias, matched in ((self._tier(name)), self._preset(name)):
            if alias is None or alias == name:
                continue
            tier, tier_matched = self._tier(alias)
            target = tier if tier is not None and matched.startswith("preset") else alias
            led = self._lead_target(target, route, depth)
            if led is not None:
                return _Led(led.upstreams, f"{matched}, {tier_matched}" if target != alias else matched)
        return None

    def _take_route(self, name: str, route: RouteSettings, depth: int) -> _Led:
        upstreams: list[Upstream] = []
        for target in route.targets:
            led = self._lead_target(target, route, depth)
            upstreams += led.upstreams if led is not None else []
        return _Led(upstreams, f'models.routes."{name}"')

    def _lead_target(self, target: str, route: RouteSettings | None, depth: int) -> _Led | None:
        """Where the target of a setting leads: a provider's model before a route that is called like it."""
        provider, _, model = target.partition("/")
        if model and provider in self._providers:
            return _Led([self._upstream(self._providers[provider], model, route)], "")
        return self._lead(target, route, depth + 1) or self._ask_only(target, route)

    def _gather_named(self) -> dict[str, str]:
        """The models that the settings' targets name, each with the first target that does: what a list that cannot be
        read does not tell."""
        tiers = (getattr(self._models, tier) for tier in ("default", "small", "big", *TIERS[1:]))
        targets = [*tiers, *(target for route in self._models.routes.values() for target in route.targets)]
        split = [(target, *target.partition("/")) for target in targets if target is not None]
        return {model: target for target, name, _, model in reversed(split) if model and name in self._providers}

    def _find_pattern(self, name: str) -> str | None:
        """The route that spells out most of a name, in any of the name's spellings."""
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
        if same is not None and (found is None or len(same) >= _spelled(found)):
            return same
        return found

    def _needs_lists(self, name: str) -> bool:
        """Whether what the providers list may matter: not for a vendor's own name where that vendor is all there is."""
        if name in PLACEHOLDERS:
            return False
        if len(self._real) == 1 and self._family(name) is self._real[0]:
            return _find_successor(name) is not None
        return True

    def _ask_only(self, name: str, route: RouteSettings | None = None) -> _Led | None:
        """The only provider gets what nothing knows: its one model where it has one, else the name as it is."""
        if len(self._real) != 1:
            return None
        (provider,) = self._real
        listed = provider.known_names()
        if len(listed) == 1:
            return _Led([self._upstream(provider, provider.spell(listed[0]), route)], "the only model", False)
        if listed and "/" in name:
            return None
        return _Led([self._upstream(provider, name, route)], "the only provider", False)

    def _default(self) -> list[Upstream]:
        default = self._models.default or ""
        led = self._lead_target(default, None, 0)
        if led is None and "/" not in default and self._providers:
            # A name that only a provider can judge, from DEFAULT_MODEL, say.
            first = next(iter(self._providers.values()))
            return [self._upstream(first, default, None)]
        return led.upstreams if led is not None else []

    def _tier(self, name: str) -> tuple[str | None, str]:
        """Where a Claude name's tier leads, and the setting that says so; None for other names and where no tier is
        configured."""
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
        """The provider of the vendor whose name this is. A server that only speaks the vendor's dialect is not the
        vendor, so there a configured default goes first."""
        _, bare = split_vendor(name)
        kinds = next((kinds for family, kinds in FAMILIES.items() if bare.lower().startswith(family)), ())
        for kind in kinds:
            for provider in self._real:
                if provider.settings.kind == kind and (_is_home(provider) or self._is_default(provider)):
                    return provider
        return None

    def _is_default(self, provider: Provider) -> bool:
        """Whether the user named no other place for what nothing else knows."""
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
        """Every target must lead to a provider that exists. Raises ConfigError with the keys of all that do not."""
        faults: list[ConfigError] = []
        places: dict[str, tuple[str | None, ...]] = {
            f"models.{tier}": (getattr(self._models, tier),) for tier in ("default", "small", "big", *TIERS[1:])
        }
        places |= {f'models.routes."{name}"': route.targets for name, route in self._models.routes.items()}
        known = ", ".join(self._providers)
        for key, targets in places.items():
            for target in targets:
                if target is not None and not self._may_lead(target, key):
                    said = f"{target!r} names neither a route nor one of the providers {known}"
                    faults.append(ConfigError(said, key=key))
        for name, route in self._models.routes.items():
            if not faults and self._is_circle(name, route, 0):
                faults.append(
                    ConfigError(
                        f"the routes of model {name!r} form a loop: change one of them in [models.routes]",
                        key=f'models.routes."{name}"',
                    )
                )
        if faults:
            raise ConfigError.join(faults)

    def _may_lead(self, target: str, key: str) -> bool:
        """Whether a target can lead anywhere, as far as that is known without asking a provider."""
        provider, slash, model = target.partition("/")
        if target in self._exact or (model and provider in self._providers):
            return True
        if any(each.lists(target) for each in self._real):
            return True
        if slash:
            return False
        # One provider takes any name; a vendor's own name is known to it.
        named = self._family(target) is not None or self._find_pattern(target) not in (None, target)
        return len(self._real) == 1 or named or (key == "models.default" and (_is_usual(target) or not self._real))

    def _is_circle(self, name: str, route: RouteSettings, depth: int) -> bool:
        if depth > _MAX_DEPTH:
            return True
        onward = [target for target in route.targets if target in self._exact]
        return any(self._is_circle(target, self._exact[target], depth + 1) for target in onward)


def _is_usual(name: str) -> bool:
    """Whether a name is one of Claude's, which its clients cannot be told to leave."""
    vendor, rest = split_vendor(name)
    lowered = rest.lower()
    if vendor is None and "/" in name:
        return False
    return lowered in TIERS or ("claude" in lowered and any(word in lowered for word in TIERS))


def _is_home(provider: Provider) -> bool:
    """Whether a provider is the vendor of its dialect's names: at the vendor's address, or called like the vendor."""
    settings = provider.settings
    vendors = {"openai": "openai", "anthropic": "anthropic"}
    if settings.kind not in vendors:
        return True
    return provider.is_vendor or provider.name == vendors[settings.kind] or settings.profile == vendors[settings.kind]


def _spell_for(provider: Provider, name: str) -> str:
    """A vendor's own name as the vendor spells it, or the one that stands for it where the vendor no longer has it."""
    if not name.lower().startswith("claude"):
        return name
    spelled = name.replace(".", "-")
    listed = provider.known_names()
    if not listed or provider.lists(spelled):
        return spelled
    variant = provider.find_variant(canonical_name(name))
    if variant is not None:
        return variant
    successor = _find_successor(name)
    if successor is None:
        return spelled
    tier = next((word for word in TIERS if word in successor), "")
    same_tier = sorted(each for each in listed if tier in each)
    return successor if successor in listed or not same_tier else same_tier[-1]


def _find_successor(name: str) -> str | None:
    lowered = name.lower()
    return next((model for old, model in SUCCESSORS.items() if fnmatch.fnmatchcase(lowered, old)), None)


def _may_vary(name: str) -> bool:
    """Whether another spelling of a name may be meant: what stands before a slash must be a vendor."""
    return "/" not in name or split_vendor(name)[0] is not None


def _is_glob(name: str) -> bool:
    return "*" in name or "?" in name


def _spelled(glob: str) -> int:
    """How many characters a pattern spells out."""
    return len(glob) - glob.count("*") - glob.count("?")


def _merge_presets(names: tuple[str, ...]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for name in names:
        if name not in PRESETS:
            raise ConfigError(f"there is no preset {name!r}; known are {', '.join(PRESETS)}", key="models.presets")
        merged.update(PRESETS[name])
    return merged
