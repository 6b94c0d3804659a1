"""Lists the models that clients may name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from app.errors import Forbidden, NotFound
from app.gateway.client_access.client_keys import ANYBODY, ClientKey
from app.providers.catalogues import fill_catalogues
from app.providers.names import CLAUDE_ALIAS
from app.providers.provider import Model, Provider
from app.routing.router import Router, Upstream

# What a model without a known date gets: the day the gateway's first list was made.
EPOCH = 1_735_689_600


class Listed(msgspec.Struct, frozen=True):
    """One entry of the list; `id` is the name that a client sends, `target` the `provider/model` that it leads to where
    that is another name."""

    id: str
    display_name: str
    owned_by: str
    created: int
    context_window: int | None = None
    max_output: int | None = None
    target: str | None = None


class Listing:
    """Routes and the names of presets first, then what each provider offers as `provider/model`."""

    def __init__(self, router: Router, providers: Mapping[str, Provider]) -> None:
        self._router = router
        self._providers = providers

    def models(
        self, provider: str | None = None, *, key: ClientKey = ANYBODY, with_aliases: bool = False
    ) -> list[Listed]:
        """The models that a client with that key may name; `provider` is the one that the path names. `with_aliases`
        adds the names that Claude Code's picker shows, which hides any that hold neither of two words."""
        found: dict[str, Listed] = {}
        for listed in self._find(provider, key):
            found.setdefault(listed.id, listed)
        if with_aliases and provider is None:
            for listed in list(found.values()):
                if "claude" not in listed.id and "anthropic" not in listed.id:
                    name = CLAUDE_ALIAS + listed.id
                    target = listed.target or listed.id
                    if key.may_name(name, target):
                        found[name] = Listed(
                            name, listed.id, "dragoman", EPOCH, listed.context_window, listed.max_output, target
                        )
        return list(found.values())

    def problems(self, key: ClientKey = ANYBODY) -> dict[str, str]:
        """Why the lists of some of the key's providers could not be had, by provider."""
        problems: dict[str, str] = {}
        for name, provider in self._providers.items():
            if not key.may_use(name):
                continue
            if provider.health.listing is not None:
                problems[name] = provider.health.listing.message
            elif provider.asking is not None and provider.asking.is_alive():
                problems[name] = "its list has not come yet"
        return problems

    def find(self, name: str, key: ClientKey = ANYBODY) -> Listed | None:
        """A listed model, or what another name that a request may use leads to; None for one that nothing knows, or
        that the key may not use."""
        listed = next((model for model in self.models(key=key, with_aliases=True) if model.id == name), None)
        if listed is not None:
            return listed
        try:
            upstream = key.choose(name, self._router.resolve_named(name))[0]
        except (NotFound, Forbidden):
            return None
        # A preset's name is another word for a model; a route's is a model of its own.
        shown = upstream.model if upstream.matched.startswith("preset") else name
        return _resolve(shown, upstream)

    def _find(self, only: str | None, key: ClientKey) -> Iterator[Listed]:
        if only is not None:
            fill_catalogues([self._providers[only]])
            yield from _offered(self._providers[only], key, "")
            return
        # The demo stands in for a real provider, and steps back when there is one.
        providers = [p for p in self._providers.values() if not p.local] or list(self._providers.values())
        fill_catalogues(providers)
        for name in self._router.names():
            try:
                yield _resolve(name, key.choose(name, self._router.resolve(name))[0])
            except (NotFound, Forbidden):
                continue  # a preset's name without a provider that has its model, or not one for this key
        for provider in providers:
            if provider.has_catalogue:
                yield from _offered(provider, key, f"{provider.name}/")


def _resolve(name: str, upstream: Upstream) -> Listed:
    """What a name leads to, under that name."""
    provider, model = upstream.provider, upstream.model
    known = next((each for each in provider.models() if model in (each.id, provider.spell(each.id))), None)
    window, limit = (known.context_window, known.max_output) if known is not None else (None, None)
    if provider.has_catalogue:
        window, limit = upstream.capabilities.context_window or window, upstream.capabilities.max_output or limit
    created = known.created if known is not None and known.created else EPOCH
    owner = provider.name if known is None else known.owned_by or provider.name
    return Listed(name, name, owner, created, window, limit, upstream.label)


def _offered(provider: Provider, key: ClientKey, before: str) -> Iterator[Listed]:
    """What a provider offers to a key, each name with what stands before it."""
    if not key.may_use(provider.name):
        return
    for model in provider.models():
        spelled = provider.spell(model.id)
        name = before + (spelled if before else model.id)
        if key.may_name(name, f"{provider.name}/{spelled}"):
            yield _list(provider, model, name)


def _list(provider: Provider, model: Model, name: str) -> Listed:
    return Listed(
        name,
        model.display_name or model.id,
        model.owned_by or "dragoman",
        model.created or EPOCH,
        provider.settings.window_of(model.id) or model.context_window,
        model.max_output,
    )
