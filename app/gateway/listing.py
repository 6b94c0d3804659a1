"""This file lists the models that clients may name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from app.errors import NotFound
from app.providers.provider import Model, Provider
from app.routing.router import CLAUDE_ALIAS, Router

# What a model without a known date gets: the day the gateway's first list was made.
EPOCH = 1_735_689_600


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
        offered = [(provider.name, model) for provider in self._providers.values() for model in provider.models()]
        for name in names:
            yield Listed(name, name, "dragoman", EPOCH)
        for provider_name, model in offered:
            yield _list(model, f"{provider_name}/{model.id}")
        for name in (*names, *(f"{provider_name}/{model.id}" for provider_name, model in offered)):
            if "claude" not in name and "anthropic" not in name:
                yield Listed(CLAUDE_ALIAS + name, name, "dragoman", EPOCH)


def _list(model: Model, name: str) -> Listed:
    return Listed(
        name,
        model.display_name or model.id,
        model.owned_by or "dragoman",
        model.created or EPOCH,
        model.context_window,
        model.max_output,
    )
