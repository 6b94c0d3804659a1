"""Builds the configured providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from pkgutil import resolve_name

from app.credentials.sources import open_source
from app.errors import ConfigError
from app.providers.provider import Provider
from app.providers.quirk_tables import Row, read_fields
from app.settings import ProviderSettings
from app.transport import Transport

ENTRY_POINTS = "dragoman.providers"

# The class of each kind. Only configured kinds are imported.
KINDS = {
    "oca": "app.providers.kinds.oca.OCAProvider",
    "anthropic": "app.providers.kinds.anthropic.AnthropicProvider",
    "openai": "app.providers.kinds.openai.OpenAIProvider",
    "codex": "app.providers.kinds.codex.CodexProvider",
    "claude_cli": "app.providers.kinds.claude_cli.provider.ClaudeCliProvider",
    "demo": "app.providers.kinds.demo.DemoProvider",
}


def build_providers(
    settings: Mapping[str, ProviderSettings],
    environ: Mapping[str, str],
    home: Path,
    transport: Transport,
    rows: tuple[Row, ...] = (),
) -> dict[str, Provider]:
    """One provider per table of the configuration; `rows` are the user's own model rows. Raises ConfigError with the
    keys of all that cannot be built."""
    providers: dict[str, Provider] = {}
    faults: list[ConfigError] = []
    for name, table in settings.items():
        try:
            providers[name] = _build_provider(name, table, environ, home, transport)
            providers[name].rows = rows
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError.join(faults)
    return providers


def _build_provider(
    name: str, settings: ProviderSettings, environ: Mapping[str, str], home: Path, transport: Transport
) -> Provider:
    make: Callable[..., Provider]
    if settings.kind in KINDS:
        make = resolve_name(KINDS[settings.kind])
    else:
        found = metadata.entry_points(group=ENTRY_POINTS, name=settings.kind)
        if not found:
            known = ", ".join(sorted(KINDS))
            raise ConfigError(f"kind {settings.kind!r} is not one of {known}", key=f"providers.{name}.kind")
        entry = next(iter(found))
        try:
            make = entry.load()
        except Exception as fault:
            package = entry.dist.name if entry.dist is not None else entry.value
            message = f"the kind {settings.kind!r} of the package {package} cannot be imported: {fault}"
            raise ConfigError(message, key=f"providers.{name}.kind") from fault
    read_fields(settings.quirks, f"providers.{name}.quirks")
    way = find_transport(name, settings, transport)
    source = open_source(settings, environ, home, lambda: way.session, name=name)
    if settings.kind == "openai" and name != "openai" and not settings.base_url and source is None:
        raise ConfigError(
            f"this provider has no address: a server called {name!r} needs a base_url, OpenAI's own service an api_key",
            key=f"providers.{name}.base_url",
        )
    return make(name, settings, source, way)


def find_transport(name: str, settings: ProviderSettings, usual: Transport) -> Transport:
    """The transport to a provider, which may have its own proxy or certificates."""
    keys = ("proxies", "ca_bundle", "client_cert", "client_key")
    own = {key: value for key in keys if (value := getattr(settings, key)) is not None}
    try:
        return usual.variant(**own)
    except ConfigError as error:
        raise ConfigError(error.reason, key=f"providers.{name}.{error.key.rpartition('.')[2]}") from error
