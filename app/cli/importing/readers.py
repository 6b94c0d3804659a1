"""Reads the configurations of LiteLLM, claude-code-router, CLIProxyAPI and opencode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.cli.importing.carried import (
    Carried,
    name_provider,
    read_headers,
    read_secret,
    recognize,
    shorten_url,
    table,
    tables,
    texts,
)  # fmt: skip
from app.settings.checking import KINDS
from app.settings.known_servers import KNOWN_SERVERS

# LiteLLM's names of kinds, where ours differ.
_LITELLM_KINDS = {"ollama_chat": "ollama", "hosted_vllm": "vllm", "text-completion-openai": "openai"}
_PACKAGES = {"@ai-sdk/anthropic": "anthropic", "@ai-sdk/openai": "openai", "@ai-sdk/openai-compatible": "openai"}
_ROUTES = {"default": "default", "background": "small"}


def read_litellm(config: dict[str, Any]) -> Carried:
    carried = Carried()
    for place, entry in enumerate(tables(config.get("model_list"))):
        _read_deployment(carried, entry, f"model_list[{place}]")
    general, router, more = (table(config.get(f"{name}_settings")) for name in ("general", "router", "litellm"))
    if (key := read_secret(general.get("master_key"))) is not None:
        carried.server["api_keys"] = [key]
    for alias, name in table(router.get("model_group_alias")).items():
        if isinstance(name, str) and name in carried.routes:
            _add_route(carried, str(alias), *_list_targets(carried, name))
    for fallbacks in (*tables(router.get("fallbacks")), *tables(more.get("fallbacks"))):
        for name, others in fallbacks.items():
            targets = [target for other in texts(others) for target in _list_targets(carried, other)]
            if name in carried.routes and targets:
                _add_route(carried, name, *targets)
            else:
                carried.leave(f"fallbacks.{name}", "names a model that was not converted")
    carried.leave_unknown(general, {"master_key"}, "general_settings")
    carried.leave_unknown(router, {"model_group_alias", "fallbacks"}, "router_settings")
    carried.leave_unknown(more, {"fallbacks"}, "litellm_settings")
    known = {"model_list", "general_settings", "router_settings", "litellm_settings"}
    carried.leave_unknown(config, known, "")
    return carried


def _read_deployment(carried: Carried, entry: dict[str, Any], path: str) -> None:
    parameters, info = table(entry.get("litellm_params")), table(entry.get("model_info"))
    prefix, _, model = str(parameters.get("model", "")).partition("/")
    if not model:
        prefix, model = "openai", prefix
    name = str(entry.get("model_name", model))
    kind = _LITELLM_KINDS.get(prefix, prefix)
    if kind not in KNOWN_SERVERS and kind not in KINDS:
        carried.leave(path, f"Dragoman has no kind {kind}; add a provider with the base_url by hand")
        return
    if "*" in model and parameters.get("model") == "*":
        carried.leave(path, "Dragoman needs no entry for all names; models.default says what answers the unknown ones")
        return
    settings = {
        "kind": kind,
        "base_url": parameters.get("api_base"),
        "api_key": read_secret(parameters.get("api_key")),
        "api_version": parameters.get("api_version") if kind == "azure" else None,
        "headers": read_headers(parameters.get("extra_headers")) or None,
    }
    provider = _add_provider(carried, kind, settings)
    window = info.get("max_input_tokens")
    if isinstance(window, int) and window > 0:
        carried.providers[provider].setdefault("context_window", {})[model] = window
    # PROVIDER/MODEL leads to every model of a provider without a route.
    if model != "*":
        _add_route(carried, name, f"{provider}/{model}")
    elif name != f"{provider}/*":
        carried.leave(path, f"names of {name} are not carried; ask for {provider}/MODEL")
    taken = {"model", "api_base", "api_key", "extra_headers"} | ({"api_version"} if kind == "azure" else set())
    carried.leave_unknown(parameters, taken, f"{path}.litellm_params")
    carried.leave_unknown(info, {"max_input_tokens", "id", "mode"}, f"{path}.model_info")
    carried.leave_unknown(entry, {"model_name", "litellm_params", "model_info"}, path)


def read_router(config: dict[str, Any]) -> Carried:
    """claude-code-router's config.json."""
    carried = Carried()
    names: dict[str, str] = {}
    for place, entry in enumerate(tables(config.get("Providers", config.get("providers")))):
        path = f"Providers[{place}]"
        url = str(entry.get("api_base_url", ""))
        kind = "anthropic" if url.endswith("/messages") else "openai"
        settings: dict[str, Any] = {
            "kind": kind,
            "base_url": shorten_url(url) or None,
            "api_key": read_secret(entry.get("api_key")),
        }
        models = texts(entry.get("models"))
        settings |= {"models": models} if models else {}
        wanted = name_provider(entry.get("name", "imported"))
        names[str(entry.get("name"))] = _add_provider(
            carried, wanted, settings | ({"models": models} if models else {})
        )
        carried.leave_unknown(
            entry, {"name", "api_base_url", "api_key", "models"}, path, "Dragoman detects this by itself"
        )
    for name, value in table(config.get("Router")).items():
        provider, _, model = str(value).partition(",")
        if name in _ROUTES and provider in names and model:
            carried.models[_ROUTES[name]] = f"{names[provider]}/{model}"
        else:
            carried.leave(f"Router.{name}", f"{value}: not supported; name the model in requests, or add a route")
    if (key := read_secret(config.get("APIKEY"))) is not None:
        carried.server["api_keys"] = [key]
    _carry(config, carried.server, {"HOST": "host", "PORT": "port"})
    _carry_proxy(config.get("PROXY_URL"), carried.server)
    carried.leave_unknown(config, {"Providers", "providers", "Router", "APIKEY", "HOST", "PORT", "PROXY_URL"}, "")
    return carried


def read_cliproxyapi(config: dict[str, Any]) -> Carried:
    carried = Carried()
    _carry(config, carried.server, {"host": "host", "port": "port"})
    keys = [key for each in texts(config.get("api-keys")) if (key := read_secret(each)) is not None]
    if keys:
        carried.server["api_keys"] = keys
    _carry_proxy(config.get("proxy-url"), carried.server)
    for section, kind in (("claude-api-key", "anthropic"), ("codex-api-key", "openai"), ("gemini-api-key", "gemini")):
        entries = tables(config.get(section))
        for place, entry in enumerate(entries):
            settings = {"kind": kind, "base_url": entry.get("base-url"), "api_key": read_secret(entry.get("api-key"))}
            _read_models(carried, entry, _add_provider(carried, kind, settings | _read_ways(entry)))
            taken = {"base-url", "api-key", "headers", "proxy-url", "models"}
            carried.leave_unknown(entry, taken, f"{section}[{place}]")
    for place, entry in enumerate(tables(config.get("openai-compatibility"))):
        path = f"openai-compatibility[{place}]"
        secrets = [read_secret(each.get("api-key")) for each in tables(entry.get("api-key-entries"))]
        base = {"kind": "openai", "base_url": entry.get("base-url")}
        settings = base | _choose_keys([key for key in secrets if key is not None]) | _read_ways(entry)
        _read_models(carried, entry, _add_provider(carried, name_provider(entry.get("name", "imported")), settings))
        for number, each in enumerate(tables(entry.get("api-key-entries"))):
            carried.leave_unknown(each, {"api-key"}, f"{path}.api-key-entries[{number}]")
        carried.leave_unknown(entry, {"name", "base-url", "api-key-entries", "headers", "models"}, path)
    known = {"host", "port", "api-keys", "proxy-url", "claude-api-key", "codex-api-key", "gemini-api-key"}
    carried.leave_unknown(config, known | {"openai-compatibility", "auth-dir"}, "")
    if config.get("auth-dir"):
        carried.leave("auth-dir", "log in again: dragoman login claude, dragoman login codex")
    return carried


def _read_ways(entry: dict[str, Any]) -> dict[str, Any]:
    """Headers and proxy of a provider of CLIProxyAPI."""
    ways: dict[str, Any] = {}
    if headers := read_headers(entry.get("headers")):
        ways["headers"] = headers
    _carry_proxy(entry.get("proxy-url"), ways)
    return ways


def _read_models(carried: Carried, entry: dict[str, Any], provider: str) -> None:
    """The aliases of a provider of CLIProxyAPI as routes."""
    for model in tables(entry.get("models")):
        if model.get("alias") and model.get("name"):
            _add_route(carried, str(model["alias"]), f"{provider}/{model['name']}")


def read_opencode(config: dict[str, Any]) -> Carried:
    carried = Carried()
    names: dict[str, str] = {}
    for name, value in table(config.get("provider")).items():
        entry, path = table(value), f"provider.{name}"
        options, package = table(entry.get("options")), str(entry.get("npm", ""))
        is_known = name in KINDS or name in KNOWN_SERVERS
        kind = _PACKAGES.get(package, name if is_known and not package else "")
        if not kind:
            carried.leave(path, f"Dragoman has no kind for {package or name}; add a provider with the base_url by hand")
            continue
        secret = options.get("apiKey")
        if isinstance(secret, str) and secret.startswith("{file:"):
            carried.leave(f"{path}.options.apiKey", f"{secret}: put the key into a variable and name that in api_key")
            secret = None
        settings = {
            "kind": kind,
            "base_url": options.get("baseURL"),
            "api_key": read_secret(secret),
            "headers": read_headers(options.get("headers")) or None,
        }
        windows = {
            str(model): limit["context"]
            for model, info in table(entry.get("models")).items()
            if isinstance((limit := table(table(info).get("limit"))).get("context"), int)
        }
        names[name] = _add_provider(
            carried, name_provider(name), settings | ({"context_window": windows} if windows else {})
        )
        carried.leave_unknown(options, {"baseURL", "apiKey", "headers"}, f"{path}.options")
        carried.leave_unknown(entry, {"npm", "name", "options", "models"}, path)
    for key, ours in (("model", "default"), ("small_model", "small")):
        provider, _, model = str(config.get(key, "")).partition("/")
        if provider in names and model:
            carried.models[ours] = f"{names[provider]}/{model}"
        elif key in config:
            carried.leave(key, f"{config[key]}: its provider was not converted")
    carried.leave_unknown(config, {"provider", "model", "small_model", "$schema"}, "", "only used by opencode")
    return carried


READERS: dict[str, Callable[[dict[str, Any]], Carried]] = {
    "litellm": read_litellm,
    "ccr": read_router,
    "cliproxyapi": read_cliproxyapi,
    "opencode": read_opencode,
}


def _add_provider(carried: Carried, name: str, settings: dict[str, Any]) -> str:
    """The name of the provider with these settings: an existing one, or a new unused one."""
    provider = recognize({key: value for key, value in settings.items() if value is not None})
    wanted, number = name, 1
    while wanted in carried.providers and carried.providers[wanted] != provider:
        number += 1
        wanted = f"{name}-{number}"
    carried.providers[wanted] = provider
    return wanted


def _add_route(carried: Carried, name: str, *more: str) -> None:
    """Adds targets to a route; they are tried in order."""
    targets = list(dict.fromkeys([*_list_targets(carried, name), *more]))
    carried.routes[name] = targets[0] if len(targets) == 1 else targets


def _list_targets(carried: Carried, name: str) -> list[str]:
    known = carried.routes.get(name, [])
    return known if isinstance(known, list) else [known]


def _choose_keys(keys: list[str]) -> dict[str, Any]:
    if len(keys) < 2:
        return {"api_key": keys[0]} if keys else {}
    return {"credentials": [{"api_key": key} for key in keys]}


def _carry(config: dict[str, Any], server: dict[str, Any], names: dict[str, str]) -> None:
    server.update({ours: config[theirs] for theirs, ours in names.items() if config.get(theirs) not in (None, "")})


def _carry_proxy(proxy: Any, settings: dict[str, Any]) -> None:
    if isinstance(proxy, str) and proxy:
        settings["proxies"] = {"all": proxy}
