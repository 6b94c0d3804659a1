"""This file builds the parts that answer requests, once for each configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from app.gateway.access import Access
from app.gateway.gateway import Gateway
from app.gateway.listing import Listing
from app.providers.provider import Provider
from app.providers.registry import build_providers
from app.routing.router import Router
from app.settings import Settings
from app.transport import Transport, TransportSettings


class House(msgspec.Struct, frozen=True):
    """Everything that one configuration makes. A new configuration makes a new house; requests finish in theirs."""

    settings: Settings
    providers: Mapping[str, Provider]
    router: Router
    gateway: Gateway
    listing: Listing
    access: Access
    transport: Transport


def build_house(settings: Settings, environ: Mapping[str, str], home: Path) -> House:
    """Raises ConfigError with the key of what cannot be built."""
    server = settings.server
    transport = Transport(TransportSettings(proxies=server.proxies, ca_bundle=server.ca_bundle))
    providers = build_providers(settings.providers, environ, home, transport)
    router = Router(settings.models, providers)
    return House(
        settings, providers, router, Gateway(router, server), Listing(router, providers), Access(server), transport
    )
