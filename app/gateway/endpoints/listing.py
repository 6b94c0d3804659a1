"""Lists the models that clients may name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from app.errors import Forbidden, NotFound
from app.gateway.client_access.client_keys import ANYBODY, ClientKey
from app.providers.catalogue import Model
from app.providers.names import CLAUDE_ALIAS
from app.providers.provider import Provider, fill_catalogues
from app.routing.router import Router
from app.routing.upstream import Upstream

# The creation date of models without a known one: the day of the gateway's first list.
EPOCH = 1_735_689_600


class Listed(msgspec.Struct, frozen=True):
    """One entry of the list. `id` is the name that a client sends; `target` is the `provider/model` it is routed to, if
    that is a different name."""

    id: str
    display_name: str
    owned_by: str
    created: int
    context_window: int | None = None
    max_output: int | None = None
    target: str | None = None


class Listing:
    """Lists routes and presets' names first, then each provider's models as `provider/model`."""

    def __init__(self, router: Router, providers: Mapping[str, Provider]) -> None:
        self._router = router
        self._providers = providers

    def models(
        self, provider: str | None = None, *, key: ClientKey = ANYBODY, with_aliases: bool = False
    ) -> list[Listed]:
        """The models that a client with that key may name; `provider` is the one named in the path. `with_aliases` adds
        names for Claude Code's picker, which hides names without "claude" or "anthropic"."""
        found: dict[str, Listed] = {}
        for listed in self._find(provider, key):
            found.setdefault(listed.id, listed)
        if with_aliases and provider is None:
            hidden = [each for each in found.values() if "claude" not in each.id and "anthropic" not in each.id]
            found |= {each.id: each for each in map(_alias_of, hidden) if key.may_name(each.id, each.target or "")}
        return list(found.values())

    def problems(self, key: ClientKey = ANYBODY) -> dict[str, str]:
        """Why the model lists of some of the key's providers are not available, by provider."""
        problems: dict[str, str] = {}
        for name, provider in self._providers.items():
            if not key.may_use(name):
                continue
            if provider.health.listing is not None:
                problems[name] = provider.health.listing.message
            elif provider.catalogue.is_being_read:
                problems[name] = "its model list is still loading"
        return problems

    def find(self, name: str, key: ClientKey = ANYBODY) -> Listed | None:
        """A listed model, or the model that any other valid name is routed to; None if the name is unknown or the key
        may not use it. A preset's name is an alias, so its model is shown; a route is shown as a model of its own."""
        listed = next((model for model in self.models(key=key, with_aliases=True) if model.id == name), None)
        try:
            upstream = key.choose(name, self._router.resolve_named(name))[0]
        except (NotFound, Forbidden):
            return listed
        if upstream.matched.startswith("preset"):
            return _resolve(upstream.model, upstream)
        return listed or _resolve(name, upstream)

    def _find(self, only: str | None, key: ClientKey) -> Iterator[Listed]:
        if only is not None:
            fill_catalogues([self._providers[only]])
            yield from _offered(self._providers[only], key, "")
            return
        # The demo provider is listed only if there is no real one.
        providers = [p for p in self._providers.values() if not p.local] or list(self._providers.values())
        fill_catalogues(providers)
        for name in self._router.names():
            try:
                yield _resolve(name, key.choose(name, self._router.resolve(name))[0])
            except (NotFound, Forbidden):
                continue  # no provider has the preset's model, or none that this key may use
        for provider in providers:
            if provider.has_catalogue:
                yield from _offered(provider, key, f"{provider.name}/")


def _alias_of(listed: Listed) -> Listed:
    return msgspec.structs.replace(
        listed, id=CLAUDE_ALIAS + listed.id, display_name=listed.id, owned_by="dragoman", created=EPOCH,
        target=listed.target or listed.id,
    )  # fmt: skip


def _resolve(name: str, upstream: Upstream) -> Listed:
    """The entry of the model that a name is routed to, under that name."""
    provider, model = upstream.provider, upstream.model
    known = next((each for each in provider.models() if model in (each.id, provider.public_name(each.id))), None)
    window, limit = (known.context_window, known.max_output) if known is not None else (None, None)
    if provider.has_catalogue:
        window, limit = upstream.capabilities.context_window or window, upstream.capabilities.max_output or limit
    created = known.created if known is not None and known.created else EPOCH
    owner = provider.name if known is None else known.owned_by or provider.name
    return Listed(name, name, owner, created, window, limit, upstream.label)


def _offered(provider: Provider, key: ClientKey, before: str) -> Iterator[Listed]:
    """The provider's models that a key may name, each prefixed with `before`."""
    if not key.may_use(provider.name):
        return
    for model in provider.models():
        spelled = provider.public_name(model.id)
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
