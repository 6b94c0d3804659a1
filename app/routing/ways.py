"""Builds router, providers and transport from one configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from app.known_secrets import known_secrets
from app.providers.provider import Provider
from app.providers.quirk_tables import read_user_rows
from app.providers.registry import build_providers
from app.routing.router import Router
from app.settings import Settings, find_secrets
from app.transport import Transport, TransportSettings


class Ways(NamedTuple):
    """All of a configuration that can be wrong in itself: who has built it knows that the gateway can start."""

    transport: Transport
    providers: Mapping[str, Provider]
    router: Router


def build_ways(settings: Settings, environ: Mapping[str, str], home: Path, old: Transport | None = None) -> Ways:
    """The ways of a configuration; the kept connections of an `old` one are taken over where they may be.

    Raises ConfigError with the key of what cannot be built.
    """
    known_secrets.configure(find_secrets(settings))
    wanted = transport_settings(settings)
    transport = old if old is not None and old.settings == wanted else Transport(wanted)
    rows = read_user_rows(settings.server.quirks_file)
    providers = build_providers(settings.providers, environ, home, transport, rows)
    return Ways(transport, providers, Router(settings.models, providers))


def transport_settings(settings: Settings) -> TransportSettings:
    """How the upstreams of a configuration are reached, where a provider says nothing else."""
    server = settings.server
    return TransportSettings(
        proxies=server.proxies or {}, ca_bundle=server.ca_bundle, max_head=settings.limits.head_kb << 10
    )
