"""Builds router, providers and transport from one configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from app.errors import ConfigError
from app.known_secrets import known_secrets
from app.providers.provider import Provider
from app.providers.quirk_tables import read_user_rows
from app.providers.registry import build_providers
from app.routing.router import Router
from app.settings import Settings, find_secrets, locate
from app.transport import Transport, TransportSettings


class Routing(NamedTuple):
    """Everything in a configuration that can fail to build. Once it is built, the gateway can start."""

    transport: Transport
    providers: Mapping[str, Provider]
    router: Router


def build_routing(settings: Settings, environ: Mapping[str, str], home: Path, old: Transport | None = None) -> Routing:
    """Builds router, providers and transport. Keeps the `old` transport with its open connections if its settings are
    unchanged.

    Raises ConfigError with the keys of whatever cannot be built, and their lines in the file.
    """
    known_secrets.configure(find_secrets(settings))
    wanted = transport_settings(settings)
    try:
        transport = old if old is not None and old.settings == wanted else Transport(wanted)
        rows = read_user_rows(settings.server.quirks_file)
        providers = build_providers(settings.providers, environ, home, transport, rows)
        return Routing(transport, providers, Router(settings.models, providers))
    except ConfigError as error:
        raise locate(error, settings.source) from error


def transport_settings(settings: Settings) -> TransportSettings:
    """The transport settings of a configuration, which a provider may override."""
    server = settings.server
    return TransportSettings(
        proxies=server.proxies or {}, ca_bundle=server.ca_bundle, max_head=settings.limits.head_kb << 10
    )
