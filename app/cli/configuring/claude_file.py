"""Edits Claude Code's settings: a few variables in its `env` block."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import click

# Variables in the block that may be ours.
OWN = (
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_MODEL",
    "ANTHROPIC_DEFAULT_OPUS_MODEL",
    "ANTHROPIC_DEFAULT_SONNET_MODEL",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL",
    "ANTHROPIC_DEFAULT_FABLE_MODEL",
    "ANTHROPIC_SMALL_FAST_MODEL",
    "CLAUDE_CODE_SUBAGENT_MODEL",
    "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY",
    "CLAUDE_CODE_AUTO_COMPACT_WINDOW",
    "CLAUDE_CODE_MAX_CONTEXT_TOKENS",
)
_INDENT = re.compile(r"\n([ \t]{1,16})\"")


def set_variables(text: str, variables: Mapping[str, str]) -> str:
    settings = _parse(text)
    env = settings.get("env")
    kept = {name: value for name, value in env.items() if name not in OWN} if isinstance(env, dict) else {}
    order = {name: "" for name in (env if isinstance(env, dict) else ()) if name in kept or name in variables}
    merged = {**order, **kept, **variables}
    if env == merged:
        return text
    return _render({**settings, "env": merged}, text)


def unset_variables(text: str, original: str) -> str:
    """The settings without our variables; those that they replaced are restored from the `original` settings."""
    settings = _parse(text)
    env = settings.get("env")
    if not isinstance(env, dict) or not env.keys() & set(OWN):
        return text
    before = _parse(original).get("env")
    replaced = {name: value for name, value in before.items() if name in OWN} if isinstance(before, dict) else {}
    kept = {name: value for name, value in env.items() if name not in OWN} | replaced
    rest = {**settings, "env": kept} if kept else {name: each for name, each in settings.items() if name != "env"}
    return _render(rest, text)


def _parse(text: str) -> dict[str, Any]:
    try:
        settings = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise click.ClickException(
            f"Claude Code's settings are not valid JSON, so nothing was changed; fix the file first: {error}"
        ) from error
    if not isinstance(settings, dict):
        raise click.ClickException(
            "Claude Code's settings are not a JSON object, so nothing was changed; fix the file first"
        )
    return settings


def _render(settings: dict[str, Any], before: str) -> str:
    """The settings as JSON, indented as the file was."""
    found = _INDENT.search(before[:4096])
    return json.dumps(settings, indent=found[1] if found else 2, ensure_ascii=False) + "\n"
