"""Lists the models that clients may name."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping

import msgspec

from app.errors import NotFound
from app.providers.provider import Model, Provider
from app.routing.router import CLAUDE_ALIAS, Router

# What a model without a known date gets: the day the gateway's first list was made.
EPOCH = 1_735_689_600
# Claude Code waits three seconds for a list of models.
LISTING_TIMEOUT = 1.5


class Listed(msgspec.Struct, frozen=True):
    """One entry of the list; `id` is the name that a client sends."""

    id: str
    display_name: str
    owned_by: str
    created: int
    context_window: int | None = None
    max_output: int | None = None


class Listing:
    """Routes first, then what each provider offers as `provider/model`, then names that Claude Code's picker shows."""

    def __init__(self, router: Router, providers: Mapping[str, Provider]) -> None:
        self._router = router
        self._providers = providers

    def models(self, provider: str | None = None) -> list[Listed]:
        found: dict[str, Listed] = {}
        for listed in self._find(provider):
            found.setdefault(listed.id, listed)
        return list(found.values())

    def find(self, name: str) -> Listed | None:
        """A listed model, or one that a route or default leads to under another name."""
        listed = next((model for model in self.models() if model.id == name), None)
        if listed is not None:
            return listed
        try:
            upstream = self._router.resolve_named(name)
        except NotFound:
            return None
        return Listed(name, name, upstream.provider.name, EPOCH) if upstream is not None else None

    def _find(self, only: str | None) -> Iterator[Listed]:
        if only is not None:
            yield from (_list(model, model.id) for model in self._providers[only].models())
            return
        names = self._router.names()
        # The demo stands in for a real provider, and steps back when there is one.
        providers = [p for p in self._providers.values() if not p.local] or list(self._providers.values())
        _fill_catalogues(providers)
        offered = [(p.name, model) for p in providers if p.has_catalogue for model in p.models()]
        for name in names:
            yield Listed(name, name, "dragoman", EPOCH)
        for provider_name, model in offered:
            yield _list(model, f"{provider_name}/{model.id}")
        for name in (*names, *(f"{provider_name}/{model.id}" for provider_name, model in offered)):
            if "claude" not in name and "anthropic" not in name:
                yield Listed(CLAUDE_ALIAS + name, name, "dragoman", EPOCH)


def _fill_catalogues(providers: list[Provider]) -> None:
    """Asks all upstreams that were not asked lately at once; one that is slow is left out of this list."""
    asking = [
        threading.Thread(target=provider.catalogue, daemon=True) for provider in providers if not provider.has_catalogue
    ]
    for thread in asking:
        thread.start()
    end = time.monotonic() + LISTING_TIMEOUT
    for thread in asking:
        thread.join(max(0.0, end - time.monotonic()))


def _list(model: Model, name: str) -> Listed:
    return Listed(
        name,
        model.display_name or model.id,
        model.owned_by or "dragoman",
        model.created or EPOCH,
        model.context_window,
        model.max_output,
    )
