"""The router: which upstreams a model's name leads to, in the order in which they are tried."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.losses import LossPolicy
from app.errors import ConfigError, NotFound
from app.providers.provider import Provider
from app.routing.presets import PRESETS
from app.settings import ModelsSettings, RouteSettings

# Claude Code's picker hides names that hold neither word; behind this prefix any name is shown.
CLAUDE_ALIAS = "claude-via/"

# Which tier a Claude name belongs to, by a word in it; every other Claude name is "big".
TIERS = ("haiku", "sonnet", "opus", "fable", "mythos")

# The kind of provider that serves a family of names itself, by the beginning of the name.
FAMILIES = {"claude": ("anthropic", "claude_cli"), "gpt": ("openai", "codex"), "o1": ("openai",), "o3": ("openai",)}

_WINDOW_SUFFIX = re.compile(r"\[[0-9]+[km]\]$")
_MAX_DEPTH = 8
# Names come from clients, so there is no end to them.
MOST_RESOLVED = 4096


class Upstream(msgspec.Struct, frozen=True):
    """One provider and model chosen for a request, with what the route adds."""

    provider: Provider
    model: str
    label: str
    reasoning_effort: str | None = None
    max_output: int | None = None
    policy: LossPolicy = "normal"

    @property
    def capabilities(self) -> Capabilities:
        """What the model can take, with the route's own limit. May ask the provider's catalogue the first time."""
        known = self.provider.capabilities(self.model)
        if self.max_output is None:
            return known
        limit = min(self.max_output, known.max_output or self.max_output)
        return msgspec.structs.replace(known, max_output=limit, default_output=limit)

    @property
    def rewrites(self) -> bool:
        """Whether a request is rendered anew even for a client of the upstream's own dialect: where the route sets an
        effort, or a strict chat template wants the conversation in another order."""
        capabilities = self.capabilities
        return self.reasoning_effort is not None or capabilities.merge_system or capabilities.alternate


class Router:
    """Resolves names by the configured routes. Immutable; a change of the configuration makes a new one."""

    def __init__(self, models: ModelsSettings, providers: Mapping[str, Provider]) -> None:
        self._models = models
        self._providers = providers
        self._exact: dict[str, RouteSettings] = {}
        globs: dict[str, RouteSettings] = {}
        for name, route in models.routes.items():
            (globs if _is_glob(name) else self._exact)[name] = route
        # The more of a name a pattern spells out, the earlier it is asked.
        self._globs = sorted(globs.items(), key=lambda item: item[0].count("*") + item[0].count("?") - len(item[0]))
        self._presets = _merge_presets(models.presets)
        self._resolved: dict[tuple[str, str | None], Sequence[Upstream]] = {}
        self._check()

    def resolve(self, name: str, provider: str | None = None) -> Sequence[Upstream]:
        """The upstreams for a name, first choice first. `provider` is the one that the request's path names; of the
        routes only those that lead to it count then.

        Raises NotFound with a hint.
        """
        found = self._resolved.get((name, provider))
        if found is None:
            found = self._find(name, provider)
            if len(self._resolved) >= MOST_RESOLVED:
                self._resolved.clear()
            self._resolved[name, provider] = found
        return found

    def resolve_named(self, name: str) -> Upstream | None:
        """The upstream of a name that a route, a tier or a preset knows; None for one that only the default takes."""
        return self.resolve(name)[0] if self._is_named(_plain(name)) else None

    def names(self) -> list[str]:
        """The names that the configuration itself offers: exact routes."""
        return list(self._exact)

    def provider(self, name: str) -> Provider | None:
        return self._providers.get(name)

    def _find(self, name: str, provider: str | None) -> Sequence[Upstream]:
        plain = _plain(name)
        if provider is not None:
            routed = self._follow(plain, None, 0) if self._is_named(plain) else []
            own = [upstream for upstream in routed if upstream.provider.name == provider]
            return own or [self._upstream(self._providers[provider], plain.removeprefix(f"{provider}/"), None)]
        found = self._follow(plain, None, 0)
        if not found:
            raise NotFound(
                f"model {name!r} leads nowhere: name it <provider>/<model> with one of the providers "
                f"{', '.join(self._providers)}, add a route, or set models.default",
                param="model",
                code="model_not_found",
            )
        return list({upstream.label: upstream for upstream in found}.values())

    def _is_named(self, name: str) -> bool:
        """Whether a route, a tier or a preset knows the name."""
        lowered = name.lower()
        return bool(
            name in self._exact
            or any(fnmatch.fnmatchcase(name, glob) for glob, _ in self._globs)
            or self._tier(name)
            or lowered in self._presets
            or self._preset_glob(lowered)
        )

    def _follow(self, name: str, route: RouteSettings | None, depth: int) -> list[Upstream]:
        if depth > _MAX_DEPTH:
            raise NotFound(f"the routes of model {name!r} lead in a circle", param="model", code="model_not_found")
        found = self._exact.get(name)
        if found is None:
            provider, _, model = name.partition("/")
            if model and provider in self._providers:
                return [self._upstream(self._providers[provider], model, route)]
            found = next((settings for glob, settings in self._globs if fnmatch.fnmatchcase(name, glob)), None)
        if found is not None:
            upstreams: list[Upstream] = []
            for target in found.targets:
                upstreams += self._target(target, found, depth)
            return upstreams
        alias = self._tier(name) or self._presets.get(name.lower()) or self._preset_glob(name.lower())
        if alias is not None and alias != name:
            return self._follow(self._tier(alias) or alias, route, depth + 1)
        own = self._family(name)
        if own is not None:
            return [self._upstream(own, name, route)]
        if self._models.default is not None:
            return self._default(route)
        only = [provider for provider in self._providers.values() if not provider.local]
        if len(only) == 1:
            return [self._upstream(only[0], name, route)]
        return []

    def _target(self, target: str, route: RouteSettings, depth: int) -> list[Upstream]:
        provider, _, model = target.partition("/")
        if model and provider in self._providers:
            return [self._upstream(self._providers[provider], model, route)]
        return self._follow(target, route, depth + 1)

    def _default(self, route: RouteSettings | None) -> list[Upstream]:
        default = self._models.default or ""
        provider, _, model = default.partition("/")
        if model and provider in self._providers:
            return [self._upstream(self._providers[provider], model, route)]
        found = self._exact.get(default)
        return [up for target in found.targets for up in self._target(target, found, 1)] if found else []

    def _tier(self, name: str) -> str | None:
        """Where a Claude name's tier leads; None for other names and where no tier is configured."""
        lowered = name.lower().removeprefix("anthropic/")
        if "claude" not in lowered and lowered not in TIERS:
            return None
        models = self._models
        if "haiku" in lowered:
            return models.small
        tier = next((word for word in TIERS if word in lowered), None)
        return (getattr(models, tier) if tier else None) or models.big

    def _preset_glob(self, name: str) -> str | None:
        return next(
            (t for glob, t in self._presets.items() if _is_glob(glob) and fnmatch.fnmatchcase(name, glob)), None
        )

    def _family(self, name: str) -> Provider | None:
        """The provider that knows a name by itself: one that lists it, or the vendor whose family it is. A server that
        only speaks a vendor's dialect is no vendor, so there the configured default goes first."""
        bare = name.lower()
        for provider in self._providers.values():
            if name in provider.settings.models or name == provider.settings.default_model:
                return provider
        kinds = next((kinds for family, kinds in FAMILIES.items() if bare.startswith(family)), ())
        own = (provider for provider in self._providers.values() if provider.settings.kind in kinds)
        return next((p for p in own if p.is_vendor or self._models.default is None), None)

    def _upstream(self, provider: Provider, model: str, route: RouteSettings | None) -> Upstream:
        label = f"{provider.name}/{model}"
        own = provider.settings.reasoning_effort
        if route is None:
            return Upstream(provider, model, label, own)
        policy: LossPolicy = "strict" if route.strict else "lenient" if route.lenient else "normal"
        return Upstream(provider, model, label, route.reasoning_effort or own, route.max_output, policy)

    def _check(self) -> None:
        """Every target must name a provider that exists, or another route, and lead to a provider in the end. Raises
        ConfigError with the key."""
        places = {f'models.routes."{name}"': route.targets for name, route in self._models.routes.items()}
        for tier in ("default", "small", "big", *TIERS[1:]):
            value = getattr(self._models, tier)
            places[f"models.{tier}"] = (value,) if value else ()
        for key, targets in places.items():
            for target in targets:
                provider, _, model = target.partition("/")
                if target not in self._exact and (not model or provider not in self._providers):
                    known = ", ".join(self._providers)
                    raise ConfigError(f"{target!r} names neither a route nor one of the providers {known}", key=key)
        for name in self._exact:
            try:
                self._follow(name, None, 0)
            except NotFound as error:
                raise ConfigError(str(error), key=f'models.routes."{name}"') from error


def _plain(name: str) -> str:
    """A model's name without what only Claude Code means by it."""
    return _WINDOW_SUFFIX.sub("", name).removeprefix(CLAUDE_ALIAS)


def _is_glob(name: str) -> bool:
    return "*" in name or "?" in name


def _merge_presets(names: tuple[str, ...]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for name in names:
        if name not in PRESETS:
            raise ConfigError(f"there is no preset {name!r}; known are {', '.join(PRESETS)}", key="models.presets")
        merged.update(PRESETS[name])
    return merged
