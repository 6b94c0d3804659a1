"""This file builds the parts that answer requests, once for each configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from app.gateway.access import Access
from app.gateway.archive import Archive
from app.gateway.background import Background
from app.gateway.conversations import Conversations
from app.gateway.fetching import Fetcher
from app.gateway.gateway import Gateway
from app.gateway.learned_facts import LearnedFacts
from app.gateway.listing import Listing
from app.gateway.recollection import Recollection
from app.gateway.state import Memory
from app.ledger import Ledger
from app.providers.provider import Provider
from app.providers.registry import build_providers
from app.routing.router import Router
from app.settings import ServerSettings, Settings
from app.transport import Transport, TransportSettings


class House(msgspec.Struct, frozen=True):
    """Everything that one configuration makes. A new configuration makes a new house; requests finish in theirs."""

    settings: Settings
    providers: Mapping[str, Provider]
    router: Router
    gateway: Gateway
    background: Background
    archive: Archive
    conversations: Conversations
    listing: Listing
    access: Access
    transport: Transport


def build_house(settings: Settings, environ: Mapping[str, str], home: Path, old: House | None = None) -> House:
    """The house of a configuration; the kept connections of an `old` one are taken over where they may be.

    Raises ConfigError with the key of what cannot be built.
    """
    server = settings.server
    transport = _take_over(old, settings) or Transport(
        TransportSettings(proxies=server.proxies, ca_bundle=server.ca_bundle)
    )
    providers = build_providers(settings.providers, environ, home, transport)
    router = Router(settings.models, providers)
    ledger = Ledger(settings.ledger)
    memory = Memory(ledger)
    recollection = Recollection(ledger.reasoning if settings.ledger.reasoning_mb else None)
    facts = _keep_facts(old, settings)
    gateway = Gateway(router, server, memory, _open_fetcher(server), recollection, facts=facts)
    background = Background(gateway, memory, ledger.events, server.ping_interval)
    return House(
        settings=settings,
        providers=providers,
        router=router,
        gateway=gateway,
        background=background,
        archive=Archive(memory, background, providers),
        conversations=memory.conversations,
        listing=Listing(router, providers),
        access=Access(server),
        transport=transport,
    )


def _open_fetcher(server: ServerSettings) -> Fetcher | None:
    if not server.fetch_urls:
        return None
    return Fetcher(Transport(TransportSettings(proxies=server.proxies, ca_bundle=server.ca_bundle, public_only=True)))


def _keep_facts(old: House | None, settings: Settings) -> LearnedFacts:
    """What was learned of upstreams that are still the same."""
    if old is None:
        return LearnedFacts()
    for name, provider in old.settings.providers.items():
        if settings.providers.get(name) != provider:
            old.gateway.facts.forget_provider(name)
    return old.gateway.facts


def _take_over(old: House | None, settings: Settings) -> Transport | None:
    if old is None:
        return None
    before, now = old.settings.server, settings.server
    same = (before.proxies, before.ca_bundle) == (now.proxies, now.ca_bundle)
    return old.transport if same else None
