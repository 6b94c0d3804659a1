"""Finds installed plugins: kinds of providers, and hooks."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any, Literal

import msgspec

from app.gateway.recording import hooks
from app.known_secrets import known_secrets
from app.providers import registry
from app.settings import Settings, masked

# What each group of entry points adds.
GROUPS: Mapping[str, Literal["provider", "hook"]] = {registry.ENTRY_POINTS: "provider", hooks.ENTRY_POINTS: "hook"}
# The most characters of an import error that are shown.
MAX_SAID = 300


class Plugin(msgspec.Struct, frozen=True):
    """One entry point. `used_by` names the providers of its kind. `settings` are its settings, with secrets masked.
    `error` says why it cannot be imported, or is None."""

    name: str
    adds: Literal["provider", "hook"]
    package: str
    version: str
    enabled: bool
    used_by: tuple[str, ...]
    settings: dict[str, Any]
    error: str | None

    @property
    def status(self) -> Literal["healthy", "failed", "off"]:
        return "off" if not self.enabled else "failed" if self.error else "healthy"


def find_plugins(settings: Settings) -> list[Plugin]:
    """All installed plugins, by name. Imports each of them; failures are noted in `error`."""
    return sorted(
        (_describe(entry, settings) for group in GROUPS for entry in metadata.entry_points(group=group)),
        key=lambda plugin: (plugin.name, plugin.adds),
    )


def describe_plugin(plugin: Plugin) -> dict[str, Any]:
    return {**msgspec.to_builtins(plugin), "status": plugin.status}


def _describe(entry: metadata.EntryPoint, settings: Settings) -> Plugin:
    adds = GROUPS[entry.group]
    tables = {name: table for name, table in settings.providers.items() if table.kind == entry.name}
    enabled = bool(tables) if adds == "provider" else entry.name not in settings.hooks.off
    tables_shown: dict[str, Any] = {name: masked(table) for name, table in tables.items()} if adds == "provider" else {}
    return Plugin(
        name=entry.name,
        adds=adds,
        package=entry.dist.name if entry.dist is not None else "",
        version=entry.dist.version if entry.dist is not None else "",
        enabled=enabled,
        used_by=tuple(tables) if adds == "provider" else (),
        settings=tables_shown if adds == "provider" else {"required": entry.name in settings.hooks.required},
        error=_try_import(entry),
    )


def _try_import(entry: metadata.EntryPoint) -> str | None:
    try:
        entry.load()
    except Exception as fault:
        return known_secrets.mask(f"{type(fault).__name__}: {fault}")[:MAX_SAID]
    return None
