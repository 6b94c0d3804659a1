"""What was read from another gateway's configuration, and the file written from it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import msgspec
import tomlkit

from app.json_values import as_object
from app.settings.checks.providers import KINDS
from app.settings.known_servers import KNOWN_SERVERS, OTHER_NAMES

HEAD = "Imported from {name} ({source}). Check it with: dragoman config check"
# Why a setting of another gateway needs no counterpart, or what takes its place.
REASONS = {
    "environment_variables": "set these in the gateway's environment",
    "litellm_settings.drop_params": "Dragoman does this by itself, and reports what it drops",
    "general_settings.database_url": "Dragoman keeps its accounts by itself; see [accounts]",
    "NON_INTERACTIVE_MODE": "not needed",
    "API_TIMEOUT_MS": "see first_byte_timeout and idle_timeout of each provider",
    "LOG": "see server.log_file",
    "LOG_LEVEL": "see server.log_level",
    "debug": "see server.log_level",
    "StatusLine": "not needed",
    "request-retry": "failures are retried without it; a route may have several targets",
    "routing": "credentials of a provider take turns, and a conversation stays with its own",
    "ampcode": "not supported",
    "credential_list": "carried into the models that name them",
    "tls": "put a reverse proxy in front; see docs/how-to/reverse-proxies.md",
}
# The same for settings that may stand at many places, by their last name.
REASONS_ANYWHERE = {
    "rpm": "see requests_per_minute of a provider",
    "tpm": "see tokens_per_minute of a provider",
    "max_parallel_requests": "see max_parallel of a provider",
    **dict.fromkeys(
        ("timeout", "stream_timeout", "request_timeout", "headerTimeout", "chunkTimeout"),
        "see first_byte_timeout and idle_timeout of each provider",
    ),
    **dict.fromkeys(("max_output_tokens", "max_tokens"), "see max_output of a route"),
    **dict.fromkeys(
        ("num_retries", "retry_policy", "allowed_fails", "cooldown_time"), "Dragoman decides by the failure"
    ),
    **dict.fromkeys(("success_callback", "failure_callback", "callbacks"), "see docs/monitoring.md and docs/hooks.md"),
    **dict.fromkeys(("redis_host", "redis_port", "redis_password"), "see [shared] redis"),
    "prefix": "PROVIDER/MODEL names a provider's model",
    "excluded-models": "see models of a key",
    "default_fallbacks": "add targets to the routes",
    "context_window_fallbacks": "add targets to the routes; a full context leads to the next one",
}
# Maximum characters of a comment line.
LONGEST = 200
_OTHER = re.compile(r"[^A-Za-z0-9._-]+")
# References to variables: a whole text, and opencode's anywhere in one.
_VARIABLE = re.compile(r"(?:os\.environ/|\$\{?)([A-Za-z_][A-Za-z0-9_]{0,100})\}?")
_INSIDE = re.compile(r"\{env:([A-Za-z_][A-Za-z0-9_]{0,100})\}")


class Carried(msgspec.Struct):
    """Tables of our file, and a line for each item that could not be carried, with its place and the reason."""

    server: dict[str, Any] = {}
    providers: dict[str, dict[str, Any]] = {}
    models: dict[str, Any] = {}
    routes: dict[str, Any] = {}
    prices: dict[str, dict[str, float]] = {}
    left: list[str] = []

    def add_provider(self, name: str, settings: dict[str, Any]) -> str:
        """The name of the provider with these settings: an existing one, or a new unused one."""
        provider = recognize({key: value for key, value in settings.items() if value is not None})
        wanted, number = name, 1
        while wanted in self.providers and self.providers[wanted] != provider:
            number += 1
            wanted = f"{name}-{number}"
        self.providers[wanted] = provider
        return wanted

    def add_route(self, name: str, *more: str) -> None:
        """Adds targets to a route; they are tried in order."""
        targets = list(dict.fromkeys([*self.list_targets(name), *more]))
        self.routes[name] = targets[0] if len(targets) == 1 else targets

    def list_targets(self, name: str) -> list[str]:
        known = self.routes.get(name, [])
        return known if isinstance(known, list) else [known]

    def leave(self, path: str, why: str) -> None:
        self.left.append(f"{path}: {why}")

    def leave_unknown(self, table: dict[str, Any], known: set[str], path: str, why: str = "has no counterpart") -> None:
        for name in table:
            if name not in known:
                place = f"{path}.{name}" if path else str(name)
                self.leave(place, REASONS.get(place) or REASONS_ANYWHERE.get(str(name), why))


def name_provider(text: Any) -> str:
    """The text as a valid provider name."""
    return _OTHER.sub("-", str(text)).strip("-.")[:60] or "imported"


def read_secret(value: Any) -> str | None:
    """A text in our file's notation: a reference to a variable stays one, and other text never becomes one."""
    if not isinstance(value, str) or not value:
        return None
    if (found := _VARIABLE.fullmatch(value)) is not None:
        return f"${{{found[1]}}}"
    return _INSIDE.sub(r"${\1}", value.replace("${", "$${"))


def shorten_url(url: str) -> str:
    """The base URL of an endpoint's URL."""
    for end in ("/chat/completions", "/messages", "/responses"):
        url = url.removesuffix(end)
    return url


def read_headers(value: Any) -> dict[str, str]:
    """Additional headers; values that refer to variables go on doing so."""
    found = {name: read_secret(each) for name, each in as_object(value).items()}
    return {name: each for name, each in found.items() if each is not None}


def read_keys(keys: list[Any]) -> dict[str, Any]:
    """One key of a provider, or several credentials."""
    secrets = [secret for each in keys if (secret := read_secret(each)) is not None]
    if len(secrets) < 2:
        return {"api_key": secrets[0]} if secrets else {}
    return {"credentials": [{"api_key": secret} for secret in secrets]}


def find_kind(name: str) -> str | None:
    """Our kind for the name that another gateway gives a vendor or server, if there is one."""
    kind = OTHER_NAMES.get(name, name)
    return kind if kind in KNOWN_SERVERS or kind in KINDS else None


def carry(config: dict[str, Any], settings: dict[str, Any], names: dict[str, str]) -> None:
    """Settings that have another name here alone."""
    settings.update({ours: config[theirs] for theirs, ours in names.items() if config.get(theirs) not in (None, "")})


def carry_proxy(proxy: Any, settings: dict[str, Any]) -> None:
    if isinstance(proxy, str) and proxy:
        settings["proxies"] = {"all": proxy}


def recognize(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a provider of kind `openai` as those of the known server whose address it has."""
    place = _find_place(settings.get("base_url"))
    if settings.get("kind") not in ("openai", "gemini") or place is None:
        return settings
    for name, server in KNOWN_SERVERS.items():
        if server.base_url is not None and _find_place(server.base_url) == place:
            # Google's own dialect is at the same host, and is not ours.
            is_usual = name == "gemini" or settings["base_url"].rstrip("/") == server.base_url
            kept = {key: value for key, value in settings.items() if key != "base_url" or not is_usual}
            return kept | {"kind": name}
    return settings


def _find_place(url: Any) -> tuple[str, int | None] | None:
    """Host and port of a URL, or None."""
    try:
        found = urlsplit(url if isinstance(url, str) else "")
        host, port = found.hostname, found.port
    except ValueError:
        return None
    return ("127.0.0.1" if host == "localhost" else host, port) if host else None


def tables(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def write_file(carried: Carried, name: str, source: str) -> str:
    document = tomlkit.document()
    for line in (HEAD.format(name=name, source=source), *(f"not converted: {line}" for line in carried.left)):
        document.add(tomlkit.comment(" ".join(line.split())[:LONGEST]))
    if carried.server:
        document["server"] = _make_table(carried.server)
    if carried.providers:
        providers = tomlkit.table(is_super_table=True)
        for provider, settings in carried.providers.items():
            providers[provider] = _make_table(settings)
        document["providers"] = providers
    models = dict(carried.models) | ({"routes": carried.routes} if carried.routes else {})
    if models:
        document["models"] = _make_table(models)
    if carried.prices:
        document["prices"] = carried.prices
    return tomlkit.dumps(document)


def _make_table(values: dict[str, Any]) -> Any:
    made = tomlkit.table()
    for name, value in values.items():
        made[name] = _make_table(value) if isinstance(value, dict) and name == "routes" else value
    return made
