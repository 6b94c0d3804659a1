"""Reads opencode's `opencode.json`, of its first and second version."""

from __future__ import annotations

from typing import Any

from app.cli.importing.carried import Carried, find_kind, name_provider, read_headers, read_secret, texts
from app.json_values import as_object

# Vendors by the end of a package's name, where that is not our name of them: `@ai-sdk/google` and the like.
_PACKAGES = {"openai-compatible": "openai", "togetherai": "together", "ai-sdk-provider": "openrouter"}
# Names of models.dev that are neither ours nor our other names.
_CATALOGUE = {"moonshotai": "kimi", "togetherai": "together", "fireworks-ai": "fireworks"}
_OPTIONS = {"baseURL", "apiKey", "headers", "resourceName"}
_ENTRY = {"npm", "package", "name", "options", "settings", "headers", "env", "models"}
_MODELS = {"model": "default", "small_model": "small"}


def read_opencode(config: dict[str, Any]) -> Carried:
    carried = Carried()
    names: dict[str, str] = {}
    for section in ("provider", "providers"):
        for name, value in as_object(config.get(section)).items():
            provider = _read_provider(carried, name, as_object(value), f"{section}.{name}")
            if provider is not None:
                names[name] = provider
    for key, ours in _MODELS.items():
        provider, _, model = str(config.get(key, "")).partition("/")
        if provider not in names and model and (kind := find_kind(_CATALOGUE.get(provider, provider))) is not None:
            names[provider] = carried.add_provider(name_provider(provider), {"kind": kind})
        if provider in names and model:
            carried.models[ours] = f"{names[provider]}/{model}"
        elif key in config:
            carried.leave(key, f"{config[key]}: its provider was not converted")
    carried.leave_unknown(config, {"provider", "providers", "$schema", *_MODELS}, "", "only used by opencode")
    return carried


def _read_provider(carried: Carried, name: str, entry: dict[str, Any], path: str) -> str | None:
    options = {**as_object(entry.get("options")), **as_object(entry.get("settings"))}
    package = str(entry.get("npm") or entry.get("package") or "")
    vendor = package.rpartition("/")[2]
    kind = find_kind(_PACKAGES.get(vendor, vendor) if package else _CATALOGUE.get(name, name))
    if kind is None:
        carried.leave(path, f"Dragoman has no kind for {package or name}; add a provider with the base_url by hand")
        return None
    secret = options.get("apiKey", next((f"${{{each}}}" for each in texts(entry.get("env"))), None))
    if isinstance(secret, str) and secret.startswith("{file:"):
        carried.leave(f"{path}.options.apiKey", f"{secret}: put the key into a variable and name that in api_key")
        secret = None
    resource = options.get("resourceName")
    url = options.get("baseURL") or (f"https://{resource}.openai.azure.com" if resource and kind == "azure" else None)
    headers = read_headers({**as_object(options.get("headers")), **as_object(entry.get("headers"))})
    settings = {"kind": kind, "base_url": read_secret(url), "api_key": read_secret(secret), "headers": headers or None}
    provider = carried.add_provider(name_provider(name), settings)
    _read_models(carried, as_object(entry.get("models")), provider, path)
    carried.leave_unknown(options, _OPTIONS, f"{path}.options")
    carried.leave_unknown(entry, _ENTRY, path)
    return provider


def _read_models(carried: Carried, models: dict[str, Any], provider: str, path: str) -> None:
    """The windows of models, and routes for those that the server calls otherwise."""
    for model, value in models.items():
        info = as_object(value)
        limit, served = as_object(info.get("limit")), str(info.get("id") or info.get("modelID") or model)
        if isinstance(limit.get("context"), int):
            carried.providers[provider].setdefault("context_window", {})[served] = limit["context"]
        if served != model:
            carried.add_route(f"{provider}/{model}", f"{provider}/{served}")
        for name in ("options", "headers", "variants", "body", "settings"):
            if info.get(name):
                carried.leave(f"{path}.models.{model}.{name}", "see effort and max_output of a route")
