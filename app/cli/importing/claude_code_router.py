"""Reads claude-code-router's `config.json`."""

from __future__ import annotations

from typing import Any

from app.cli.importing.carried import (
    Carried,
    carry,
    carry_proxy,
    name_provider,
    read_secret,
    shorten_url,
    tables,
    texts,
)
from app.json_values import as_object

_ROUTES = {"default": "default", "background": "small"}
_SERVER = {"HOST": "host", "PORT": "port"}
# Transformers for what is not ours to speak, and those that say more than how a server is spoken to.
_FOREIGN = ("vertex", "gemini-cli", "qwen-cli", "rovo")
_SETTING = {"maxtoken": "see max_output of a route", "openrouter": "its preferences for vendors have no counterpart"}


def read_router(config: dict[str, Any]) -> Carried:
    carried = Carried()
    names: dict[str, str] = {}
    for place, entry in enumerate(tables(config.get("Providers", config.get("providers")))):
        provider = _read_provider(carried, entry, f"Providers[{place}]")
        if provider is not None:
            names[str(entry.get("name"))] = provider
    for name, value in as_object(config.get("Router")).items():
        provider, _, model = str(value).partition(",")
        if name in _ROUTES and provider in names and model:
            carried.models[_ROUTES[name]] = f"{names[provider]}/{model}"
        else:
            carried.leave(f"Router.{name}", f"{value}: not supported; name the model in requests, or add a route")
    if (key := read_secret(config.get("APIKEY"))) is not None:
        carried.server["api_keys"] = [key]
    carry(config, carried.server, _SERVER)
    carry_proxy(config.get("PROXY_URL"), carried.server)
    carried.leave_unknown(config, {"Providers", "providers", "Router", "APIKEY", "PROXY_URL", *_SERVER}, "")
    return carried


def _read_provider(carried: Carried, entry: dict[str, Any], path: str) -> str | None:
    transformers = list(_list_transformers(as_object(entry.get("transformer"))))
    foreign = next((name for name, _ in transformers if name.startswith(_FOREIGN)), None)
    if foreign is not None:
        carried.leave(path, f"Dragoman has no kind for {foreign}; add a provider with the base_url by hand")
        return None
    url = str(entry.get("api_base_url", ""))
    kind = (
        "anthropic" if url.endswith("/messages") or any(name == "Anthropic" for name, _ in transformers) else "openai"
    )
    models = texts(entry.get("models"))
    settings = {
        "kind": kind,
        "base_url": read_secret(shorten_url(url)),
        "api_key": read_secret(entry.get("api_key")),
        "models": models or None,
    }
    for name, options in transformers:
        if options and name in _SETTING:
            carried.leave(f"{path}.transformer.{name}", f"{options}: {_SETTING[name]}")
    known = {"name", "api_base_url", "api_key", "models"}
    carried.leave_unknown(entry, known, path, "Dragoman detects this by itself")
    return carried.add_provider(name_provider(entry.get("name", "imported")), settings)


def _list_transformers(transformer: dict[str, Any]) -> list[tuple[str, Any]]:
    """The names of transformers with their options, of a provider and of its models."""
    used = [transformer.get("use"), *(as_object(each).get("use") for each in transformer.values())]
    listed = [each for uses in used if isinstance(uses, list) for each in uses]
    pairs = [each if isinstance(each, list) and each else [each] for each in listed]
    return [(str(name), options[0] if options else None) for name, *options in pairs]
