"""Validates the tables of providers."""

from __future__ import annotations

import re
from importlib import metadata
from typing import Any

import msgspec

from app.errors import ConfigError
from app.settings.checks.converting import as_table, convert, suggest
from app.settings.checks.keys import check_budgets
from app.settings.known_servers import KNOWN_SERVERS, OTHER_NAMES
from app.settings.network import check_proxies, check_url
from app.settings.tables import CredentialSettings, ProviderSettings

KINDS = ("oca", "anthropic", "openai", "codex", "claude_cli", "demo")
PROVIDER_GROUP = "dragoman.providers"
# The kinds that speak only one dialect. An `oca` model may speak either of OpenAI's.
FIXED_DIALECTS = {"anthropic": "anthropic_messages", "codex": "openai_responses", "claude_cli": "anthropic_messages"}
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
_PROVIDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def build_provider(name: str, table: Any) -> ProviderSettings:
    key = f"providers.{name}"
    if not _PROVIDER_NAME.fullmatch(name):
        raise ConfigError("a provider's name may contain only letters, digits, dots, underscores and hyphens", key=key)
    provider = convert(_complete_provider(name, as_table(table, key), key), ProviderSettings, key)
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
        credential = convert(table, CredentialSettings, place)
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
