"""What was read from another gateway's configuration, and the file written from it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import msgspec
import tomlkit

from app.settings.known_servers import KNOWN_SERVERS

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
    "tls": "put a reverse proxy in front; see docs/how-to/reverse-proxies.md",
}
# Maximum characters of a comment line.
LONGEST = 200
_OTHER = re.compile(r"[^A-Za-z0-9._-]+")
_ENV = re.compile(r"^(?:os\.environ/|\{env:|\$\{?)([A-Za-z_][A-Za-z0-9_]{0,100})\}?$")


class Carried(msgspec.Struct):
    """Tables of our file, and a line for each item that could not be carried, with its place and the reason."""

    server: dict[str, Any] = {}
    providers: dict[str, dict[str, Any]] = {}
    models: dict[str, Any] = {}
    routes: dict[str, Any] = {}
    left: list[str] = []

    def leave(self, path: str, why: str) -> None:
        self.left.append(f"{path}: {why}")

    def leave_unknown(self, table: dict[str, Any], known: set[str], path: str, why: str = "has no counterpart") -> None:
        for name in table:
            if name not in known:
                place = f"{path}.{name}" if path else str(name)
                self.leave(place, REASONS.get(place, why))


def name_provider(text: Any) -> str:
    """The text as a valid provider name."""
    return _OTHER.sub("-", str(text)).strip("-.")[:60] or "imported"


def read_secret(value: Any) -> str | None:
    """A key in our file's notation: a reference to a variable stays one, and other text never becomes one."""
    if not isinstance(value, str) or not value:
        return None
    if (found := _ENV.match(value)) is not None:
        return f"${{{found[1]}}}"
    return value.replace("${", "$${")


def shorten_url(url: str) -> str:
    """The base URL of an endpoint's URL."""
    for end in ("/chat/completions", "/messages", "/responses"):
        url = url.removesuffix(end)
    return url


def read_headers(value: Any) -> dict[str, str]:
    """Additional headers; values that refer to variables go on doing so."""
    found = {name: read_secret(each) for name, each in table(value).items()}
    return {name: each for name, each in found.items() if each is not None}


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


def table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


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
    return tomlkit.dumps(document)


def _make_table(values: dict[str, Any]) -> Any:
    made = tomlkit.table()
    for name, value in values.items():
        made[name] = _make_table(value) if isinstance(value, dict) and name == "routes" else value
    return made
