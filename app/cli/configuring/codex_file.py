"""Edits Codex's configuration: our provider, and which provider is used. Comments are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import tomlkit
from tomlkit.exceptions import TOMLKitError

from app.cli.launcher.codex import PROVIDER

# Top-level keys that are ours while our provider is in use.
TOP = ("model_provider", "model", "model_context_window", "model_auto_compact_token_limit")


def set_provider(text: str, settings: Mapping[str, Any]) -> str:
    """The configuration with our settings, which are given by dotted name, as for `-c`."""
    document = _parse(text)
    top = {name: value for name, value in settings.items() if "." not in name}
    prefix = f"model_providers.{PROVIDER}."
    ours = {name.removeprefix(prefix): value for name, value in settings.items() if name.startswith(prefix)}
    providers = document.get("model_providers")
    if providers is None:
        providers = tomlkit.table(is_super_table=True)
    known = providers.get(PROVIDER)
    if known is not None and known.unwrap() == ours and all(document.get(name) == top.get(name) for name in TOP):
        return text
    for name in TOP:
        if name in top:
            document[name] = top[name]
        elif name in document:
            del document[name]
    table = tomlkit.table()
    for name, value in ours.items():
        table[name] = value
    providers[PROVIDER] = table
    if "model_providers" not in document:
        document["model_providers"] = providers
    return tomlkit.dumps(document)


def unset_provider(text: str, original: str, written: str) -> str:
    """The configuration with what `original` had in place of our settings. What was changed since we wrote `written` is
    the user's own, and stays."""
    document, before, ours = _parse(text), _parse(original), _parse(written)
    changed = False
    for name in TOP:
        if before.get(name) == ours.get(name) or document.get(name) != ours.get(name):
            continue
        changed = True
        if name in before:
            document[name] = before[name]
        else:
            del document[name]
    providers = document.get("model_providers")
    if document.get("model_provider") != PROVIDER and providers is not None and PROVIDER in providers:
        changed = True
        del providers[PROVIDER]
        if not providers:
            del document["model_providers"]
    return tomlkit.dumps(document) if changed else text


def _parse(text: str) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text)
    except (TOMLKitError, RecursionError, ValueError) as error:
        raise click.ClickException(
            f"Codex's configuration is not valid TOML, so nothing was changed; fix the file first: {error}"
        ) from error
