"""Validates merged tables and converts them to `Settings`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from app.errors import ConfigError
from app.settings.checks.converting import Faults, as_table, convert, refuse_unknown
from app.settings.checks.keys import (
    check_key,
    check_keys_differ,
    check_ledger_url,
    check_redis_url,
    parse_expiry,
)
from app.settings.checks.providers import KINDS, build_provider
from app.settings.defaults import TIER_KEYS, fill_models
from app.settings.known_servers import KNOWN_SERVERS
from app.settings.network import check_proxies, check_url, is_loopback
from app.settings.tables import (
    AlertsSettings,
    Finding,
    KeySettings,
    LedgerSettings,
    ModelsSettings,
    PriceSettings,
    ProviderSettings,
    PushSettings,
    RouteOptions,
    RouteSettings,
    ServerSettings,
    Settings,
    SharedSettings,
    Table,
)

T = TypeVar("T", bound=Struct)

_ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)+")
_WEBHOOK = re.compile(r"https?://[^/?#\s]+(?:[/?#]\S*)?")

# The tables of the file whose keys are fixed: users choose no names in them.
PLAIN_SECTIONS: dict[str, type[Struct]] = {
    field.name: field.type
    for field in msgspec.structs.fields(Settings)
    if field.name not in ("server", "models") and isinstance(field.type, type) and issubclass(field.type, Table)
}
SECTIONS = ("server", "providers", "models", *PLAIN_SECTIONS, "prices", "keys")
SETTINGS_OF_SECTIONS = {
    "server": ServerSettings.__struct_fields__,
    "models": ModelsSettings.__struct_fields__,
    "ledger": LedgerSettings.__struct_fields__,
}
# The largest valid time, size or count.
LARGEST = 2**53
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class _RouteTable(RouteOptions, frozen=True, kw_only=True):
    """A route written as a table."""

    target: str | tuple[str, ...]
    fallback: str | tuple[str, ...] = ()


def build_settings(
    tables: dict[str, Any],
    *,
    client_key: str | None,
    source: Path | None,
    found: tuple[Finding, ...],
    key_variable: str | None = None,
) -> Settings:
    """Builds the settings from tables in the file's shape. `client_key` is one more key that clients may present.

    Raises ConfigError, which names each fault by its dotted key.
    """
    faults = Faults()
    with faults.collect():
        _check_values(tables, "")
    faults.tell()
    for name in tables:
        with faults.collect():
            refuse_unknown(name, SECTIONS, "", SETTINGS_OF_SECTIONS)
    server = _build_server(tables.get("server", {}), client_key, faults)
    providers = _build_each(tables, "providers", build_provider, faults)
    models = ModelsSettings()
    with faults.collect():
        models = _build_models(as_table(tables.get("models", {}), "models"), faults)
    plain = _build_plain(tables, faults)
    prices = _build_each(tables, "prices", _build_price, faults)
    keys = _build_each(tables, "keys", _build_key, faults)
    with faults.collect():
        check_keys_differ(keys, server.api_keys)
    with faults.collect():
        _check_exposure(server, keys)
    with faults.collect():
        _check_proxies(server)
        _check_root_path(server)
    if faults.found:
        _check_targets(models, tables.get("providers"), faults)
    else:
        with faults.collect():
            providers = _offer_demo(providers, server, models, has_keys=bool(server.api_keys or keys))
    faults.tell()
    return Settings(
        server=server,
        providers=providers,
        models=fill_models(models, providers),
        prices=prices,
        keys=keys,
        **plain,
        source=source,
        found=found,
        key_variable=key_variable,
    )


def _build_plain(tables: dict[str, Any], faults: Faults) -> dict[str, Any]:
    """The sections that are one table each. Collects faults."""
    built: dict[str, Any] = {}
    for name, kind in PLAIN_SECTIONS.items():
        with faults.collect():
            built[name] = convert(tables.get(name, {}), kind, name)
            _check_addresses(built[name])
    return built


def _check_targets(models: ModelsSettings, providers: Any, faults: Faults) -> None:
    """Reports targets at providers that nobody can mean, so that a file with other faults tells these too. The router
    checks all targets once the file has no other fault."""
    known = {*(providers if isinstance(providers, dict) else ()), *KINDS, *KNOWN_SERVERS, *models.routes}
    tiers = {name: getattr(models, name) for name in ModelsSettings.__struct_fields__ if name != "unknown"}
    places: dict[str, tuple[str, ...]] = {
        f"models.{name}": (target,) for name, target in tiers.items() if isinstance(target, str)
    }
    places |= {f'models.routes."{name}"': route.targets for name, route in models.routes.items()}
    for key, targets in places.items():
        for target in targets:
            provider, slash, _ = target.partition("/")
            if slash and not {provider, target} & known:
                faults.found.append(ConfigError(f"{target!r} names neither a route nor a provider", key=key))


def _build_server(table: Any, client_key: str | None, faults: Faults) -> ServerSettings:
    server = ServerSettings()
    with faults.collect():
        server = convert(_with_new_names(table), ServerSettings, "server")
        check_proxies(server.proxies or {}, "server.proxies")
    keys = server.api_keys
    with faults.collect():
        keys = _check_keys(server.api_keys, client_key)
    return msgspec.structs.replace(server, api_keys=keys)


def _build_each(tables: dict[str, Any], section: str, build: Callable[[str, Any], T], faults: Faults) -> dict[str, T]:
    """The results of `build` for each row of a section, by the row's name. Collects faults."""
    built: dict[str, T] = {}
    with faults.collect():
        for name, row in as_table(tables.get(section, {}), section).items():
            with faults.collect():
                built[name] = build(name, row)
    return built


def _build_price(name: str, row: Any) -> PriceSettings:
    return convert(row, PriceSettings, f'prices."{name}"')


def _build_key(name: str, row: Any) -> KeySettings:
    faults = Faults()
    with faults.collect():
        row = parse_expiry(row, name)
    if faults.found:
        row = {field: value for field, value in row.items() if field != "expires"}
    with faults.collect():
        built = check_key(name, convert(row, KeySettings, f"keys.{name}"))
    faults.tell()
    return built


# Renamed settings of [server], by old name. The old names are still accepted.
RENAMED = {"early_head": "stream_start_timeout"}


def _with_new_names(table: Any) -> Any:
    if not isinstance(table, dict):
        return table
    return {(RENAMED.get(name, name) if RENAMED.get(name) not in table else name): table[name] for name in table}


def _check_values(value: Any, key: str) -> None:
    """Raises ConfigError for values that no setting may have: control characters in text, numbers out of range."""
    if isinstance(value, dict):
        for name, each in value.items():
            if not isinstance(name, str) or _CONTROLS.search(name):
                raise ConfigError("a name contains a control character", key=key)
            _check_values(each, f"{key}.{name}" if key else name)
    elif isinstance(value, list | tuple):
        for each in value:
            _check_values(each, key)
    elif isinstance(value, str) and _CONTROLS.search(value):
        raise ConfigError("the text contains a control character", key=key)
    elif isinstance(value, int | float) and not -LARGEST <= value <= LARGEST:
        raise ConfigError("the number is out of range", key=key)


def _check_root_path(server: ServerSettings) -> None:
    root = server.root_path
    if root is not None and not _ROOT_PATH.fullmatch(root):
        message = "a path prefix starts with a slash and does not end with one, such as /llm or /team/llm"
        raise ConfigError(message, key="server.root_path")


def _check_addresses(section: Struct) -> None:
    match section:
        case AlertsSettings():
            for name in ("webhooks", "slack"):
                for number, url in enumerate(getattr(section, name)):
                    if not _WEBHOOK.fullmatch(url):
                        message = "the address of a webhook must start with https://"
                        raise ConfigError(message, key=f"alerts.{name}[{number}]")
        case PushSettings(url=str(url)):
            check_url(url, "push.url")
        case SharedSettings(redis=str(url)):
            check_redis_url(url)
        case LedgerSettings(url=str(url)):
            check_ledger_url(url)


def _check_proxies(server: ServerSettings) -> None:
    for address in server.trusted_proxies:
        if address != "*":
            try:
                ipaddress.ip_network(address)
            except ValueError as error:
                message = f"{address[:64]!r} is not the address of a proxy, such as 10.0.0.2 or 10.0.0.0/8"
                raise ConfigError(message, key="server.trusted_proxies") from error


def _offer_demo(
    providers: dict[str, ProviderSettings], server: ServerSettings, models: ModelsSettings, *, has_keys: bool
) -> dict[str, ProviderSettings]:
    """Adds the demo provider as `server.demo` says. If that is unset, adds it if a model's name asks for it, or if no
    other provider and no client key is configured. Raises ConfigError if there is no provider and it is turned off."""
    if "demo" in providers or server.demo is False:
        if not providers:
            raise ConfigError(
                "no provider is configured or found, and the demo is off; add a [providers] table", key="providers"
            )
        return providers
    if server.demo or _names_demo(models) or not (providers or has_keys):
        return providers | {"demo": ProviderSettings(kind="demo")}
    return providers


def _names_demo(models: ModelsSettings) -> bool:
    tiers = (getattr(models, key) for key in ("default", *TIER_KEYS))
    targets = (target for route in models.routes.values() for target in route.targets)
    return any(name is not None and name.startswith("demo/") for name in (*tiers, *targets))


def _build_models(table: dict[str, Any], faults: Faults) -> ModelsSettings:
    models = ModelsSettings()
    with faults.collect():
        models = convert({name: value for name, value in table.items() if name != "routes"}, ModelsSettings, "models")
    built = {}
    for name, value in as_table(table.get("routes", {}), "models.routes").items():
        with faults.collect():
            built[name] = _build_route(value, f'models.routes."{name}"')
    return msgspec.structs.replace(models, routes=built)


def _build_route(value: Any, key: str) -> RouteSettings:
    table = value if isinstance(value, dict) else {"target": value}
    route = convert(table, _RouteTable, key)
    targets = (*_several(route.target), *_several(route.fallback))
    if not targets:
        raise ConfigError('a route needs a target, for example "oca/gpt-4.1"', key=key)
    if route.strict and route.lenient:
        raise ConfigError("a route must be either strict or lenient", key=key)
    same = {name: getattr(route, name) for name in RouteOptions.__struct_fields__}
    return RouteSettings(targets=targets, **same)


def _several(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _check_keys(keys: tuple[str, ...], client_key: str | None) -> tuple[str, ...]:
    """The keys that clients may present, without surrounding white space such as a file's line end. Raises ConfigError
    for an empty key."""
    stripped = tuple(key.strip() for key in (*keys, *([client_key] if client_key else [])))
    if not all(stripped):
        raise ConfigError("a key is empty, which would let everyone in", key="server.api_keys")
    return stripped


def _check_exposure(server: ServerSettings, keys: Mapping[str, KeySettings]) -> None:
    if server.api_keys or keys or server.allow_open or is_loopback(server.host):
        return
    if server.host.startswith("unix:"):
        raise ConfigError(
            "other users may reach a socket; set a client key in PROXY_API_KEY or in server.api_keys, "
            "or allow_open = true (--allow-open) if everyone who may write to it may use your credentials",
            key="server.api_keys",
        )
    raise ConfigError(
        f"host {server.host} can be reached from other machines; set a client key in PROXY_API_KEY or in "
        "server.api_keys, or allow_open = true (--allow-open) if everyone there may use your credentials",
        key="server.api_keys",
    )
