"""Finds the provider that a user wants to log in to."""

from __future__ import annotations

from collections.abc import Mapping

from app.errors import NotFound
from app.settings.tables import ProviderSettings

# Users' names for the logins, and the kind of provider of each.
LOGINS: dict[str, str] = {"oca": "oca", "claude": "anthropic", "codex": "codex"}
_OTHER_WORDS: dict[str, str] = {"anthropic": "anthropic", "openai": "codex", "chatgpt": "codex"}


def list_logins(providers: Mapping[str, ProviderSettings]) -> dict[str, ProviderSettings]:
    """The configured providers that can use a login: those without another credential that do not pass the client's
    on."""
    kinds = LOGINS.values()
    return {
        name: settings
        for name, settings in providers.items()
        if settings.kind in kinds and not _has_other_credential(settings)
    }


def offer_logins(providers: Mapping[str, ProviderSettings]) -> dict[str, ProviderSettings]:
    """The choices for a user: the configured providers that can use a login, or else all kinds of login."""
    return list_logins(providers) or {name: ProviderSettings(kind=kind) for name, kind in LOGINS.items()}


def choose_login(word: str | None, providers: Mapping[str, ProviderSettings]) -> tuple[str, ProviderSettings]:
    """The name and settings of the provider that `word` means: its name, or a word for its kind.

    Without a word, the first configured provider that can use a login, else OCA. A provider that is not configured gets
    the defaults of its kind. Raises NotFound for an unknown word.
    """
    configured = list_logins(providers)
    if word is None:
        return next(iter(configured.items()), ("oca", ProviderSettings(kind="oca")))
    if word in configured:
        return word, configured[word]
    kind = LOGINS.get(word) or _OTHER_WORDS.get(word)
    if kind is None:
        known = ", ".join(dict.fromkeys((*LOGINS, *configured)))
        raise NotFound(f"there is no login called {word!r}; known are {known}")
    default = next(name for name, each in LOGINS.items() if each == kind), ProviderSettings(kind=kind)
    return next((item for item in configured.items() if item[1].kind == kind), default)


def _has_other_credential(settings: ProviderSettings) -> bool:
    return bool(settings.api_key or settings.access_token or settings.credentials or settings.auth == "passthrough")
