"""Default models of each kind of provider."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, structs

from app.settings.tables import ModelsSettings, ProviderSettings

TIER_KEYS = ("small", "big", "sonnet", "opus", "fable", "mythos")


class KindModels(Struct, frozen=True):
    """A kind's models, without the provider's name. `small` and `big` are for kinds that do not know Claude's names."""

    default: str
    small: str | None = None
    big: str | None = None


MODELS: dict[str, KindModels] = {
    "oca": KindModels("gpt-4.1", small="grok-code-fast-1", big="grok-code-fast-1"),
    "anthropic": KindModels("claude-sonnet-4-6"),
    "claude_cli": KindModels("claude-sonnet-4-6"),
    "openai": KindModels("gpt-5", small="gpt-5-mini", big="gpt-5"),
    "codex": KindModels("gpt-5.5"),
    "demo": KindModels("demo"),
}
# Kinds that serve Claude's models under Claude's own names.
CLAUDE_KINDS = frozenset({"anthropic", "claude_cli"})


def fill_models(models: ModelsSettings, providers: Mapping[str, ProviderSettings]) -> ModelsSettings:
    """`models` as written. If it has neither a default nor routes, it gets the first provider's default models.

    If any provider serves Claude's names, `small` and `big` are not filled, so that Claude's names stay with it.
    """
    if models.default is not None or models.routes:
        return models
    brought = ((name, models_of(name, provider)) for name, provider in providers.items())
    name, found = next(((name, found) for name, found in brought if found is not None), ("", None))
    if found is None:
        return models
    filled = {"default": found.default, "small": found.small, "big": found.big}
    if any(provider.kind in CLAUDE_KINDS for provider in providers.values()):
        del filled["small"], filled["big"]
    changes = {key: f"{name}/{model}" for key, model in filled.items() if model and getattr(models, key) is None}
    return structs.replace(models, **changes)


def models_of(name: str, provider: ProviderSettings) -> KindModels | None:
    """A provider's default models: its own choice, else its kind's. None if only its server knows its models."""
    own = provider.default_model or next(iter(provider.models), None)
    known = MODELS.get(provider.kind)
    if provider.kind == "openai" and not _is_openai(name, provider):
        known = None
    if provider.default_model or (own and (known is None or known.default not in provider.models)):
        return KindModels(str(own))
    return known


def _is_openai(name: str, provider: ProviderSettings) -> bool:
    """Whether a provider is OpenAI itself. Any server may speak OpenAI's dialect, but only OpenAI has its models."""
    if provider.profile not in (None, "openai"):
        return False
    if provider.base_url is None:
        return True
    return name == "openai" or "//api.openai.com" in provider.base_url
