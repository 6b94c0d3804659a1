"""Validates merged tables and converts them to `Settings`."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Struct

from app.errors import ConfigError
from app.settings.defaults import TIER_KEYS, fill_models
from app.settings.key_checks import (
    check_budgets,
    check_key,
    check_keys_differ,
    check_ledger_url,
    check_redis_url,
    parse_expiry,
)
from app.settings.known_servers import KNOWN_SERVERS, OTHER_NAMES
from app.settings.network import check_proxies, check_url, is_loopback
from app.settings.tables import (
    AlertsSettings,
    CredentialSettings,
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
KINDS = ("oca", "anthropic", "openai", "codex", "claude_cli", "demo")
PROVIDER_GROUP = "dragoman.providers"
# The kinds that speak only one dialect. An `oca` model may speak either of OpenAI's.
FIXED_DIALECTS = {"anthropic": "anthropic_messages", "codex": "openai_responses", "claude_cli": "anthropic_messages"}
SETTINGS_OF_SECTIONS = {
    "server": ServerSettings.__struct_fields__,
    "models": ModelsSettings.__struct_fields__,
    "ledger": LedgerSettings.__struct_fields__,
}
URL_KEYS = ("base_url", "idcs_url", "oauth_token_url", "oauth_authorize_url")

# The ways to give one credential.
CREDENTIAL_KEYS = ("api_key", "access_token", "token_file", "credentials_file")

# Settings that only some kinds use. With other kinds they would be accepted without effect, so they are refused.
_WITH_LOGIN = frozenset({"oca", "anthropic", "codex"})
ONLY_FOR: dict[str, frozenset[str]] = {
    "mode": frozenset({"oca"}),
    "idcs_url": _WITH_LOGIN,
    "oauth_token_url": _WITH_LOGIN,
    "oauth_authorize_url": _WITH_LOGIN,
    "redirect_uris": _WITH_LOGIN,
    "client_id": _WITH_LOGIN,
    "scopes": _WITH_LOGIN,
    "cli_refresh": frozenset({"anthropic", "codex"}),
    "command": frozenset({"claude_cli", "anthropic", "codex"}),
    **dict.fromkeys(
        (
            *("max_processes", "tools", "tool_activity", "system_prompt", "mcp_config", "folder", "max_turns"),
            *("session_minutes", "max_sessions", "warm_programs", "client_options"),
        ),
        frozenset({"claude_cli"}),
    ),
}

# Users' words for the types that msgspec names in backquotes.
_TYPE_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}
# The largest valid time, size or count.
LARGEST = 2**53
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_PROVIDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
    faults = _Faults()
    with faults.collect():
        _check_values(tables, "")
    faults.tell()
    for name in tables:
        with faults.collect():
            _refuse_unknown(name, SECTIONS, "", SETTINGS_OF_SECTIONS)
    server = _build_server(tables.get("server", {}), client_key, faults)
    providers = _build_each(tables, "providers", _build_provider, faults)
    models = ModelsSettings()
    with faults.collect():
        models = _build_models(_table(tables.get("models", {}), "models"), faults)
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


def _build_plain(tables: dict[str, Any], faults: _Faults) -> dict[str, Any]:
    """The sections that are one table each. Collects faults."""
    built: dict[str, Any] = {}
    for name, kind in PLAIN_SECTIONS.items():
        with faults.collect():
            built[name] = _convert(tables.get(name, {}), kind, name)
            _check_addresses(built[name])
    return built


def _check_targets(models: ModelsSettings, providers: Any, faults: _Faults) -> None:
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


def _build_server(table: Any, client_key: str | None, faults: _Faults) -> ServerSettings:
    server = ServerSettings()
    with faults.collect():
        server = _convert(_with_new_names(table), ServerSettings, "server")
        check_proxies(server.proxies or {}, "server.proxies")
    keys = server.api_keys
    with faults.collect():
        keys = _check_keys(server.api_keys, client_key)
    return msgspec.structs.replace(server, api_keys=keys)


def _build_each(tables: dict[str, Any], section: str, build: Callable[[str, Any], T], faults: _Faults) -> dict[str, T]:
    """The results of `build` for each row of a section, by the row's name. Collects faults."""
    built: dict[str, T] = {}
    with faults.collect():
        for name, row in _table(tables.get(section, {}), section).items():
            with faults.collect():
                built[name] = build(name, row)
    return built


def _build_price(name: str, row: Any) -> PriceSettings:
    return _convert(row, PriceSettings, f'prices."{name}"')


def _build_key(name: str, row: Any) -> KeySettings:
    faults = _Faults()
    with faults.collect():
        row = parse_expiry(row, name)
    if faults.found:
        row = {field: value for field, value in row.items() if field != "expires"}
    with faults.collect():
        built = check_key(name, _convert(row, KeySettings, f"keys.{name}"))
    faults.tell()
    return built


# Renamed settings of [server], by old name. The old names are still accepted.
RENAMED = {"early_head": "stream_start_timeout"}


def _with_new_names(table: Any) -> Any:
    if not isinstance(table, dict):
        return table
    return {(RENAMED.get(name, name) if RENAMED.get(name) not in table else name): table[name] for name in table}


class _Faults:
    """Collects all faults, in the order in which they are found."""

    def __init__(self) -> None:
        self.found: list[ConfigError] = []

    @contextlib.contextmanager
    def collect(self) -> Iterator[None]:
        try:
            yield
        except ConfigError as error:
            self.found += error.faults

    def tell(self) -> None:
        if self.found:
            raise ConfigError.join(self.found)


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


def _build_provider(name: str, table: Any) -> ProviderSettings:
    key = f"providers.{name}"
    if not _PROVIDER_NAME.fullmatch(name):
        raise ConfigError("a provider's name may contain only letters, digits, dots, underscores and hyphens", key=key)
    provider = _convert(_complete_provider(name, _table(table, key), key), ProviderSettings, key)
    own = [field for field in CREDENTIAL_KEYS if getattr(provider, field)]
    if provider.credentials and own:
        raise ConfigError(f"with credentials, {own[0]} must be an entry of that list", key=f"{key}.{own[0]}")
    _check_kind(provider, key)
    check_budgets(provider, key)
    for field in URL_KEYS:
        url = getattr(provider, field)
        if url is not None:
            check_url(url, f"{key}.{field}")
    check_proxies(provider.proxies or {}, f"{key}.proxies")
    for field in ("api_key", "access_token"):
        _check_header(getattr(provider, field) or "", f"{key}.{field}")
    for header, value in provider.headers.items():
        _check_header(header, f"{key}.headers")
        _check_header(value, f"{key}.headers.{header}")
    return provider


def _complete_provider(name: str, table: dict[str, Any], key: str) -> dict[str, Any]:
    """A provider's table with the kind that its name implies, and with single texts turned into lists."""
    if "kind" not in table and name in KINDS:
        table = table | {"kind": name}
    if isinstance(table.get("command"), str):
        table = table | {"command": [table["command"]]}
    if isinstance(table.get("scopes"), str):
        table = table | {"scopes": table["scopes"].split()}
    if "kind" not in table:
        raise ConfigError(
            f"a provider needs a kind: one of {', '.join(KINDS)}, or a server's name: {', '.join(KNOWN_SERVERS)}",
            key=f"{key}.kind",
        )
    if "credentials" in table:
        table = table | {"credentials": _build_credentials(table["credentials"], f"{key}.credentials")}
    return table


def _check_kind(provider: ProviderSettings, key: str) -> None:
    """Raises ConfigError for an unknown kind, and for settings that have no effect or are wrong for the kind."""
    if provider.kind not in KINDS:
        known = (*KINDS, *(entry.name for entry in metadata.entry_points(group=PROVIDER_GROUP)))
        if provider.kind not in known:
            near = suggest(provider.kind, (*known, *KNOWN_SERVERS, *OTHER_NAMES))
            raise ConfigError(f"unknown kind {provider.kind!r}{near}", key=f"{key}.kind")
    elif idle := _find_idle(provider):
        kinds = ", ".join(sorted(ONLY_FOR[idle]))
        message = f"it has no effect for a provider of kind {provider.kind}, only for {kinds}"
        raise ConfigError(message, key=f"{key}.{idle}")
    fixed = FIXED_DIALECTS.get(provider.kind)
    if fixed and provider.dialect not in (None, fixed):
        raise ConfigError(f"a provider of kind {provider.kind} always speaks {fixed}", key=f"{key}.dialect")


def _build_credentials(entries: Any, key: str) -> list[dict[str, Any]]:
    """The entries of a pool of credentials, each with a unique name. An entry that is plain text is an API key."""
    if not isinstance(entries, list | tuple):
        raise ConfigError("must be a list of keys, or of tables with one credential each", key=key)
    built = []
    for number, entry in enumerate(entries, 1):
        place = f"{key}.{number}"
        table = {"api_key": entry} if isinstance(entry, str) else entry
        credential = _convert(table, CredentialSettings, place)
        held = [field for field in CREDENTIAL_KEYS if getattr(credential, field)]
        if len(held) != 1:
            raise ConfigError(f"each entry must have exactly one of {', '.join(CREDENTIAL_KEYS)}", key=place)
        for field in ("api_key", "access_token"):
            _check_header(getattr(credential, field) or "", f"{place}.{field}")
        built.append(table | {"name": credential.name or str(number)})
    names = [entry["name"] for entry in built]
    if len(set(names)) < len(names):
        raise ConfigError("two credentials have the same name", key=key)
    return built


def _check_header(text: str, key: str) -> None:
    """Raises ConfigError for text that no header can carry, since every request would fail on it."""
    if not text.isprintable() or not all(ord(character) < 256 for character in text):
        raise ConfigError(
            "it contains a line break or another character that is not allowed in an HTTP header", key=key
        )


def _find_idle(provider: ProviderSettings) -> str | None:
    """The first setting of a provider that has no effect for its kind, if any."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(ProviderSettings)}
    return next(
        (
            name
            for name, kinds in ONLY_FOR.items()
            if provider.kind not in kinds and getattr(provider, name) not in (defaults[name], ())
        ),
        None,
    )


def _build_models(table: dict[str, Any], faults: _Faults) -> ModelsSettings:
    models = ModelsSettings()
    with faults.collect():
        models = _convert({name: value for name, value in table.items() if name != "routes"}, ModelsSettings, "models")
    built = {}
    for name, value in _table(table.get("routes", {}), "models.routes").items():
        with faults.collect():
            built[name] = _build_route(value, f'models.routes."{name}"')
    return msgspec.structs.replace(models, routes=built)


def _build_route(value: Any, key: str) -> RouteSettings:
    table = value if isinstance(value, dict) else {"target": value}
    route = _convert(table, _RouteTable, key)
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


def _convert(table: Any, kind: type[T], key: str) -> T:
    """Converts a table to its struct. Text is accepted for numbers and truth values, since variables hold only text."""
    table = _table(table, key)
    faults = _Faults()
    for name in table:
        with faults.collect():
            _refuse_unknown(name, kind.__struct_fields__, key)
    known = {name: value for name, value in table.items() if name in kind.__struct_fields__}
    try:
        converted = msgspec.convert(known, kind, strict=False)
    except msgspec.ValidationError as error:
        faults.found += _find_mismatches(known, kind, key) or [ConfigError(describe_mismatch(str(error)), key=key)]
    faults.tell()
    return converted


def _find_mismatches(table: dict[str, Any], kind: type[Struct], key: str) -> list[ConfigError]:
    """A fault for each field whose value does not have the field's type."""
    hints = get_type_hints(kind, include_extras=True)
    found = []
    for field, value in table.items():
        try:
            msgspec.convert(value, hints[field], strict=False)
        except msgspec.ValidationError as error:
            choices = _choices(kind, field)
            message = f"{value!r} is not one of {', '.join(choices)}" if choices else describe_mismatch(str(error))
            found.append(ConfigError(message, key=f"{key}.{field}"))
    return found


_TYPE_NAME = re.compile("`([^`]*)`")  # as msgspec writes one


def describe_mismatch(message: str) -> str:
    """Rewords msgspec's message about a value's type for users."""

    def name(found: re.Match[str]) -> str:
        return " or ".join(_TYPE_WORDS.get(word, word) for word in found[1].split(" | ") if word != "null")

    wording = _TYPE_NAME.sub(name, message.partition(" - at `$")[0])
    return wording[:1].lower() + wording[1:]


def _choices(kind: type[Struct], field: str) -> tuple[str, ...]:
    """The values that a field accepts, if they are a fixed list; else empty."""
    hint = get_type_hints(kind).get(field)
    values = [value for part in (hint, *get_args(hint)) for value in get_args(part)]
    return tuple(value for value in values if isinstance(value, str))


def _table(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError("this must be a table, not a single value", key=key)
    return value


def _refuse_unknown(name: str, known: Sequence[str], key: str, elsewhere: Mapping[str, Sequence[str]] = {}) -> None:
    """Raises ConfigError for an unknown name. `elsewhere` maps other tables to their names, for the hint."""
    if name not in known:
        homes = [f"[{home}]" for home, names in elsewhere.items() if name in names]
        hint = f"; it belongs in {' or '.join(homes)}" if homes else suggest(name, known)
        raise ConfigError(f"there is no such setting{hint}", key=f"{key}.{name}" if key else name)


def suggest(name: str, known: Iterable[str]) -> str:
    """The hint that ends a message about an unknown name: the most similar known one, or empty."""
    import difflib  # needed only for wrong names

    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
