"""Reads CLIProxyAPI's `config.yaml`."""

from __future__ import annotations

from typing import Any

from app.cli.importing.carried import (
    Carried,
    carry,
    carry_proxy,
    name_provider,
    read_headers,
    read_keys,
    read_secret,
    tables,
    texts,
)
from app.json_values import as_object

_SECTIONS = {
    "claude-api-key": "anthropic",
    "codex-api-key": "openai",
    "gemini-api-key": "gemini",
    "xai-api-key": "xai",
}
_ENTRY = {"base-url", "api-key", "headers", "proxy-url", "models", "weight"}
_SERVER = {"host": "host", "port": "port"}


def read_cliproxyapi(config: dict[str, Any]) -> Carried:
    carried = Carried()
    carry(config, carried.server, _SERVER)
    if config.get("host") == "":
        carried.leave("host", 'it listened at all addresses; for that, set server.host to "0.0.0.0"')
    keys = [read_secret(each) for each in texts(config.get("api-keys")) if each]
    if keys:
        carried.server["api_keys"] = keys
    carry_proxy(config.get("proxy-url"), carried.server)
    for section, kind in _SECTIONS.items():
        _read_section(carried, tables(config.get(section)), section, kind)
    for place, entry in enumerate(tables(config.get("openai-compatibility"))):
        _read_compatible(carried, entry, f"openai-compatibility[{place}]")
    known = {"api-keys", "proxy-url", "openai-compatibility", "auth-dir", *_SECTIONS, *_SERVER}
    carried.leave_unknown(config, known, "")
    if config.get("auth-dir"):
        carried.leave("auth-dir", "log in again: dragoman login claude, dragoman login codex")
    return carried


def _read_section(carried: Carried, entries: list[dict[str, Any]], section: str, kind: str) -> None:
    """Entries with the same address and ways to it are credentials of one provider."""
    pools: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    for place, entry in enumerate(entries):
        settings = {"kind": kind, "base_url": read_secret(entry.get("base-url"))}
        settings |= _read_ways(carried, entry, f"{section}[{place}]")
        pool = next((members for alike, members in pools if alike == settings), None)
        if pool is None:
            pools.append((settings, [entry]))
        else:
            pool.append(entry)
        carried.leave_unknown(entry, _ENTRY, f"{section}[{place}]")
    for settings, members in pools:
        provider = carried.add_provider(kind, settings | read_keys([each.get("api-key") for each in members]))
        for member in members:
            _read_models(carried, member, provider)


def _read_compatible(carried: Carried, entry: dict[str, Any], path: str) -> None:
    entries = tables(entry.get("api-key-entries"))
    keys = [*(each.get("api-key") for each in entries), *texts(entry.get("api-keys"))]
    settings = {
        "kind": "openai",
        "base_url": read_secret(entry.get("base-url")),
        **read_keys(keys),
        **_read_ways(carried, entry, path),
    }
    _read_models(carried, entry, carried.add_provider(name_provider(entry.get("name", "imported")), settings))
    for number, each in enumerate(entries):
        carried.leave_unknown(each, {"api-key", "weight"}, f"{path}.api-key-entries[{number}]")
    carried.leave_unknown(entry, {"name", "base-url", "api-key-entries", "api-keys", "headers", "models"}, path)


def _read_ways(carried: Carried, entry: dict[str, Any], path: str) -> dict[str, Any]:
    """Headers and proxy of a provider."""
    ways: dict[str, Any] = {}
    headers = as_object(entry.get("headers"))
    # Its `$NAME` is a header of the client, not a variable.
    copied = {name for name, value in headers.items() if str(value).startswith("$")}
    for name in sorted(copied):
        carried.leave(f"{path}.headers.{name}", "headers of clients are not copied")
    if kept := read_headers({name: value for name, value in headers.items() if name not in copied}):
        ways["headers"] = kept
    if entry.get("proxy-url") in ("direct", "none"):
        carried.leave(f"{path}.proxy-url", "name the host in proxies.no_proxy")
    else:
        carry_proxy(entry.get("proxy-url"), ways)
    return ways


def _read_models(carried: Carried, entry: dict[str, Any], provider: str) -> None:
    """The aliases of a provider as routes, and the windows of models."""
    for model in tables(entry.get("models")):
        name, window = model.get("name"), model.get("max-context-length")
        if not name:
            continue
        if model.get("alias"):
            carried.add_route(str(model["alias"]), f"{provider}/{name}")
        if isinstance(window, int) and window > 0:
            carried.providers[provider].setdefault("context_window", {})[str(name)] = window
