"""Writes the start screen: what was found, where models are routed, what to type next."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path

import click

from app.cli.logins.credential_words import WITHOUT_CREDENTIAL, show_place, summarize_source
from app.credentials.credential import SourceStatus
from app.settings import ProviderSettings, ServerSettings, Settings

# Any text works as a key while the gateway requires none, but clients refuse to start without one.
ANY_KEY = "any-text"
# The variable with the client key of commands, such as one that `dragoman keys` made.
KEY_VARIABLE = "DRAGOMAN_API_KEY"

# Addresses that mean "every address of this machine", and the one that a local client can use.
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}

# The rows of the models table: setting, and the names that follow it.
TIERS = {
    "small": "names with haiku",
    "big": "other Claude names",
    "sonnet": "names with sonnet",
    "opus": "names with opus",
    "fable": "names with fable",
    "mythos": "names with mythos",
    "default": "all other names",
}


def describe_start(
    settings: Settings,
    token: Path | None = None,
    missing: Collection[str] = (),
    known: Mapping[str, SourceStatus] | None = None,
    *,
    key: str = ANY_KEY,
) -> str:
    """The start screen. It shows no secret: credentials are named by their source.

    `missing` are the providers that still need a login, `known` the states of providers' credentials.
    `key` is what a client sends.
    """
    known = known or {}
    now = time.time()
    url = base_url(settings.server)
    lines = [f"Dragoman {metadata.version('dragoman')}", ""]
    if token and all(state.problem is None for name, state in known.items() if settings.providers[name].kind == "oca"):
        lines += [f"Successfully loaded new access token from {token}", ""]
    lines += _section(
        "settings", [str(settings.source or "no configuration file; using what was found on this machine")]
    )
    lines += _section("providers", _describe_providers(settings, missing, known, now))
    lines += _section("models", _describe_models(settings))
    lines += _section("network", _describe_network(settings.server))
    lines += _section("open at", [url])
    lines += _section("agents", ["dragoman run claude  (codex, opencode, cline, aider, qwen, goose)"])
    # On separate lines, because a terminal of 80 columns would break them where they are copied.
    lines += ["Claude Code", f"ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN={key} claude"]
    lines += ["OpenAI clients", f"OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={key}"]
    lines += ["", f"Starting server on :{settings.server.port}"]
    return "\n".join(lines)


def base_url(server: ServerSettings) -> str:
    """The URL for a client on this machine."""
    host = WILDCARDS.get(server.host, server.host)
    return f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"


def _section(title: str, rows: list[str]) -> list[str]:
    return [f"{title if index == 0 else '':<16}{row}" for index, row in enumerate(rows)]


def _describe_providers(
    settings: Settings, missing: Collection[str], known: Mapping[str, SourceStatus], now: float
) -> list[str]:
    lines = {
        name: _describe_credential(provider, known.get(name), now) for name, provider in settings.providers.items()
    }
    lines |= {name: f"no usable login; run: dragoman login {name}" for name in missing}
    rows = [*lines.items()]
    rows += [(found.provider, f"found in {found.where}, not used") for found in settings.found if not found.used]
    return _align(rows, 12)


def _describe_credential(provider: ProviderSettings, known: SourceStatus | None, now: float) -> str:
    if provider.kind in WITHOUT_CREDENTIAL and not (provider.api_key or provider.access_token):
        return WITHOUT_CREDENTIAL[provider.kind]
    if known is None:
        return provider.base_url or "no credential of its own"
    if known.problem is None:
        return f"credential from {show_place(known.source)}"
    return click.style(f"{summarize_source(known, now)}: {known.problem}", fg="red")


def _describe_models(settings: Settings) -> list[str]:
    models = settings.models

    def show(target: str) -> str:
        provider, _, model = target.partition("/")
        table = settings.providers.get(provider)
        window = table.window_of(model) if table is not None else None
        return f"{target} ({window} tokens)" if window else target

    rows = [(names, f"-> {show(target)}") for tier, names in TIERS.items() if (target := getattr(models, tier))]
    if [names for names, _ in rows] == [TIERS["default"]] and not models.routes:
        rows = [("all names", rows[0][1])]
    rows += [(name, f"-> {', '.join(map(show, route.targets))}") for name, route in models.routes.items()]
    return _align(rows, 20) or ["name a model as PROVIDER/MODEL"]


def _describe_network(server: ServerSettings) -> list[str]:
    """The special network settings: proxies, without their passwords, and certificates."""
    proxies = dict(server.proxies or {})
    exempt = proxies.pop("no_proxy", "")
    rows = [f"{scheme} through {_without_login(url)}" for scheme, url in proxies.items()]
    if proxies and exempt:
        rows.append(f"but not to {exempt}")
    if server.ca_bundle:
        rows.append(f"certificates from {server.ca_bundle} are trusted too")
    return rows


def _without_login(url: str) -> str:
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _align(rows: list[tuple[str, str]], width: int) -> list[str]:
    """Two columns; the first is at least `width` characters wide."""
    width = max([width, *(len(name) + 1 for name, _ in rows)])
    return [f"{name:<{width}}{text}" for name, text in rows]
