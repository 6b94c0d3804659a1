"""Edits Claude Code's settings: a few variables in its `env` block."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import click

from app.cli.launcher.claude import MODEL_VARIABLES
from app.json_values import as_object

# Variables in the block that may be ours.
OWN = (
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_AUTH_TOKEN",
    *MODEL_VARIABLES,
    "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY",
    "CLAUDE_CODE_AUTO_COMPACT_WINDOW",
    "CLAUDE_CODE_MAX_CONTEXT_TOKENS",
)
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
_INDENT = re.compile(r"\n([ \t]{1,16})\"")


def set_variables(text: str, variables: Mapping[str, str]) -> str:
    """The settings with our variables. Nothing but the `env` block changes."""
    env = _find_env(text)
    kept = {name: value for name, value in env.items() if name not in OWN}
    order = {name: "" for name in env if name in kept or name in variables}
    merged = {**order, **kept, **variables}
    return text if env == merged else _replace_env(text, merged)


def unset_variables(text: str, original: str, written: str) -> str:
    """The settings with the variables that `original` had in place of ours. What was changed since we wrote `written`
    is the user's own, and stays."""
    env, before, ours = _find_env(text), _find_env(original), _find_env(written)
    restored = dict(env)
    for name in OWN:
        if before.get(name) != ours.get(name) and env.get(name) == ours.get(name):
            restored.pop(name, None)
            restored |= {name: before[name]} if name in before else {}
    return text if restored == env else _replace_env(text, restored)


def _find_env(text: str) -> dict[str, Any]:
    return as_object(_parse(text).get("env"))


def _replace_env(text: str, env: Mapping[str, Any]) -> str:
    """The text with another `env` block, or without one if it is empty; all around it stays as it is written."""
    found = _INDENT.search(text[:4096])
    indent = found[1] if found else "  "
    block = json.dumps(env, indent=indent, ensure_ascii=False).replace("\n", f"\n{indent}")
    spans = _find_members(text)
    if not spans:
        return f'{{\n{indent}"env": {block}\n}}\n' if env else "{}\n"
    if "env" not in spans:
        _, _, end = list(spans.values())[-1]
        return f'{text[:end]},\n{indent}"env": {block}{text[end:]}'
    begin, value, end = spans["env"]
    if env:
        return text[:value] + block + text[end:]
    # A comma goes with it: the one behind the member, or before the last one.
    rest = text[end:]
    if rest.lstrip().startswith(","):
        return text[:begin] + rest.lstrip()[1:].lstrip()
    return text[:begin].rstrip().removesuffix(",") + rest


def _find_members(text: str) -> dict[str, tuple[int, int, int]]:
    """Where each member of an object begins, where its value does, and where it ends."""
    spans: dict[str, tuple[int, int, int]] = {}
    place = _skip(text, text.find("{") + 1)
    while place > 0 and text[place : place + 1] == '"':
        name, end = _DECODER.raw_decode(text, place)
        value = _skip(text, text.index(":", end) + 1)
        _, end = _DECODER.raw_decode(text, value)
        spans[name] = (place, value, end)
        place = _skip(text, _skip(text, end) + 1)
    return spans


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


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
