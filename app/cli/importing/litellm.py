"""Reads LiteLLM's `config.yaml`."""

from __future__ import annotations

from typing import Any

from app.cli.importing.carried import Carried, find_kind, read_headers, read_secret, tables, texts
from app.json_values import as_object

# Its names of vendors and servers, where neither ours nor our other names are the same.
_KINDS = {
    "ollama_chat": "ollama",
    "hosted_vllm": "vllm",
    "llamafile": "llamacpp",
    "litellm_proxy": "litellm",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "lm_studio": "lmstudio",
    "nvidia_nim": "nvidia",
    **dict.fromkeys(("text-completion-openai", "custom_openai", "openai_like"), "openai"),
}
# Vendors whose dialect is none of ours, whatever their address.
_FOREIGN = frozenset(
    {"bedrock", "vertex_ai", "sagemaker", "cohere", "cohere_chat", "watsonx", "replicate", "snowflake"}
)
# Its prices are per token.
_PRICES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
}
_TAKEN = frozenset(
    {"model", "api_base", "base_url", "api_key", "extra_headers", "organization", "litellm_credential_name"}
)


def read_litellm(config: dict[str, Any]) -> Carried:
    carried = Carried()
    credentials = {
        each.get("credential_name"): as_object(each.get("credential_values"))
        for each in tables(config.get("credential_list"))
    }
    for place, entry in enumerate(tables(config.get("model_list"))):
        _read_deployment(carried, entry, credentials, f"model_list[{place}]")
    general, router, more = (as_object(config.get(f"{name}_settings")) for name in ("general", "router", "litellm"))
    if (key := read_secret(general.get("master_key"))) is not None:
        carried.server["api_keys"] = [key]
    for alias, value in as_object(router.get("model_group_alias")).items():
        name = as_object(value).get("model", value)
        if isinstance(name, str) and name in carried.routes:
            carried.add_route(str(alias), *carried.list_targets(name))
        else:
            carried.leave(f"router_settings.model_group_alias.{alias}", "names a model that was not converted")
    for fallbacks in (*tables(router.get("fallbacks")), *tables(more.get("fallbacks"))):
        for name, others in fallbacks.items():
            targets = [target for other in texts(others) for target in carried.list_targets(other)]
            if name in carried.routes and targets:
                carried.add_route(name, *targets)
            else:
                carried.leave(f"fallbacks.{name}", "names a model that was not converted")
    carried.leave_unknown(general, {"master_key"}, "general_settings")
    carried.leave_unknown(router, {"model_group_alias", "fallbacks"}, "router_settings")
    carried.leave_unknown(more, {"fallbacks"}, "litellm_settings")
    known = {"model_list", "general_settings", "router_settings", "litellm_settings", "credential_list"}
    carried.leave_unknown(config, known, "")
    return carried


def _read_deployment(
    carried: Carried, entry: dict[str, Any], credentials: dict[Any, dict[str, Any]], path: str
) -> None:
    own, info = as_object(entry.get("litellm_params")), as_object(entry.get("model_info"))
    credential = own.get("litellm_credential_name")
    if credential is not None and credential not in credentials:
        carried.leave(f"{path}.litellm_params.litellm_credential_name", "credential_list has no such name")
    parameters = {**credentials.get(credential, {}), **own}
    prefix, _, model = str(parameters.get("model", "")).partition("/")
    if not model:
        prefix, model = "openai", prefix
    # What speaks OpenAI's dialect is what is left of the unknown ones that have an address.
    url = read_secret(parameters.get("api_base", parameters.get("base_url")))
    kind = find_kind(_KINDS.get(prefix, prefix)) or ("openai" if url and prefix not in _FOREIGN else None)
    if kind is None:
        carried.leave(path, f"Dragoman has no kind {prefix}; add a provider with the base_url by hand")
        return
    if parameters.get("model") == "*":
        carried.leave(path, "Dragoman needs no entry for all names; models.default says what answers the unknown ones")
        return
    headers = read_headers(parameters.get("extra_headers"))
    if (organization := read_secret(parameters.get("organization"))) is not None:
        headers["OpenAI-Organization"] = organization
    settings = {
        "kind": kind,
        "base_url": url,
        "api_key": read_secret(parameters.get("api_key")),
        "api_version": parameters.get("api_version") if kind == "azure" else None,
        "headers": headers or None,
    }
    provider = carried.add_provider(kind, settings)
    # LiteLLM's mark for models that speak the Responses API only.
    model = model.removeprefix("responses/")
    window = info.get("max_input_tokens")
    if isinstance(window, int) and window > 0:
        carried.providers[provider].setdefault("context_window", {})[model] = window
    _read_prices(carried, {**info, **own}, f"{provider}/{model}")
    _add_names(carried, str(entry.get("model_name", model)), provider, model, path)
    taken = _TAKEN | _PRICES.keys() | ({"api_version"} if kind == "azure" else set())
    carried.leave_unknown(own, set(taken), f"{path}.litellm_params")
    carried.leave_unknown(info, {"max_input_tokens", "id", "mode", *_PRICES}, f"{path}.model_info")
    carried.leave_unknown(entry, {"model_name", "litellm_params", "model_info"}, path)


def _add_names(carried: Carried, name: str, provider: str, model: str, path: str) -> None:
    # PROVIDER/MODEL leads to every model of a provider without a route.
    if model != "*":
        carried.add_route(name, f"{provider}/{model}")
    elif name != f"{provider}/*":
        carried.leave(path, f"names of {name} are not carried; ask for {provider}/MODEL")


def _read_prices(carried: Carried, values: dict[str, Any], target: str) -> None:
    """The prices of a model in dollars per million tokens, if those of both directions are told."""
    prices = {
        ours: round(float(values[theirs]) * 1e6, 6)
        for theirs, ours in _PRICES.items()
        if isinstance(values.get(theirs), int | float)
    }
    if {"input", "output"} <= prices.keys():
        carried.prices[target] = prices
    elif prices:
        carried.leave(f"prices of {target}", "[prices] needs those of input and output")
